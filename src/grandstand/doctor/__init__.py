"""What works on a machine with some settings, what does not, and what to do about it."""
