"""Runs and verdicts as text: for a terminal, for a pull request, for other programs."""
