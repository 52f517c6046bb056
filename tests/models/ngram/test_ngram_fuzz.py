"""Some hundred files are damaged at random, and every command reads them; docs/evidence/fuzz_ngram.py does more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).parents[3] / "docs" / "evidence" / "fuzz_ngram.py"


def test_a_damaged_file_is_refused_in_a_sentence_or_read_as_it_was() -> None:
    """In a process of its own, which has no threads when it forks."""
    line = [sys.executable, str(FUZZER), "--mutations", "12", "--seconds", "25", "--seed", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 findings" in done.stdout
