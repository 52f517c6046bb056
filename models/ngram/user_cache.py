"""Where the user's programs keep what they could find out or make again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path | None:
    """The folder for what is kept here; None where there is no such place."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():  # as the standard asks; another is to be ignored
        return named / "trainmark"
    try:
        return Path.home() / ".cache" / "trainmark"
    except RuntimeError:  # a user without a home
        return None
