"""Gets workers running and keeps an eye on them."""
