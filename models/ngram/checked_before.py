"""Which files were found sound before: each is looked at in full once, and then only when it has changed.

It is remembered in the user's cache, not beside the model: a model may lie where its readers cannot write,
and reading changes nothing there. What is remembered is an empty file, whose name is the digest of what
was looked at, so there is nothing in it to be read or damaged. Without a folder to write to, every
opening looks at everything.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from models.ngram.user_cache import user_cache

RULES = 1  # raised where more is looked at: what was sound before is then looked at again
SETTLED_SECONDS = 2.0  # a file that was just written could change once more at what counts as the same time
MOST_REMEMBERED = 1000


def mark(header: str, states: Sequence[tuple[int, int, int, int, int]]) -> str:
    """What is remembered of the files of a model.

    Args:
        header: Digest of what its header says.
        states: Device, inode, bytes, and nanoseconds of the last two changes of each file.
    """
    return hashlib.sha256(repr((RULES, header, [*states])).encode()).hexdigest()


def was_checked(marked: str) -> bool:
    """Whether these files were found sound, and have not changed since."""
    folder = _folder()
    return folder is not None and (folder / marked).exists()


def remember(marked: str, states: Sequence[tuple[int, int, int, int, int]]) -> None:
    """Notes that these files are sound, unless they are so new that a change might not be told from it."""
    folder = _folder()
    newest = max(max(state[3:]) for state in states) / 1e9
    if folder is None or time.time() - newest < SETTLED_SECONDS:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / marked).touch()
        remembered = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for forgotten in remembered[:-MOST_REMEMBERED]:
            forgotten.unlink(missing_ok=True)
    except OSError:  # nowhere to write, or another process tidies up: it is looked at again next time
        return


def _folder() -> Path | None:
    cache = user_cache()
    return None if cache is None else cache / "sound-models"
