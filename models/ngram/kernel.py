"""Kernels: functions that Numba compiles once; the machine code is kept on the disk, and read from there without Numba.

To import Numba and to have it read its own cache takes longer than most fits. So a kernel's object file lies beside
its source (or in the user's cache), LLVM links it into the process, and it is called by its address. What decides
about the machine code is in the file's name: the functions, the constants they use, the types of the arguments, the
processor. A file that is damaged is compiled again.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from models.ngram.user_cache import user_cache

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Native = Callable[[tuple[Any, ...]], Any]  # machine code, called with a tuple of all arguments

FORMAT = 1  # of the kept files
CHECKSUM_BYTES = 32
MOST_RESULTS = 8  # numbers that a kernel gives back
OK, NONE = 0, -2  # what Numba's functions return beside their result
CTYPES: dict[str, Any] = {
    **{"bool": ctypes.c_bool, "int32": ctypes.c_int32, "int64": ctypes.c_int64},
    **{"uint32": ctypes.c_uint32, "uint64": ctypes.c_uint64, "float32": ctypes.c_float, "float64": ctypes.c_double},
}
PLAIN_KINDS: dict[Any, str] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    **{getattr(np, name): name for name in CTYPES if name != "bool"},
}
told_of_compiling: Callable[[str], None] | None = None  # called with the name of what is compiled, which takes seconds


def kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes a function a kernel: it is compiled when it is first called, and then on the disk for the next process.

    A kernel takes numbers, None, arrays without gaps, and tuples of these, and gives numbers or nothing; it may call
    other kernels and what :mod:`models.ngram.instructions` names. It neither makes arrays nor raises. It runs without
    the interpreter's lock, so threads run side by side. Indices in kernels are unsigned: for a signed one Numba also
    looks whether it counts from the end, which took a third of the time of a radix pass.
    """
    return cast("Callable[Arguments, Result]", Kernel(cast("FunctionType", function)))


class Kernel:
    """A function and its machine code, one piece for each combination of types it is called with."""

    def __init__(self, function: FunctionType) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._native: dict[tuple[Any, ...], Native] = {}

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives, by its machine code."""
        kinds = tuple(map(kind_of, arguments))
        native = self._native.get(kinds)
        if native is None:
            with _LOCK:
                native = self._native.get(kinds) or self._found(kinds, arguments)
                self._native[kinds] = native
        return native(arguments)

    def _found(self, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> Native:
        code = (*map(_described, kinds), *_parts(self.function))
        described = repr((FORMAT, sys.implementation.cache_tag, _machine(), *code))
        name = f"{self.function.__name__}-{hashlib.blake2b(described.encode(), digest_size=16).hexdigest()}"
        for folder in folders(self.function):
            if (kept := read(folder / f"{name}.kernel")) is not None:
                return _linked(name, kept, arguments)
        if told_of_compiling:
            told_of_compiling(self.function.__name__)
        from models.ngram.machine_code import compiled  # imports Numba

        made = compiled(self.function, kinds, name)
        for folder in folders(self.function):
            if keep(folder / f"{name}.kernel", made):
                break
        return _linked(name, made, arguments)


def kind_of(argument: Any) -> Any:
    """What decides about the machine code of an argument."""
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise TypeError("a kernel takes arrays without gaps")
        return argument.dtype.char, argument.ndim
    if isinstance(argument, tuple):
        return type(argument), tuple(map(kind_of, argument))
    if argument is None:
        return None
    return PLAIN_KINDS.get(type(argument)) or argument.dtype.name


def _described(kind: Any) -> str:
    """A kind of argument, of a named tuple with the order of its fields."""
    if isinstance(kind, tuple) and isinstance(kind[0], type):
        return f"{kind[0].__qualname__}{getattr(kind[0], '_fields', '')}({', '.join(map(_described, kind[1]))})"
    return repr(kind)


def _parts(function: FunctionType, known: set[str] | None = None) -> Iterator[Any]:
    """All that a function's machine code is made from, the functions that it calls included."""
    known = set() if known is None else known
    code = function.__code__
    names = [name for name in code.co_names if name in function.__globals__]
    constants = code.co_consts[bool(function.__doc__) :]  # the first is the docstring, where there is one
    yield code.co_name, code.co_code.hex(), code.co_names, code.co_varnames, constants
    for name in names:
        value = function.__globals__[name]
        if isinstance(value, Kernel):
            if value.function.__name__ not in known:
                known.add(value.function.__name__)
                yield from _parts(value.function, known)
        elif isinstance(value, int | float | np.generic):
            yield name, repr(value)


