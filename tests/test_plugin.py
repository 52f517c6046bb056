"""The hooks of the plugin, called with what pytest would give them: what of a run they choose and hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmark import plugin
from trainmark.against.places import SideError
from trainmark.store.cell import Cell
from trainmark.store.pairs import write_paired_run

TRAIN, LARGE, INFERENCE = Cell.of("train"), Cell.of("train", batch_size=256), Cell.of("inference")


def item(cell: Cell | None, name: str = "bench/test_train.py::test") -> Any:
    stash = pytest.Stash()
    if cell is not None:
        stash[plugin.CELL] = cell
    return SimpleNamespace(stash=stash, nodeid=name, get_closest_marker=lambda _name: None)


def test_a_resumed_run_goes_on_with_the_cells_it_had_and_lets_the_others_go() -> None:
    resumed: list[Path] = []
    deselected: list[list[Any]] = []
    session = SimpleNamespace(
        planned_keys=[TRAIN.key, LARGE.key, INFERENCE.key],
        resume=resumed.append,
        is_planned=lambda cell: cell in (TRAIN, INFERENCE),
    )
    stash: Any = pytest.Stash()
    stash[plugin.SESSION], stash[plugin.RESUMED] = session, Path("journal")

    def pytest_deselected(items: list[Any]) -> None:
        deselected.append(items)

    hook = SimpleNamespace(pytest_deselected=pytest_deselected)
    other, train, large, inference = item(None, "tests/test_own.py::test"), *map(item, (TRAIN, LARGE, INFERENCE))
    items = [inference, large, other, train]
    config: Any = SimpleNamespace(stash=stash, hook=hook)
    plugin.pytest_collection_modifyitems(config, items)
    assert resumed == [Path("journal")]
    assert items == [other, train, inference]
    assert deselected == [[large]]


def test_pairs_are_looked_at_with_the_floor_of_this_machines_control(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs at 1.08 are an alarm against 3%, and none where the machine differs from itself by 10%."""
    looks: list[Any] = []

    def stop(*given: Any) -> None:
        looks.append(given[5]({TRAIN.key: TRAIN.label}))
        raise SideError("enough")

    run = stored.run("20251231T120000-fedcba")
    asked = SimpleNamespace(margins="3%")
    session = SimpleNamespace(
        machine=SimpleNamespace(environment=run.environment), root=Path(), code=None, choose=lambda _cells: None
    )
    stash: Any = pytest.Stash()
    stash[plugin.SESSION], stash[plugin.AGAINST] = session, asked
    config = SimpleNamespace(
        stash=stash,
        option=SimpleNamespace(collectonly=False),
        pluginmanager=SimpleNamespace(get_plugin=lambda _name: None),
    )
    monkeypatch.setattr(plugin, "measure_against", stop)
    monkeypatch.setattr(plugin, "folder_of", lambda _config: stored.folder)
    monkeypatch.setattr("trainmark.git.describe", lambda _root, _code: {})

    def open_cells() -> Mapping[str, bool]:
        call: Any = SimpleNamespace(config=config, items=[item(TRAIN)], testsfailed=0)
        with pytest.raises(pytest.UsageError, match="enough"):
            plugin.pytest_runtestloop(call)
        pairs: Mapping[str, Sequence[Any]] = {TRAIN.key: stored.pairs(1.08)}
        found: Mapping[str, bool] = looks[-1](pairs)
        return found

    assert open_cells() == {TRAIN.key: True}  # to be confirmed
    write_paired_run(stored.paired(run, run, {TRAIN.key: 1.1}, side="self"), stored.folder)
    assert open_cells() == {}  # unchanged
