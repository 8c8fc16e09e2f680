"""Benchmarks: which recipe makes their rows, and which reductions over the rows are their scores."""
