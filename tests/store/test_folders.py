"""Paths in texts that are stored: only the file's name stays."""

from __future__ import annotations

import pytest

from trainmark.store.folders import without_folders


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("FileNotFoundError: no such file: '/home/ada/data/x.csv'", "FileNotFoundError: no such file: 'x.csv'"),
        ("no file '/home/Ada Lovelace/my data/x.csv' there", "no file 'x.csv' there"),
        ('cannot open "C:\\\\Users\\\\ada\\\\x.csv"', 'cannot open "x.csv"'),
        ("cannot open C:\\Users\\ada\\x.csv now", "cannot open x.csv now"),
        ("No mnist in /srv/ada/data: add --download", "No mnist in data: add --download"),
        ("died in /home/ada/net.py, line 3", "died in net.py, line 3"),
        ("PosixPath('/home/ada/x')", "PosixPath('x')"),
        # What is no path stays:
        ("mat1 and mat2 shapes cannot be multiplied (8x784 and 10x10)", None),
        ("bf16 and/or fp16, 3/4 of it at 5 B/s", None),
        ("it isn't there and can't be", None),
        ("", None),
    ],
)
def test_a_path_is_cut_down_to_the_name_of_its_file(text: str, public: str | None) -> None:
    assert without_folders(text) == (text if public is None else public)
