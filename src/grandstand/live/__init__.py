"""The stands: who watches, and how messages reach them."""
