"""What this suite adds to the page: the lecture checked, what networks learn, and n-gram models."""
