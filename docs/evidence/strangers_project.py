"""A project that is not this one, from ``trainmark init`` on: is a slower commit seen, and a harmless one passed?

    python docs/evidence/strangers_project.py [TIMES] [--bisect]

It makes a repository of six commits in a temporary folder. The fourth adds to each forward pass a matrix product
whose result is dropped: the step computes the same and takes about a fifth longer. The others change a comment or
the name of a variable. Then it calls ``pytest bench --against HEAD~1`` at the fourth and at the third commit, TIMES
times each, and prints each verdict with its ratio and interval; and, if asked, searches all six with ``trainmark
bisect``, by the count of operators, which decides at once and whatever the machine does meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trainmark.judge.comparison import compare_paired
from trainmark.store.pairs import paired_files, read_paired_run

NETS = """from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 256)
        self.last = nn.Linear(256, 10)

    def forward(self, x):
        flat = x.flatten(1)
        return self.last(self.hidden(flat).relu())
"""
DROPPED = "        flat = x.flatten(1)\n"
SLOWER = DROPPED + "        self.hidden.weight[:80] @ self.hidden.weight.T\n"


def renamed(nets: str) -> str:
    """With another name for a variable."""
    return nets.replace("flat = ", "rows = ").replace("(flat)", "(rows)")


COMMITS = {
    "benchmarks": NETS,
    "a comment": NETS.replace("class Small", "# reads the digits\nclass Small"),
    "a name": renamed(NETS),
    "slower": NETS.replace(DROPPED, SLOWER),
    "another name": renamed(NETS.replace(DROPPED, SLOWER)),
    "another comment": NETS.replace(DROPPED, SLOWER).replace("class Small", "# reads the digits\nclass Small"),
}
TABLE = """
[tool.trainmark.grids.quick]
batch_sizes = [64]
"""
BY_COUNTS = ("--counts=fail", "--inconclusive=pass", "--budget=60s")
CHOSEN = ("-k", "train", "--device=cpu", "--precision=fp32", "--threads=1")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def make(folder: Path) -> Path:
    """The project, with a tag for each commit."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number, (message, nets) in enumerate(COMMITS.items()):
        (folder / "nets.py").write_text(nets, encoding="utf-8")
        if not number:
            subprocess.run([sys.executable, "-m", "trainmark", "init", "--model", "nets:Small"], cwd=folder, check=True)
            with (folder / "pyproject.toml").open("a", encoding="utf-8") as stream:
                stream.write(TABLE)
            (folder / ".gitignore").write_text("results/\n__pycache__/\n", encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", message)
        git(folder, "tag", f"commit-{number}")
    return folder


def compare(folder: Path, number: int) -> str:
    """What ``--against`` says of a commit and the one before."""
    git(folder, "checkout", "--quiet", f"commit-{number}")
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "bench", "--against", "HEAD~1", *CHOSEN]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        sys.exit(done.stdout + done.stderr)
    (cell,) = compare_paired(read_paired_run(paired_files(folder / "results")[-1])).cells
    timed = next(change for change in cell.changes if change.name == "step_seconds")
    interval = f"{timed.ratio:.3f} [{timed.low or 0:.3f}, {timed.high or 0:.3f}]"
    told = f"{cell.verdict:12} exit {done.returncode}  {interval}  {timed.pairs} pairs"
    return f"{told}  {time.monotonic() - begun:.0f} s"


def main() -> None:
    times = next((int(argument) for argument in sys.argv[1:] if argument.isdecimal()), 5)
    with tempfile.TemporaryDirectory() as place:
        folder = make(Path(place))
        for number in (3, 2):
            for _ in range(times):
                print(f"{list(COMMITS)[number]:12} {compare(folder, number)}", flush=True)
        if "--bisect" in sys.argv:
            begun = time.monotonic()
            git(folder, "checkout", "--quiet", "main")
            command = [sys.executable, "-m", "trainmark", "bisect", "commit-0", "commit-5", "--", *CHOSEN, *BY_COUNTS]
            done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
            print(done.stdout or done.stderr, f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
