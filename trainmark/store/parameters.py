"""Parameters: the settings that vary between benchmarks, and what a record that does not name one was measured with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainmark.store.ranges import LARGEST_COUNT

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
        told: Value -> what it is, for the reference of options; of those that their names do not tell.
        example: What a call may say, for the same; empty for two of its values.
        devices: Where another value than the default means anything; empty for everywhere.
        needs: Parameters that must be off their default for another value than the default to mean anything, with
            what each is taken to be where a call says nothing of it.
        excludes: Parameters that must be at their default for another value than the default, with the reason.
        own_part: What a task may say itself instead; of such a task the default alone can be measured.
    """

    name: str
    default: Value
    meaning: str
    values: tuple[Value, ...] = ()
    wording: str = "{value}"
    title: str = ""
    same_arithmetic: bool = False
    locate: Callable[[str], Named] | None = None
    told: Mapping[Value, str] = field(default_factory=dict, hash=False)
    example: str = ""
    devices: tuple[str, ...] = ()
    needs: Mapping[str, Value] = field(default_factory=dict, hash=False)
    excludes: Mapping[str, str] = field(default_factory=dict, hash=False)
    own_part: str = ""

    @property
    def option(self) -> str:
        """The command-line option of this parameter."""
        return "--" + self.name.replace("_", "-")

    def allows(self, value: Value) -> bool:
        """Whether a benchmark can have a value: it is of the default's type, and no less than 1, or 0 as the default.

        Words are not looked at: those of a newer version are no fault of a record.
        """
        if isinstance(self.default, str) or isinstance(value, str):
            return isinstance(value, str) and isinstance(self.default, str) and value != ""
        return min(self.default, 1) <= value <= LARGEST_COUNT

    def left_to_task(self, value: Value) -> str:
        """Why another value than the default is not measured of a task that says that part itself."""
        return f"the task says its own {self.own_part}: {self.option} {value} is for those that say none"

    def worded(self, value: Value) -> str:
        """A value as a label shows it: with a word where it would not tell what it is of."""
        plural = self.wording.replace("{s}", "" if str(value) == "1" else "s")
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


USUAL_BATCH = 64  # the lecture's; a task's own learning rate is taken to be meant for it too
LOADED = {"loader": "dataloader"}
COPIES_ASIDE = ("cuda", "xpu")  # devices that copy from pinned memory while the host goes on
SWITCH = ("off", "on")

_BUILT_IN = (
    Parameter(
        "model",
        "mlp",
        "a registered name, package.module:factory or FILE.py:factory; with arguments as nets:wide(width=512)",
        locate=locate_object,
        example="mlp,cnn",
    ),
    Parameter(
        "dataset",
        "mnist-5k",
        "a registered name, synthetic, folder:PATH, package.module:factory or FILE.py:factory",
        locate=locate_data,
        example="synthetic",
    ),
    Parameter(
        "loader",
        "resident",
        "how a step is fed",
        ("resident", "dataloader"),
        same_arithmetic=True,
        told={
            "resident": "tensors that are on the device from the start",
            "dataloader": "a DataLoader over single samples, as the lecture's or as a task says",
        },
    ),
    Parameter(
        "workers",
        0,
        "processes that load batches; 0 loads them in the training's own",
        wording="{value} worker{s}",
        same_arithmetic=True,
        example="0,1,2",
        needs=LOADED,
        own_part="DataLoader",
    ),
    Parameter(
        "pin_memory",
        "off",
        "batches in page-locked memory, copied to the device while the host goes on",
        SWITCH,
        wording="pin_memory={value}",
        same_arithmetic=True,
        devices=COPIES_ASIDE,
        needs=LOADED,
        own_part="DataLoader",
    ),
    Parameter(
        "persistent_workers",
        "off",
        "workers stay from one epoch to the next",
        SWITCH,
        wording="persistent_workers={value}",
        same_arithmetic=True,
        needs={**LOADED, "workers": 1},
        own_part="DataLoader",
    ),
    Parameter(
        "prefetch",
        2,
        "batches that each worker loads ahead",
        wording="prefetch {value}",
        same_arithmetic=True,
        example="2,8",
        needs={**LOADED, "workers": 1},
        own_part="DataLoader",
    ),
    Parameter("batch_size", USUAL_BATCH, "samples of a batch", title="Batch", example="64,256"),
    Parameter(
        "accumulate",
        1,
        "batches whose gradients are added up before the optimizer takes its step",
        wording="accumulate {value}",
        example="1,4",
        own_part="step",
    ),
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
        "checkpointing",
        "off",
        "activations are computed again in the backward pass, and not kept",
        SWITCH,
        wording="checkpointing={value}",
        same_arithmetic=True,
        excludes={"compile": "what torch.compile keeps for the backward pass it decides itself"},
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
    Parameter(
        "cudnn_benchmark",
        "off",
        "cuDNN tries its convolutions and takes the fastest",
        SWITCH,
        wording="cudnn_benchmark={value}",
        same_arithmetic=True,
        devices=("cuda",),
    ),
    Parameter(
        "optimizer",
        "adamw",
        "what takes a step by the gradients",
        ("adamw", "adam", "sgd"),
        own_part="optimizer",
        told={
            "adamw": "the lecture's: learning rate 1e-3, betas 0.9 and 0.999, weight decay 0.01",
            "adam": "the same learning rate and betas, without weight decay",
            "sgd": "learning rate 0.01, momentum 0.9",
        },
    ),
    Parameter(
        "optimizer_implementation",
        "default",
        "how the optimizer computes its step",
        ("default", "foreach", "fused"),
        wording="{value} optimizer",
        same_arithmetic=True,
        own_part="optimizer",
        told={
            "default": "what PyTorch chooses: one parameter after the other on a CPU, foreach on CUDA",
            "foreach": "each operation over all parameters together",
            "fused": "one kernel for all of it",
        },
    ),
    Parameter("epochs", 10, "passes over the training split", wording="{value} epoch{s}", example="3"),
    Parameter(
        "lr_scaling",
        "none",
        f"how the learning rate follows the batch size, from that of {USUAL_BATCH} samples on",
        ("none", "sqrt", "linear"),
        wording="lr {value}",
        title="Learning rate",
        own_part="schedule",
    ),
)
# The defaults of model and data set are those of the first schema: records older than a parameter have them.
PARAMETERS: dict[str, Parameter] = {parameter.name: parameter for parameter in _BUILT_IN}

LOADING_PARAMETERS = ("loader", "workers", "pin_memory", "persistent_workers", "prefetch")
STEP_PARAMETERS = (
    *("model", "dataset", *LOADING_PARAMETERS, "batch_size"),
    *("device", "precision", "compile", "memory_format", "cudnn_benchmark"),
)
TRAINING_PARAMETERS = (
    *STEP_PARAMETERS,
    *("accumulate", "checkpointing", "optimizer", "optimizer_implementation"),
)
LEARNING_PARAMETERS = (*TRAINING_PARAMETERS, "lr_scaling")  # of a whole training, beside how long it is


def default_of(name: str) -> Value | None:
    """The default of a parameter; None of one that nobody here knows."""
    known = PARAMETERS.get(name)
    return None if known is None else known.default
