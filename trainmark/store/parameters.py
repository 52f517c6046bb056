"""Parameters: the settings that vary between benchmarks, and what a record that does not name one was measured with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Value = str | int
Named = tuple[str, Path | None]


@dataclass(frozen=True)
class Parameter:
    """One setting that varies.

    Its name is the pytest parameter, the command-line option, the JSON key, the DataFrame column
    and the facet of a plot.

    Attributes:
        name: Standard term of the field, as a Python identifier.
        default: What a record that does not name it was measured with. It is part of the join key
            of every stored record, so it never changes once released.
        meaning: One line for ``--help`` and for the report.
        values: The valid values; empty where any value of the default's type is valid.
        wording: How a label shows a value; ``{s}`` is the plural's ending.
        title: Of its column in a table; empty for its name.
        same_arithmetic: Whether each value computes the same training, but for the last digits of its sums.
        locate: From what a user writes to the name that a record keeps, and the path where it lies here;
            raises a ValueError that says what is wrong. None where a value is its own name.
    """

    name: str
    default: Value
    meaning: str
    values: tuple[Value, ...] = ()
    wording: str = "{value}"
    title: str = ""
    same_arithmetic: bool = False
    locate: Callable[[str], Named] | None = None

    @property
    def option(self) -> str:
        """The command-line option of this parameter."""
        return "--" + self.name.replace("_", "-")

    def worded(self, value: Value) -> str:
        """A value as a label shows it: with a word where it would not tell what it is of."""
        plural = self.wording.replace("{s}", "" if value == 1 else "s")
        return plural.replace("{value}", str(value))


FOLDER = "folder:"
OWN_DATA = "own-data"  # what a task brings with it


def is_name_of_data(text: str) -> bool:
    """Whether a data set is one of the user's own, such as ``package.module:factory``."""
    return ":" in text and not text.startswith(FOLDER)


def locate_data(text: str) -> Named:
    """``folder:PATH(size=64)`` as ``folder:NAME(size=64)``: a record names the data, not where it lies.

    A name of the user's own is located as a model's is.
    """
    if not text.startswith(FOLDER):
        return locate_object(text)
    from trainmark.named import read_folder

    given, arguments = read_folder(text.removeprefix(FOLDER))
    path = absolute(given)
    if not given or not path.name:
        raise ValueError("write folder:PATH, with train/ and test/ in it")
    return f"{FOLDER}{path.name}{arguments}", path


def absolute(given: str) -> Path:
    """The path a user wrote, from the root on and without ``..``, as it is: links are not followed."""
    import os

    return Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100  # Path.absolute leaves a/../b as it is


def locate_object(text: str) -> Named:
    """``package.module:factory`` or ``path/to/file.py:factory`` in the one spelling that a record keeps."""
    from trainmark.named import locate  # a suite is above all that is stored

    return locate(text)


_BRACKET = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[(\[{]|[)\]}]""", re.DOTALL)


def split_values(text: str) -> list[str]:
    """The values of a list with commas between; a comma in brackets, as in ``nets:wide(512, depth=2)``, parts none."""
    values, begun, position = [], 0, 0
    while position < len(text):
        if text[position] == ",":
            values.append(text[begun:position])
            begun = position + 1
        position = _end_of_brackets(text, position) + 1
    return [value.strip() for value in (*values, text[begun:]) if value.strip()]


def _end_of_brackets(text: str, begun: int) -> int:
    """Where brackets that begin there end; where it begins for any other character, or if they never end."""
    depth = 0
    for found in _BRACKET.finditer(text, begun) if text[begun] in "([{" else ():
        depth += (found[0] in "([{") - (found[0] in ")]}")
        if depth == 0:
            return found.start()
    return begun


_BUILT_IN = (
    Parameter(
        "model",
        "mlp",
        "a registered name, package.module:factory or FILE.py:factory; with arguments as nets:wide(width=512)",
        locate=locate_object,
    ),
    Parameter(
        "dataset",
        "mnist-5k",
        "a registered name, synthetic, folder:PATH, package.module:factory or FILE.py:factory",
        locate=locate_data,
    ),
    Parameter("loader", "resident", "how a step is fed", ("resident", "dataloader"), same_arithmetic=True),
    Parameter("batch_size", 64, "samples in a step", title="Batch"),
    Parameter("device", "cpu", "where the model runs", ("cpu", "cuda", "mps", "xpu")),
    Parameter("precision", "fp32", "arithmetic of the forward and backward pass", ("fp32", "tf32", "bf16", "fp16")),
    Parameter(
        "compile",
        "off",
        "torch.compile mode",
        ("off", "default", "reduce-overhead", "max-autotune"),
        wording="compile={value}",
        same_arithmetic=True,
    ),
    Parameter(
        "grad_mode",
        "inference_mode",
        "how an inference does without gradients",
        ("inference_mode", "no_grad"),
        title="Gradients off by",
        same_arithmetic=True,
    ),
    Parameter(
        "memory_format",
        "contiguous",
        "layout of images and kernels",
        ("contiguous", "channels_last"),
        title="Layout",
        same_arithmetic=True,
    ),
    Parameter("epochs", 10, "passes over the training split", wording="{value} epoch{s}"),
)
# The defaults of model and data set are those of the first schema: records older than a parameter have them.
PARAMETERS: dict[str, Parameter] = {parameter.name: parameter for parameter in _BUILT_IN}

STEP_PARAMETERS = ("model", "dataset", "loader", "batch_size", "device", "precision", "compile", "memory_format")


def default_of(name: str) -> Value | None:
    """The default of a parameter; None of one that nobody here knows."""
    known = PARAMETERS.get(name)
    return None if known is None else known.default
