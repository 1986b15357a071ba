"""Who should hear of what was committed."""
