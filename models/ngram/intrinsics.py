"""Machine instructions that Numba has no name for: to ask ahead, to compare 64 bytes, to share arrays among threads."""

from __future__ import annotations

from functools import partial
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
def store_eight(_context: Any, array: Any, index: Any, _number: Any) -> Any:
    """Writes a uint64 over the eight bytes from ``array[index]`` on, its lowest byte first; the array is of uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.gep(
            context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]]
        )
        stored = builder.store(arguments[2], builder.bitcast(address, ir.IntType(64).as_pointer()))
        stored.align = 1
        return context.get_dummy_value()

    return types.void(array, index, types.uint64), generate


def _loaded(bits: int, _context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    return builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))


@intrinsic
def uint32_at(_context: Any, _address: Any) -> Any:
    """The uint32 at an address in memory: of arrays of which a kernel has any number."""
    return types.uint32(types.uint64), partial(_loaded, 32)


@intrinsic
def int64_at(_context: Any, _address: Any) -> Any:
    """The int64 at an address in memory."""
    return types.int64(types.uint64), partial(_loaded, 64)


@intrinsic
def trailing_zeros(_context: Any, _number: Any) -> Any:
    """Zero bits below the lowest one of a uint64 that is not 0."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


def _compared(how: str, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """How 64 bytes from an index of an array on stand to a byte: a bit for each, the lowest for the first."""
    bytes_64 = ir.VectorType(ir.IntType(8), 64)
    array, index, byte = arguments
    address = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [index])
    loaded = builder.load(builder.bitcast(address, bytes_64.as_pointer()))
    loaded.align = 1
    one = builder.insert_element(
        ir.Constant(bytes_64, ir.Undefined), builder.trunc(byte, ir.IntType(8)), ir.Constant(ir.IntType(32), 0)
    )
    places = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    everywhere = builder.shuffle_vector(one, ir.Constant(bytes_64, ir.Undefined), places)
    return builder.bitcast(builder.icmp_unsigned(how, loaded, everywhere), ir.IntType(64))


@intrinsic
def at_most(_context: Any, array: Any, index: Any, byte: Any) -> Any:
    """A bit for each of the 64 bytes from ``array[index]`` on that is no more than ``byte``; the array is of uint8."""
    return types.uint64(array, index, byte), partial(_compared, "<=")


@intrinsic
def equal_to(_context: Any, array: Any, index: Any, byte: Any) -> Any:
    """A bit for each of the 64 bytes from ``array[index]`` on that is ``byte``; the array is of uint8."""
    return types.uint64(array, index, byte), partial(_compared, "==")


def _changed(how: str, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    address = builder.gep(context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]])
    return builder.atomic_rmw(how, address, arguments[2], "seq_cst")


@intrinsic
def add(_context: Any, array: Any, index: Any, _number: Any) -> Any:
    """Adds to an item of an array of uint64, laid flat; gives what it was. Other threads see it before or after."""
    return types.uint64(array, index, types.uint64), partial(_changed, "add")


@intrinsic
def exchange(_context: Any, array: Any, index: Any, _number: Any) -> Any:
    """Writes an item of an array of uint64, laid flat; gives what it was. Other threads see it before or after."""
    return types.uint64(array, index, types.uint64), partial(_changed, "xchg")
