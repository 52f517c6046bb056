"""Text of errors and names without the folders of this machine: what is stored tells of no user and no house."""

from __future__ import annotations

import re

# In quotes, where a folder's name may have a space.
QUOTED = re.compile(r"""(['"])[^'"\n]*[\\/]([^'"\\/\n]*)\1""")
# Outside of them: two folders or more, with a drive or without.
PATH = re.compile(r"(?<![\w<])(?:[A-Za-z]:)?(?:[\\/][\w.+@~-]+)*[\\/][\w.+@~-]+[\\/]([\w.+@~-]+)")


def without_folders(text: str) -> str:
    """The text with each path in it cut down to the name of its file."""
    return PATH.sub(r"\1", QUOTED.sub(r"\1\2\1", text))
