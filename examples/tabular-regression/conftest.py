"""Makes this project a suite: ``pytest bench`` measures it."""

pytest_plugins = ["trainmark.plugin"]
