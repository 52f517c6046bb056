"""What the interpreter of a side is started with: trainmark's packages come from the side's folder, or not at all.

    PYTHONPATH=FOLDER python -P bench/own_tree.py FOLDER      where -P keeps the folder of this file off sys.path

An installed trainmark, or one on PYTHONPATH, would lend an older tree what that lacks: the finder of an editable
install gives single modules even to a package that was found elsewhere. The side that is compared with runs its own
code, which may know nothing of this; so this file is that of the tree that compares, and imports nothing of either.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("bench", "models", "reports", "results")


class NotInThisTree(ModuleNotFoundError):
    """The folder lacks a module that another trainmark would have lent."""


class OwnTree:
    """Finds trainmark's modules in one folder, before anybody else is asked.

    Args:
        folder: The root of the side's tree.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; None where it is not trainmark's, or is nowhere.

        Raises:
            NotInThisTree: It is in another tree alone.
        """
        if name.partition(".")[0] not in PACKAGES:
            return None
        own = PathFinder.find_spec(name, [self.folder] if path is None else path)
        if own is not None:
            return own
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            lent = finder.find_spec(name, path, target)
            if lent is not None:
                origin = lent.origin or ", ".join(lent.submodule_search_locations or ())
                raise NotInThisTree(
                    f"{name} is not in {self.folder}, and would have come from {origin}: "
                    "a side is measured with its own files alone",
                    name=name,
                )
        return None


def main() -> None:
    """Serves the side as ``python -m trainmark.against.server`` would."""
    sys.meta_path.insert(0, OwnTree(sys.argv[1]))
    try:
        runpy.run_module("trainmark.against.server", run_name="__main__", alter_sys=True)
    except NotInThisTree as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
