"""Makes this checkout a suite: ``pytest bench`` measures it."""

pytest_plugins = ["trainmark.plugin"]
