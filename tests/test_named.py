"""Objects by the name that a user gives them: what the name may be, its one spelling, and what is behind it."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from trainmark import suite
from trainmark.named import (
    Name,
    UnknownObject,
    UnreadableName,
    canonical,
    find,
    layers,
    locate,
    put_on_path,
    read_name,
    refuse_wrong_arguments,
)
from trainmark.store.cell import Cell

OWN = """
import functools

def wide(width=1, *, depth=1):
    return width, depth

def needs(width):
    return width

class Net:
    def __init__(self, width=3):
        self.width = width

class namespace:
    inner = wide

half = functools.partial(wide, 2)
number = 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a suite, in which the user stands, with ``nets.py`` and ``nets/wide.py``."""
    root = tmp_path / "project"
    (root / "folder").mkdir(parents=True)
    (root / "module_by_its_name.py").write_text(OWN)
    (root / "folder" / "wide.py").write_text(OWN)
    monkeypatch.setattr(suite, "_opened", [suite.Suite(root)])
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")
    monkeypatch.chdir(root)
    for name in {name for name in sys.modules if name.startswith(("trainmark_file_", "module_by_its_name"))}:
        monkeypatch.delitem(sys.modules, name)
    return root


def found(text: str) -> Any:
    name = read_name(text)
    assert name is not None
    return find(name, "model")


# The spelling


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("nets:wide", "nets:wide"),
        (" nets : wide ", "nets:wide"),
        ("nets:wide()", "nets:wide"),
        ("nets:wide( )", "nets:wide"),
        ("a.b:namespace.attribute", "a.b:namespace.attribute"),
        ("nets:wide(width=512, depth=2)", "nets:wide(width=512,depth=2)"),
        ("nets:wide (\n width = 0x200,\tdepth=2, )", "nets:wide(width=512,depth=2)"),
        ("nets:wide(512)", "nets:wide(512)"),
        ("nets:wide(1_000, -1, 1e-3, 1e999)", "nets:wide(1000,-1,0.001,1e999)"),
        ("nets:wide(True, None)", "nets:wide(True,None)"),
        ('nets:wide("relu")', "nets:wide('relu')"),
        (
            "nets:wide(a=[1, 2], b=(3,), c=(2, 2), d={'a': [1, (2,)]})",
            "nets:wide(a=[1,2],b=(3,),c=(2,2),d={'a':[1,(2,)]})",
        ),
        ("nets:wide('a, b; (\"c\") = x.py:y(1)')", "nets:wide('a, b; (\"c\") = x.py:y(1)')"),
        ("nets:wide('\\n\\x07é')", "nets:wide('\\n\\x07é')"),
        ("folder/wide.py:wide", "folder/wide.py:wide"),
        ("./folder//../folder/wide.py : wide( 1 )", "folder/wide.py:wide(1)"),
        ("my nets (1)/wide.py:wide('x.py:y(1)')", "my nets (1)/wide.py:wide('x.py:y(1)')"),
        ("wide.py:Net.build", "wide.py:Net.build"),
    ],
)
def test_a_name_has_one_spelling(text: str, kept: str) -> None:
    assert str(read_name(text)) == canonical(text) == kept
    assert read_name(kept) == read_name(text)  # and it reads as the same


def test_two_spellings_of_a_name_meet_in_one_join_key(project: Path) -> None:
    spellings = ("folder/wide.py:wide(width=512, kind='a b')", './folder/wide.py:wide( width = 0x200,kind="a b" )')
    (kept,) = {locate(text)[0] for text in spellings}
    key = Cell.of("train", model=kept).key
    assert key == "train model=folder/wide.py:wide(width=512,kind='a%20b')"


def test_arguments_keep_their_order_which_may_matter_to_the_function() -> None:
    assert canonical("nets:wide(b=1, a=2)") == "nets:wide(b=1,a=2)"


@pytest.mark.parametrize("text", ["mlp", "", "mlp:", ":mlp", "resnet:18", "no such:model", ".relative:model", "a..b:c"])
def test_what_has_not_the_form_of_a_name_is_none_and_stays_as_it_is(text: str) -> None:
    assert read_name(text) is None
    assert canonical(text) == text
    assert locate(text) == (text, None)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("('a\nb')", "its arguments cannot be read: SyntaxError: unterminated string"),
        ("(width=512", "its arguments cannot be read: SyntaxError: '(' was never closed"),
        ("(width=512, width=3)", "it has width twice"),
        ("(width=size)", "its argument size is no literal; write numbers, strings"),
        ("(__import__('os').getcwd())", "its argument __import__('os').getcwd() is no literal"),
        ("(2 ** 10)", "its argument 2 ** 10 is no literal"),
        ("({1, 2})", "its argument {1, 2} is no literal"),
        ("(b'a')", "its argument b'a' is no literal"),
        ("({[1]: 2})", "its argument {[1]: 2} is no literal"),
        ("(*(1, 2))", r"its argument *(1, 2) is no literal"),
        ("(**{'a': 1})", "it has **; write each argument by its name"),
        ("(1)(2)", "it goes on behind its arguments; write one pair of brackets"),
        ("(1) + 2", "it goes on behind its arguments"),
        ("(" + "[" * 5000 + "]" * 5000 + ")", "its arguments cannot be read"),
    ],
)
def test_arguments_that_are_no_literals_are_refused_and_never_evaluated(call: str, why: str) -> None:
    with pytest.raises(UnreadableName) as caught:
        read_name(f"nets:wide{call}")
    assert str(caught.value).startswith(why)
    assert canonical(f"nets:wide{call}") == f"nets:wide{call}"  # whoever looks for it says what is wrong


@pytest.mark.parametrize("character", ["\n", "\x07", "\u2028", "\udc80"])
def test_a_path_that_cannot_be_shown_is_refused_without_its_character(character: str) -> None:
    with pytest.raises(UnreadableName, match="has a character that cannot be shown; rename") as caught:
        read_name(f"a{character}b/wide.py:wide")
    assert character not in str(caught.value)


# What is behind it


@pytest.mark.parametrize("place", ["module_by_its_name", "folder/wide.py"])
def test_a_function_a_class_an_attribute_and_a_partial_are_found(project: Path, place: str) -> None:
    assert found(f"{place}:wide")() == (1, 1)
    assert found(f"{place}:Net")().width == 3
    assert found(f"{place}:namespace.inner")() == (1, 1)
    assert found(f"{place}:half")() == (2, 1)
    assert found(f"{place}:number") == 3


@pytest.mark.parametrize("place", ["module_by_its_name", "folder/wide.py"])
def test_a_name_with_arguments_is_a_partial_of_what_it_names(project: Path, place: str) -> None:
    assert found(f"{place}:wide(512, depth=2)")() == (512, 2)
    assert found(f"{place}:Net(width=7)")().width == 7
    assert found(f"{place}:half(depth=4)")() == (2, 4)
    assert isinstance(found(f"{place}:wide(1)"), functools.partial)
    assert layers(found(f"{place}:half(depth=4)"))[-1] is found(f"{place}:wide")


def test_arguments_of_what_takes_none_are_refused(project: Path) -> None:
    with pytest.raises(UnknownObject, match=r'"module_by_its_name:number\(1\)" takes no arguments: it is int'):
        found("module_by_its_name:number(1)")


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        ("needs", r", line 7: TypeError: missing a required argument: 'width'\."),
        ("needs(1, 2)", r", line 7: TypeError: too many positional arguments\."),
        ("wide(wdth=2)", r", line 4: TypeError: got an unexpected keyword argument 'wdth'\."),
        ("half(3)", r", line 4: TypeError: too many positional arguments\."),
        ("Net(3, 4)", r", line 11: TypeError: too many positional arguments\."),
    ],
)
def test_arguments_that_are_missing_or_wrong_are_named_with_file_and_line(
    project: Path, attribute: str, why: str
) -> None:
    name = read_name(f"folder/wide.py:{attribute}")
    assert name is not None
    with pytest.raises(UnknownObject, match=why) as caught:
        refuse_wrong_arguments(find(name, "model"), name, "model")
    assert f'The model "{name}" cannot be called' in str(caught.value)
    assert str(project / "folder" / "wide.py") in str(caught.value)


def test_a_decorator_may_supply_what_its_function_lacks() -> None:
    def needs(width: int) -> int:
        return width

    @functools.wraps(needs)
    def supplied() -> int:
        return needs(3)

    refuse_wrong_arguments(supplied, Name("a", "b"), "model")
    refuse_wrong_arguments(dict, Name("a", "b"), "model")  # of C, which says nothing of its arguments


# Files


def test_a_file_is_imported_once_and_under_a_name_that_no_package_has(project: Path) -> None:
    (project / "folder" / "json.py").write_text("import json.decoder\nclass Net: pass\n")
    net = found("folder/json.py:Net")
    assert found("folder/json.py:Net") is net
    assert sys.modules[net.__module__].__file__ == str(project / "folder" / "json.py")
    assert net.__module__.isidentifier()  # else torch.compile could not import it
    assert sys.modules["json"].__name__ == "json"


def test_a_file_imports_its_neighbours(project: Path) -> None:
    (project / "folder" / "neighbour_of_wide.py").write_text("WIDTH = 5\n")
    (project / "folder" / "beside.py").write_text("from neighbour_of_wide import WIDTH\n")
    assert found("folder/beside.py:WIDTH") == 5


def test_the_file_of_the_suite_that_is_open_is_imported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So each side of a comparison has its own, under the one name."""
    assert found("folder/wide.py:number") == 3
    other = project.parent / "tree"
    (other / "folder").mkdir(parents=True)
    (other / "folder" / "wide.py").write_text("number = 4\n")
    monkeypatch.setattr(suite, "_opened", [suite.Suite(other)])
    assert found("folder/wide.py:number") == 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise OSError('no')", r"fails in \S+broken\.py, line 1: OSError: no\."),
        ("import sys; sys.exit(3)", r"fails in \S+broken\.py, line 1: SystemExit: 3\."),
        ("def", r"fails in \S+broken\.py, line 1: SyntaxError: invalid syntax\."),
        ("from . import wide", r"fails in \S+broken\.py, line 1: attempted relative import with no known parent"),
        ("import nowhere_at_all", r'found no module named "nowhere_at_all" in \S+broken\.py, line 1\.'),
        ("", r"is not there: module 'folder/broken\.py' has no attribute 'wide'\."),
        ("def __getattr__(name):\n    raise OSError('no')", r"fails in \S+broken\.py, line 2: OSError: no\."),
    ],
)
def test_a_file_that_cannot_be_imported_says_so_with_its_line(project: Path, text: str, why: str) -> None:
    (project / "folder" / "broken.py").write_text(text)
    with pytest.raises(UnknownObject, match=why) as caught:
        found("folder/broken.py:wide")
    assert 'model "folder/broken.py:wide"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "trainmark_file_" not in str(caught.value)


