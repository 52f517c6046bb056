"""Three machine instructions that Numba has no name for: a prefetch, an unaligned load, a count of trailing zeros."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic  # its type asks callers for the context, which Numba gives


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Asks for the cache line of the item at ``index`` of an array, laid flat: some iterations later it is there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.gep(
            context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]]
        )
        pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        )
        # to be read and written; stays in all caches; data, not instructions
        builder.call(function, [pointer, ir.Constant(word, 1), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


@intrinsic
def load_eight(_context: Any, array: Any, index: Any) -> Any:
    """The eight bytes from ``array[index]`` on, the first of them lowest; the array is of uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.gep(
            context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]]
        )
        loaded = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        loaded.align = 1
        return loaded

    return types.uint64(array, index), generate


@intrinsic
def trailing_zeros(_context: Any, _number: Any) -> Any:
    """Zero bits below the lowest one of a uint64 that is not 0."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate
