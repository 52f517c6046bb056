"""Some hundred damaged files of each kind: none stops a command, and none gives a number that nothing measured."""

from __future__ import annotations

from pathlib import Path

from docs.evidence.fuzz import fuzz, make_results

MUTATIONS = 200
SECONDS = 120.0  # of all commands of a mutation: other tests may take the cores


def test_a_damaged_file_is_left_out_or_told_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    findings: list[str] = []
    numbers = iter(range(MUTATIONS))
    tally = fuzz(folder, make_results(folder), 1, numbers, findings.append, SECONDS, pages=50, most=3)
    assert findings == []
    assert tally["mutations"] == MUTATIONS