def test_a_file_that_has_failed_is_tried_again(project: Path) -> None:
    (project / "folder" / "mended.py").write_text("raise OSError")
    with pytest.raises(UnknownObject):
        found("folder/mended.py:number")
    (project / "folder" / "mended.py").write_text("number = 12345")
    assert found("folder/mended.py:number") == 12345


@pytest.mark.parametrize("place", ["folder/absent.py", "absent.py", "/folder/wide.py"])
def test_a_file_that_is_not_in_the_suite_is_named_with_its_root(project: Path, place: str) -> None:
    with pytest.raises(UnknownObject) as caught:
        found(f"{place}:wide")
    assert str(caught.value) == f'The model "{place}:wide" is not there: {project} has no file {place}.'


def test_a_file_of_this_machine_is_no_file_of_the_suite(project: Path) -> None:
    with pytest.raises(UnknownObject, match="is not there"):
        found(f"{project}/folder/wide.py:wide")


# Where it lies


def test_a_path_is_kept_from_the_root_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("folder/wide.py:wide", None)
    assert locate("folder/wide.py:wide") == kept
    assert locate(f"{project}/folder/wide.py:wide") == kept
    monkeypatch.chdir(project / "folder")
    assert locate("wide.py:wide") == locate("../folder/wide.py : wide()") == kept
    assert locate("folder/wide.py:wide") == kept  # as a record has it
    monkeypatch.setenv("HOME", str(project))
    assert locate("~/folder/wide.py:wide") == kept


