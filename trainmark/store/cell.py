"""What is measured: the axes a setting can vary along, the workloads, and a cell of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int


@dataclass(frozen=True)
class Axis:
    """One setting that varies between cells.

    Its name is the pytest parameter, the command-line option, the JSON key, the DataFrame column
    and the facet of a plot.

    Attributes:
        name: Standard term of the field, as a Python identifier.
        default: What a record that does not name the axis was measured with. It is part of the
            join key of every stored record, so it never changes once released.
        meaning: One line for ``--help`` and for the report.
        values: The valid values; empty where any value of the default's type is valid.
    """

    name: str
    default: Value
    meaning: str
    values: tuple[Value, ...] = ()

    @property
    def option(self) -> str:
        """The command-line option of this axis."""
        return "--" + self.name.replace("_", "-")


OWN_ENGINES = ("numba", "torch", "python")
PEERS = ("counter", "nltk", "scikit-learn", "polars", "duckdb", "lmplz", "count_ngrams", "irstlm")

_ALL_AXES = (
    Axis("model", "mlp", "a name from MODELS, or package.module:factory"),
    Axis("dataset", "mnist-5k", "mnist-5k, mnist, fashion-mnist, cifar10, synthetic or folder:PATH"),
    Axis("loader", "resident", "how a step is fed", ("resident", "dataloader")),
    Axis("batch_size", 64, "samples in a step"),
    Axis("device", "cpu", "where the model runs", ("cpu", "cuda", "mps", "xpu")),
    Axis("precision", "fp32", "arithmetic of the forward and backward pass", ("fp32", "tf32", "bf16", "fp16")),
    Axis("compile", "off", "torch.compile mode", ("off", "default", "reduce-overhead", "max-autotune")),
    Axis("memory_format", "contiguous", "layout of images and kernels", ("contiguous", "channels_last")),
    Axis("epochs", 10, "passes over the training split"),
    Axis("corpus", "pydoc", "the text of an n-gram cell: pydoc, zipf or the path of a file"),
    Axis("tokens", 0, "words and ends of sentences taken from the corpus; 0 for all of it"),
    Axis("order", 3, "words in the longest n-grams", (1, 2, 3, 4, 5, 6)),
    Axis("smoothing", "mle", "how an n-gram model estimates", ("mle", "additive", "kneser-ney")),
    Axis("engine", "numba", "what fits an n-gram model: one of ours, or a peer", (*OWN_ENGINES, *PEERS)),
)
AXES: dict[str, Axis] = {axis.name: axis for axis in _ALL_AXES}

_NGRAM_AXES = ("engine", "order", "smoothing", "corpus", "tokens", "device")
_STEP_AXES = ("model", "dataset", "loader", "batch_size", "device", "precision", "compile", "memory_format")


@dataclass(frozen=True)
class Workload:
    """A thing that can be measured.

    Attributes:
        axes: Names of the axes it takes, in the order in which a label shows them.
        meaning: One line for the report.
        round_unit: What one number in ``Record.rounds`` is the duration of.
    """

    axes: tuple[str, ...]
    meaning: str
    round_unit: str


WORKLOADS: dict[str, Workload] = {
    "train": Workload(_STEP_AXES, "forward, loss, zero_grad, backward, optimizer step", "step"),
    "inference": Workload(_STEP_AXES, "forward in eval mode without gradients", "step"),
    "input": Workload(("dataset", "loader", "batch_size", "device"), "what it costs to have a batch", "batch"),
    "ngram_fit": Workload(_NGRAM_AXES, "from a text to an n-gram model", "fit"),
    "ngram_score": Workload(_NGRAM_AXES, "the probability of each token of a held-out text", "pass"),
    "capacity": Workload(
        ("model", "dataset", "device", "precision", "compile", "memory_format"),
        "the largest batch that can be trained",
        "attempt",
    ),
    "accuracy": Workload((*_STEP_AXES, "epochs"), "a whole training, then the held-out accuracy", "training"),
    "lecture": Workload(
        ("dataset", "device", "epochs"), "the lecture's claims, and what its networks learn", "lecture"
    ),
}


@dataclass(frozen=True)
class Cell:
    """One workload at one value of every axis it takes: the unit that is run, saved, compared.

    Attributes:
        workload: A key of WORKLOADS.
        axes: Pairs of axis name and value; see :meth:`of`.
    """

    workload: str
    axes: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, workload: str, /, **values: Value) -> Cell:
        """A cell with the axes that the workload takes; those not given have their default.

        Raises:
            KeyError: The workload is not known.
            ValueError: A value was given for an axis that the workload does not take.
        """
        taken = WORKLOADS[workload].axes
        foreign = sorted(set(values) - set(taken))
        if foreign:
            raise ValueError(f"{workload} takes no {', '.join(foreign)}; it takes {', '.join(taken)}")
        return cls(workload, tuple((name, values.get(name, AXES[name].default)) for name in taken))

    def __getitem__(self, axis: str) -> Value:
        return self.settings[axis]

    @property
    def settings(self) -> dict[str, Value]:
        """Axis name -> value."""
        return dict(self.axes)

    @property
    def key(self) -> str:
        """The join key of this cell's records."""
        return join_key(self.workload, self.settings)

    @property
    def label(self) -> str:
        """What a person reads, such as ``train cnn 64 cpu bf16``: see :func:`label`."""
        return label(self.workload, self.settings)


def join_key(workload: str, axes: Mapping[str, Value]) -> str:
    """The name under which records of two runs meet.

    An axis at its default is left out, so a record made before an axis existed has the same key
    as one made after. The pytest node id is not used: it changes with every new axis.
    """
    varied = (f"{name}={_quoted(value)}" for name, value in sorted(axes.items()) if not _is_default(name, value))
    return " ".join([workload, *varied])


def label(workload: str, axes: Mapping[str, Value]) -> str:
    """A short name for people: what tells such cells apart at once, then what is not default."""
    always = _ALWAYS_SHOWN.get(workload, ("model", "batch_size", "device", "precision"))
    shown = [_worded(name, axes[name]) for name in always if name in axes]
    rest = [
        _worded(name, value)
        for name, value in sorted(axes.items(), key=lambda item: _place(item[0]))
        if name not in always and not _is_default(name, value)
    ]
    return " ".join([workload, *shown, *rest])


_ALWAYS_SHOWN = {
    "input": ("loader", "batch_size"),
    "ngram_fit": ("engine", "order", "smoothing"),
    "ngram_score": ("engine", "order", "smoothing"),
}


def _worded(axis: str, value: Value) -> str:
    """A value as a label shows it: with a word where it would not tell what it is of."""
    words = {
        "epochs": f"{value} epoch{'s' * (value != 1)}",
        "compile": f"compile={value}",
        "order": f"order {value}",
        "tokens": f"{value} tokens",
    }
    return words.get(axis, str(value))


def _place(name: str) -> tuple[int, str]:
    """Where a label shows an axis: in the order of AXES, and after them one that a newer version knows."""
    return (list(AXES).index(name) if name in AXES else len(AXES), name)


def _quoted(value: Value) -> str:
    """The value without spaces, which part the axes of a key."""
    return str(value).replace("%", "%25").replace(" ", "%20")


def _is_default(name: str, value: Value) -> bool:
    return name in AXES and AXES[name].default == value
