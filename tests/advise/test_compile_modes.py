"""The modes of torch.compile by family and over all, as means and shares that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from trainmark import formatting
from trainmark.advise.compile_modes import ALL, CompileMode, compile_modes, family_of
from trainmark.page.compile_modes_section import sections
from trainmark.page.html import render
from trainmark.store.cell import Cell
from trainmark.store.record import Record


def record(model: str, compile_mode: str, step: float | None, status: str = "ok", memory: float = 1e9) -> Record:
    metrics: dict[str, float | None] = {"step_seconds": step, "peak_memory_bytes": memory}
    if step is not None:
        metrics |= {"step_seconds_low": step * 0.99, "step_seconds_high": step * 1.01}
        metrics |= {"compile_seconds": 20.0 * step / 0.01} if compile_mode != "off" else {}
    return Record(Cell.of("train", model=model, compile=compile_mode), status, metrics=metrics)


RECORDS = [
    record("mlp", "off", 0.010),
    record("mlp-residual", "off", 0.020),
    record("resnet20", "off", 0.030),
    record("resnet18-cifar", "off", 0.030),
    record("mlp", "default", 0.005, memory=2e9),
    record("mlp-residual", "default", 0.040, memory=0.5e9),
    record("resnet20", "default", 0.015, memory=3e9),
    record("resnet18-cifar", "default", None, "crashed"),
    record("cnn", "default", None, "skipped"),
    record("cnn", "max-autotune", 0.01),
]


def rows() -> dict[tuple[str, str], CompileMode]:
    return {(row.mode, row.family): row for row in compile_modes(RECORDS)}


def test_a_family_has_the_geometric_mean_of_its_speedups_and_memory() -> None:
    mlp = rows()["default", "mlp"]
    assert mlp.speedup == pytest.approx(1.0)  # 2 and 1/2
    assert mlp.memory == pytest.approx(1.0)
    assert (mlp.tried, mlp.compiled, mlp.twins, mlp.decided) == (2, 2, 2, 2)
    assert mlp.compile_seconds == pytest.approx(45.0)  # median of 10 and 80


def test_what_does_not_compile_counts_and_what_cannot_run_does_not() -> None:
    resnet = rows()["default", "resnet"]
    assert (resnet.tried, resnet.compiled) == (2, 1)
    assert resnet.speedup == pytest.approx(2.0)
    assert ("default", "cnn") not in rows()


def test_all_families_together_have_a_row_of_their_own_where_there_are_several() -> None:
    every = rows()["default", ALL]
    assert every.speedup == pytest.approx((2 * 0.5 * 2) ** (1 / 3))
    assert (every.tried, every.compiled) == (4, 3)
    assert ("max-autotune", ALL) not in rows()


def test_without_an_eager_twin_there_is_no_speedup() -> None:
    alone = rows()["max-autotune", "cnn"]
    assert (alone.speedup, alone.memory, alone.twins) == (None, None, 0)
    assert alone.compile_seconds == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("mlp-residual", "mlp"),
        ("resnet18-cifar", "resnet"),
        ("nets:wide(8)", "wide"),
        ("a/b.py:net2", "net"),
        ("7", "7"),
    ],
)
def test_a_family_is_told_by_the_models_name(model: str, family: str) -> None:
    assert family_of(Cell.of("train", model=model)) == family


def test_the_page_has_a_table_of_them_and_none_without_any(stored: Any) -> None:
    page = render([stored.run()], sections=sections(RECORDS))
    assert "train</bdi> cpu default, <bdi>resnet" in page
    assert "50% (1 of 2)" in page
    assert f"{formatting.times(1.26)} (3 of 3 decided)" in page
    assert sections(RECORDS[:4]) == []