def test_a_root_behind_a_link_is_the_root(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    assert locate(f"{tmp_path}/link/folder/wide.py:wide") == ("folder/wide.py:wide", None)


def test_the_folder_that_the_user_stands_in_goes_before_the_root(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "folder" / "folder").mkdir()
    (project / "folder" / "folder" / "wide.py").write_text(OWN)
    monkeypatch.chdir(project / "folder")
    assert locate("folder/wide.py:wide") == ("folder/folder/wide.py:wide", None)


def test_a_file_outside_of_the_suite_is_known_by_its_name_and_found_by_its_folder(
    project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "secret" / "own.py"
    outside.parent.mkdir()
    outside.write_text(OWN)
    assert locate("../secret/own.py:wide( 2 )") == ("own.py:wide(2)", outside)
    put_on_path([outside, outside])
    put_on_path([outside])
    assert os.environ["PYTHONPATH"] == str(outside.parent)
    assert found("own.py:wide(2)")() == (2, 1)


def test_a_file_outside_cannot_pass_for_one_of_the_suite(project: Path, tmp_path: Path) -> None:
    (tmp_path / "module_by_its_name.py").write_text(OWN)
    with pytest.raises(UnreadableName, match=r"a file outside of the suite would pass for \S+; rename it"):
        locate("../module_by_its_name.py:wide")


def test_two_files_of_one_name_outside_are_refused_with_both_folders(project: Path, tmp_path: Path) -> None:
    folders = tmp_path / "mine", tmp_path / "yours"
    for folder in folders:
        folder.mkdir()
        (folder / "own.py").write_text(OWN)
    put_on_path(folder / "own.py" for folder in folders)
    with pytest.raises(UnknownObject, match=f"a file own.py lies in {folders[0]} and in {folders[1]}, and the first"):
        found("own.py:wide")


def test_a_file_that_is_nowhere_is_refused_with_both_places(project: Path) -> None:
    with pytest.raises(UnreadableName, match=f"there is no file absent.py, neither here nor in {project}"):
        locate("absent.py:wide")


# On its way to the reader


HOSTILE = "folder/it's [wide].py:wide(name='a; \"b\" \\x07 <i> :: é',width=3)"


def test_a_label_of_any_name_has_nothing_that_cannot_be_printed() -> None:
    assert canonical(HOSTILE) == HOSTILE
    label = Cell.of("train", model=HOSTILE).label
    assert HOSTILE in label
    assert label.isprintable()
