"""Some hundred damaged files of each kind: none stops a command, and none gives a number that nothing measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.evidence.fuzz import fuzz, make_results

MUTATIONS = 250
SECONDS = 120.0  # of all commands of a mutation: other tests may take the cores


@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_file_is_left_out_or_told_in_a_sentence(seed: int, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    findings: list[str] = []
    tally = fuzz(folder, make_results(folder), seed, iter(range(MUTATIONS // 2)), findings.append, SECONDS, pages=40)
    assert findings == []
    assert tally["mutations"] == MUTATIONS // 2
