"""Words: what is said, without names, places and numbers."""
