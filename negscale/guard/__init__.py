"""Benchmark leaks: which rows of a run share an image or a caption with a test set."""
