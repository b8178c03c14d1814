"""Building features into the store."""
