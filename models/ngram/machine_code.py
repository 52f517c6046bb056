"""From a function to an object file, by Numba and LLVM: what :mod:`models.ngram.kernel` does once, and then keeps."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import binding

from models.ngram import intrinsics
from models.ngram.instructions import Instruction
from models.ngram.kernel import Kernel

compiler: Any = numba.njit  # its types know neither these options nor what these types are made of
types: Any = numba.types


def compiled(function: FunctionType, kinds: tuple[Any, ...], name: str) -> tuple[dict[str, Any], bytes]:
    """The machine code of a kernel for arguments of these kinds.

    Returns:
        What it gives (the type of a number, those of several, or None), and an object file that needs nothing but
        the C library; its function has that name, and Numba's calling convention.

    Raises:
        AssertionError: The kernel makes arrays, or needs the interpreter.
    """
    signature = tuple(map(_type, kinds))
    dispatcher = _dispatcher(function)
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature]
    module = binding.parse_assembly(result.library.get_llvm_str())
    for part in (*module.functions, *module.global_variables):
        if part.name == result.fndesc.mangled_name:
            part.name, part.linkage = name, "external"
        elif not part.is_declaration:
            part.linkage = "internal"
        elif part.name.startswith(("NRT_", "numba_", "Py")):
            raise AssertionError(f"{function.__name__} makes arrays or needs the interpreter: {part.name}")
    return {"gives": _given(result.signature.return_type)}, _target().emit_object(module)


@functools.cache
def _target() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target, features = binding.Target.from_default_triple(), binding.get_host_cpu_features().flatten()
    cpu = binding.get_host_cpu_name()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True, codemodel="jitdefault")


@functools.cache
def _dispatcher(function: FunctionType) -> Any:
    """The function as Numba compiles it, with what it calls; without Numba's memory, whose code is not in the file."""
    named = {name: _meant(value) for name, value in function.__globals__.items()}
    copy = FunctionType(function.__code__, named, function.__name__, function.__defaults__, function.__closure__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return compiler(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(copy)


def _meant(value: Any) -> Any:
    """What a kernel's name stands for while it is compiled."""
    if isinstance(value, Instruction):
        return getattr(intrinsics, value.name)
    return _Later(value) if isinstance(value, Kernel) else value


class _Later:
    """Another kernel: what Numba asks of it, when it does."""

    def __init__(self, named: Kernel) -> None:
        self._named = named

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(_dispatcher(self._named.function))


def _type(kind: Any) -> Any:
    """Numba's type of an argument."""
    if kind is None:
        return types.none
    if isinstance(kind, str):
        return numba.from_dtype(np.dtype(kind))
    if isinstance(kind[1], int):
        return types.Array(numba.from_dtype(np.dtype(kind[0])), kind[1], "C")
    items = tuple(map(_type, kind[1]))
    return types.Tuple(items) if kind[0] is tuple else types.NamedTuple(items, kind[0])


def _given(kind: Any) -> Any:
    if kind is types.none:
        return None
    return [str(item) for item in kind] if isinstance(kind, types.BaseTuple) else str(types.unliteral(kind))
