"""n-gram language models: counted exactly, smoothed, scored."""