@functools.cache
def _machine() -> tuple[str, ...]:
    """What machine code depends on."""
    import llvmlite
    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    return platform.machine(), sys.platform, binding.get_host_cpu_name(), features, llvmlite.__version__


def folders(function: FunctionType) -> list[Path]:
    """Where machine code may be kept, the better place first: beside the source, and in the user's cache."""
    found = [Path(function.__code__.co_filename).parent / "__pycache__"]
    if (cache := user_cache()) is not None:
        found.append(cache / "kernels")
    return found


def read(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """What is kept in a file: what the function gives, and its object file; None where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, rest = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    if hashlib.blake2b(rest, digest_size=CHECKSUM_BYTES).digest() != checksum:
        return None
    head, _, machine_code = rest.partition(b"\n")
    return json.loads(head), machine_code


def keep(path: Path, made: tuple[dict[str, Any], bytes]) -> bool:
    """Whether it could be kept there, whole, for every process that looks."""
    rest = json.dumps(made[0]).encode() + b"\n" + made[1]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(hashlib.blake2b(rest, digest_size=CHECKSUM_BYTES).digest() + rest)
        unfinished.replace(path)
    except OSError:
        return False
    return True


_LOCK = threading.RLock()


@functools.cache
def _linker() -> Any:
    """LLVM's, for this process."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), target)


def _linked(name: str, made: tuple[dict[str, Any], bytes], example: tuple[Any, ...]) -> Native:
    """The function in an object file, as Python calls it."""
    from llvmlite import binding

    gives: list[str] | str | None = made[0]["gives"]
    engine = _linker()
    engine.add_object_file(binding.object_file.ObjectFileRef.from_data(made[1]))
    engine.finalize_object()
    room = ctypes.POINTER(ctypes.c_uint64)
    types = [kind for argument in example for kind in _flat_types(argument)]
    native = ctypes.CFUNCTYPE(ctypes.c_int32, room, ctypes.c_void_p, *types)(engine.get_function_address(name))
    results = ctypes.c_uint64 * MOST_RESULTS
    kinds = [CTYPES[gives]] if isinstance(gives, str) else [CTYPES[kind] for kind in gives or ()]

    def call(arguments: tuple[Any, ...]) -> Any:
        found, flat = results(), list[Any]()
        for argument in arguments:
            _flatten(argument, flat)
        if native(found, None, *flat) not in {OK, NONE}:
            raise AssertionError(f"the kernel {name} has raised")
        values = [kind.from_buffer(found, 8 * place).value for place, kind in enumerate(kinds)]
        return values[0] if isinstance(gives, str) else tuple(values) if values else None

    return call


def _flat_types(argument: Any) -> list[Any]:
    """How an argument is handed over: an array as Numba's structure of it, a tuple as its items."""
    if isinstance(argument, np.ndarray):
        pointers, sizes = [ctypes.c_void_p], [ctypes.c_int64]
        return [*pointers * 2, *sizes * 2, *pointers, *sizes * (2 * argument.ndim)]
    if isinstance(argument, tuple):
        return [kind for item in argument for kind in _flat_types(item)]
    return [ctypes.c_void_p] if argument is None else [CTYPES[kind_of(argument)]]


def _flatten(argument: Any, flat: list[Any]) -> None:
    if isinstance(argument, np.ndarray):
        address = argument.__array_interface__["data"][0]
        flat += (None, None, argument.size, argument.itemsize, address, *argument.shape, *argument.strides)
    elif isinstance(argument, tuple):
        for item in argument:
            _flatten(item, flat)
    else:
        flat.append(argument.item() if isinstance(argument, np.generic) else argument)
