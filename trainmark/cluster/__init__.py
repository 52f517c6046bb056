"""Benchmarks on other nodes: an executor places the process that measures, and times nothing."""
