"""The permanent name of a cell's place in a page."""

from __future__ import annotations

import hashlib
import re


def anchor(key: str) -> str:
    """An HTML id that only the join key decides: readable, and unique through a digest of the key."""
    readable = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:60]
    digest = hashlib.sha256(key.encode("utf-8", errors="replace")).hexdigest()
    return f"cell-{readable}-{digest[:6]}"
