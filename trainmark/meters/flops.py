"""Parameters and floating-point operations of a model, and of each operator's call: numbers without noise."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from trainmark.store.folders import without_folders

CONVOLUTION = "aten::convolution"
CONVOLUTION_KERNELS = {  # what computes it, on a CPU and on GPUs
    *("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"),
    *("aten::cudnn_convolution", "aten::miopen_convolution", "aten::_conv_depthwise2d"),
}

# Operators of aten whose work is like that of a product. All others are element-wise work, reductions, views, copies,
# normalisation, pooling, interpolation, losses, random numbers and the like: these are not counted.
WORD = r"(^|_){}(_|$)"
PRODUCTS = {  # pattern of a name -> what it is
    WORD.format("[a-z0-9]*mm"): "a matrix product: scaled, grouped, sparse, of integers, with an activation",
    WORD.format("(matmul|linear|trilinear|addbmm)"): "a matrix product by another name",
    WORD.format("(mkldnn|quantized|cudnn|miopen)_(rnn|lstm|gru)[a-z_]*"): "a whole recurrent layer",
    "lstm_mps": "a whole recurrent layer",
    "conv(olution)?_?(tbc|[23]d|depthwise|transpose|overrideable|dilated|backward)": "a convolution",
    "(cudnn|miopen|mkldnn|mps|nnpack_spatial)_(depthwise_)?convolution": "a convolution",
    "attention|transformer_encoder": "products of queries, keys and values, and their projections",
    "_fft_": "n log n products",
    "^_?linalg_(?!vector_norm|_powsum|cross|check_errors)": "a decomposition or a solution of equations",
    WORD.format("(cholesky|solve|spsolve|geqrf|ormqr|inverse|householder)"): "the same by older names",
    "linear_combination": "a polynomial of matrices",
    "c?dist_(forward|backward)|_euclidean_dist|^_pdist": "distances of all pairs: a product where they are many",
    "grid_sampler|affine_grid": "a product for each sampled point",
    "^(?!_use).*ctc_loss": "a recursion over all alignments",
    "sparse_sparse|sparse_semi_structured_(linear|apply)": "a sparse product",
}
_PRODUCT = re.compile("|".join(f"(?:{pattern})" for pattern in PRODUCTS))
FREE_NAMESPACES = {"aten", "prims", "prim", "profiler"}  # of others nobody knows what an operator computes
SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}
REAL_PRODUCTS = 4  # in a complex one; as many additions more make each of them a multiply-add

aten = torch.ops.aten
_VECTORS = {  # products with a vector, for which PyTorch has no formula: where its two factors are among the arguments
    aten.mv: (0, 1),
    aten.addmv: (1, 2),
    aten.dot: (0, 1),
    aten.vdot: (0, 1),
}

Call = tuple[str, tuple[tuple[int, ...], ...]]  # an operator's name, and the shapes that tell what a call computes


@dataclass(frozen=True)
class FlopCount:
    """Floating-point operations of a step, or why they are not known.

    Attributes:
        counted: 2 per multiply-add, of the operators that have a formula.
        without_formula: Operators that compute products and have none, in the order of their first call.
        failure: Why the step could not be looked at; None where it could.
    """

    counted: int
    without_formula: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def flops(self) -> int | None:
        """Of the whole step; None where a part of it could not be counted."""
        return self.counted if not self.without_formula and self.failure is None else None

    @property
    def reason(self) -> str | None:
        """Why there is no count, in a sentence; None where there is one."""
        if self.failure is not None:
            return f"FLOPs are not counted, no copy of the model runs on the meta device: {self.failure}"
        if self.without_formula:
            return f"FLOPs are not counted, there is no formula for {', '.join(self.without_formula)}"
        return None


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, shape: tuple[int, ...], *, training: bool) -> int | None:
    """Floating-point operations of one step; None where they are not known: see :func:`examine_flops`."""
    return examine_flops(model, shape, training=training).flops


def examine_flops(model: nn.Module, shape: tuple[int, ...], *, training: bool) -> FlopCount:
    """Floating-point operations of one step over a batch of that shape, 2 per multiply-add.

    Counted on an uncompiled copy on the meta device, so it costs no arithmetic. Matrix products,
    convolutions and attention count; element-wise work does not. Whatever a model does where it is copied
    or run without values costs this count, and nothing else.

    Args:
        model: Not compiled: the counter would run it eagerly and leave it so.
        shape: [B, C, H, W].
        training: Forward and backward if true, else forward only.
    """
    counter = _Counter()
    try:
        images = torch.empty(shape, device="meta")
        labels = torch.empty(shape[0], dtype=torch.long, device="meta")
        replica = copy.deepcopy(model).to("meta").train(training)
        with counter, torch.set_grad_enabled(training):
            logits = replica(images)
            if training:
                nn.functional.cross_entropy(logits, labels).backward()
    except Exception as error:  # noqa: BLE001  # a user's model ends as it likes, and is timed already
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        failure = without_folders(f"{type(error).__name__}: {first_line}")
        return FlopCount(counter.counted, tuple(counter.without_formula), failure)
    return FlopCount(counter.counted, tuple(counter.without_formula))


def examine_step(step: Callable[[], object]) -> FlopCount:
    """Floating-point operations of a step that is taken: whatever it computes with, 2 per multiply-add.

    Args:
        step: Runs eagerly.
    """
    is_training = torch.is_grad_enabled()
    counter = _Counter()
    with torch.inference_mode(False), torch.set_grad_enabled(is_training), counter:  # else it sees no products
        step()
    return FlopCount(counter.counted, tuple(counter.without_formula))


def lacks_formula(operator: Any) -> bool:
    """Whether an operator computes products, or nobody knows what, and PyTorch has no formula for it.

    One of PyTorch's is judged by its name, see PRODUCTS; one from elsewhere always computes something.

    Args:
        operator: An overload, such as ``torch.ops.aten.mm.default``, or one of higher order.
    """
    if _formula(operator) is not None:
        return False
    if not isinstance(operator, OpOverload):
        return True  # of higher order: what it calls is not seen
    if operator.namespace not in FREE_NAMESPACES:
        return True
    return not operator.is_view and _PRODUCT.search(operator.overloadpacket.__name__) is not None


def call_flops(step: Callable[[], object]) -> dict[Call, int | None]:
    """Floating-point operations of each call of an eager step, counted as by :func:`examine_flops`.

    None for calls that cannot be told apart by their shapes and differ, as by their stride.
    """
    is_training = torch.is_grad_enabled()
    counter = _Counter()
    with torch.inference_mode(False), torch.set_grad_enabled(is_training), counter:  # else it sees no products
        step()
    return counter.calls


def flops_of_call(name: str, shapes: Iterable[Any], known: Mapping[Call, int | None]) -> int | None:
    """Of a call that a profiler saw; a convolution's are those of the kernel, which is called within it.

    Args:
        name: Such as ``aten::addmm``.
        shapes: Of all inputs, empty for what is no tensor.
        known: From :func:`call_flops`.
    """
    tensors = [shape for shape in shapes if shape]
    if name == CONVOLUTION or not all(isinstance(size, int) for shape in tensors for size in shape):
        return None  # lists of tensors: an optimizer's
    return known.get(_call(CONVOLUTION if name in CONVOLUTION_KERNELS else name, tensors))


def _call(name: str, shapes: Sequence[Sequence[int]]) -> Call:
    telling = shapes[:2] if name == CONVOLUTION else shapes  # some kernels are given the bias, and some are not
    return name, tuple(tuple(shape) for shape in telling)


class _Counter(TorchDispatchMode):
    """Adds up what the operators of a step compute, and notes those of which that is not known.

    Attributes:
        counted: Floating-point operations so far.
        calls: Those of each call; None where calls of the same shapes differ.
        without_formula: Names of operators, in order.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of PyTorch
        self.counted = 0
        self.calls: dict[Call, int | None] = {}
        self.without_formula: dict[str, None] = {}
        self._multiplied: Any = WeakTensorKeyDictionary()  # result -> shapes of both

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _formula(func)
        if formula is None and isinstance(func, OpOverload) and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)  # what is made of other operators is counted by them
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is None:
            if lacks_formula(func):
                self.without_formula[func.name() if isinstance(func, OpOverload) else str(func)] = None
            self._look_for_a_product(func, args, kwargs, result)
            return result
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor.layout in SPARSE for tensor in given):
            self.without_formula[f"{func.name()} of sparse tensors"] = None
        else:
            factor = REAL_PRODUCTS if any(tensor.is_complex() for tensor in given) else 1
            self._note(func, args, factor * int(formula(*args, **kwargs, out_val=result)))
        return result

    def _note(self, func: Any, args: Any, flops: int) -> None:
        self.counted += flops
        if isinstance(func, OpOverload):
            shapes = [tensor.shape for tensor in args if isinstance(tensor, Tensor) and tensor.ndim]
            call = _call(f"aten::{func.overloadpacket.__name__}", shapes)
            self.calls[call] = flops if self.calls.get(call, flops) == flops else None

    def _look_for_a_product(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Notes a matrix product that is written as multiply-and-sum.

        Told by two tensors that are each broadcast along the other, and a sum of their product over a
        dimension that both have: no element-wise work is like that.
        """
        if func is aten.mul.Tensor and all(isinstance(one, Tensor) for one in args):
            if result.numel() > max(one.numel() for one in args):
                self._multiplied[result] = [_padded(one.shape, result.ndim) for one in args]
        elif func in (aten.sum.dim_IntList, aten.mean.dim, aten.sum.default, aten.mean.default):
            one, other = self._multiplied.get(args[0]) or ((), ())
            dims = kwargs.get("dim") or (args[1] if len(args) > 1 else None) or range(len(one))
            if one and any(one[dim] > 1 and other[dim] > 1 for dim in dims):
                self.without_formula["aten::mul with aten::sum, a matrix product"] = None


def _formula(operator: Any) -> Callable[..., Any] | None:
    """PyTorch's, or what a user has registered there; our own for products with a vector."""
    packet = operator.overloadpacket if isinstance(operator, OpOverload) else operator
    found: Callable[..., Any] | None = flop_registry.get(packet)
    if found is None and isinstance(operator, OpOverload) and operator.namespace == "aten":
        packet = getattr(aten, packet.__name__.removesuffix("_"), packet)  # what works in place computes the same
        found = partial(_vector_flops, *_VECTORS[packet]) if packet in _VECTORS else flop_registry.get(packet)
    return found


def _vector_flops(first: int, second: int, *args: Any, **_options: Any) -> int:
    return 2 * int(max(args[first].numel(), args[second].numel()))


def _padded(shape: Sequence[int], dimensions: int) -> tuple[int, ...]:
    return (*[1] * (dimensions - len(shape)), *shape)
