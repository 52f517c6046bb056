"""What the interpreter of a side is started with: its modules come from the side's own files, or not at all.

    PYTHONPATH=ROOT python -P own_tree.py '{"root": …, "tree": …, "working_trees": […]}'

A side is a suite in a tree: the working tree, or a commit that is checked out elsewhere. What is installed
in editable mode, or named on PYTHONPATH, lies in a working tree and would lend it to both sides. So a
folder of the search path that lies in a working tree stands for the same folder of the side's tree; and a
module that comes from a working tree all the same, as the finder of an editable install gives it, is
refused by name. This file is that of the tree that compares, and imports nothing of either.
"""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

BY_PATH = "pip install --editable . --config-settings editable_mode=compat"  # a folder on the path, not a finder


class NotInThisTree(ModuleNotFoundError):
    """The side lacks a module that the working tree would have lent."""

    lent = True  # how others tell it from a module that is nowhere


class OwnTree:
    """Asks all finders for a module, and refuses one of the working tree's that is not the side's.

    Args:
        tree: All of the side's own files.
        working_trees: Of the repository: what lies in one of them and not in ``tree`` is none of the side's.
    """

    def __init__(self, tree: Path, working_trees: Sequence[Path]) -> None:
        self.tree = tree.resolve()
        self.working_trees = sorted((one.resolve() for one in working_trees), key=lambda one: -len(one.parts))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; None where nobody finds it.

        Raises:
            NotInThisTree: It lies in a working tree, and not in the side's own.
        """
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is None:
                continue
            places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
            for place in map(Path, places):
                lender = self._lender(place)
                if lender is not None:
                    raise NotInThisTree(self._sentence(name, place, lender), name=name)
            return spec
        return None

    def own(self, entry: str) -> str:
        """A folder of the search path, or the same folder in the side's tree where it is one of a working tree's."""
        place = Path(entry or ".").resolve()
        lender = self._lender(place)
        return entry if lender is None else str(self.tree / place.relative_to(lender))

    def _lender(self, place: Path) -> Path | None:
        """The working tree that it lies in; None where it is the side's own, or of an environment, or in none."""
        resolved = place.resolve()
        around = (resolved, *resolved.parents)
        if self.tree in around or is_of_an_environment(resolved):
            return None
        return next((one for one in self.working_trees if one in around), None)

    def _sentence(self, name: str, place: Path, lender: Path) -> str:
        own = self.tree / place.resolve().relative_to(lender)
        if own.exists():
            return (
                f"{name} is in {self.tree} too, but an editable install gives that of {place}: a side is measured with "
                f'its own files alone. Name its folder, as by pythonpath = ["src"] in [tool.trainmark]; or install it '
                f"by its path: {BY_PATH}"
            )
        why = "" if _is_tracked(place, lender) else ", and git does not track it"
        return (
            f"{name} is not in {self.tree}, and would have come from {place}{why}: "
            "a side is measured with its own files alone"
        )


def is_own(place: Path, tree: Path) -> bool:
    """Whether a file is of a tree; an environment that lies in it is installed, and none of its code."""
    resolved = place.resolve()
    installed = "site-packages" in resolved.parts or is_of_an_environment(resolved)
    return tree.resolve() in (resolved, *resolved.parents) and not installed


def is_of_an_environment(place: Path) -> bool:
    """Whether it was installed into a virtual environment, or is the standard library's."""
    roots = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    return any(root == place or root in place.parents for root in roots)


def _is_tracked(place: Path, working_tree: Path) -> bool:
    command = ["git", "-c", "core.fsmonitor=false", "ls-files", "--error-unmatch", "--", str(place)]
    listed = subprocess.run(command, cwd=working_tree, capture_output=True, check=False)
    return listed.returncode == 0


def main() -> None:
    """Serves the side as ``python -m trainmark.against.server`` would."""
    place = json.loads(sys.argv[1])
    guard = OwnTree(Path(place["tree"]), [Path(one) for one in place["working_trees"]])
    set_apart = place.get("before", [])  # by the user, for this side alone: it goes before what both sides have
    sys.path[:] = [*map(guard.own, set_apart), place["root"], *map(guard.own, sys.path)]
    importlib.invalidate_caches()
    sys.meta_path.insert(0, guard)
    sys.argv[1:] = []
    try:
        runpy.run_module("trainmark.against.server", run_name="__main__", alter_sys=True)
    except NotInThisTree as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
