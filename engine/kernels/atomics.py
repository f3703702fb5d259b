"""Numbers that threads share: read and written whole, in an order that all threads agree on."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import cpu
from engine.kernels.emit import I64, Emit
from engine.kernels.simd import emitted


def _number(e: Emit, address: ir.Value) -> ir.Value:
    return e.b.inttoptr(address, I64.as_pointer())


@emitted(lambda address: types.int64(types.int64))
def atomic_load(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
    """Read a shared int64."""
    return e.b.load_atomic(_number(e, address), "seq_cst", 8)


@emitted(lambda address, value: types.void(types.int64, types.int64))
def atomic_store(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write a shared int64."""
    e.b.store_atomic(value, _number(e, address), "seq_cst", 8)


@emitted(lambda address, value: types.void(types.int64, types.int64))
def publish(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write a shared int64: whoever reads it sees all that was read and written before. Cheaper than atomic_store."""
    e.b.store_atomic(value, _number(e, address), "release", 8)


@emitted(lambda address, value: types.int64(types.int64, types.int64))
def atomic_add(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> ir.Value:
    """Add to a shared int64; the value before."""
    return e.b.atomic_rmw("add", _number(e, address), value, "seq_cst")


@emitted(lambda address, old, new: types.boolean(types.int64, types.int64, types.int64))
def compare_and_swap(e: Emit, _types: Any, address: ir.Value, old: ir.Value, new: ir.Value) -> ir.Value:
    """Replace a shared int64 if it is still `old`."""
    pair = e.b.cmpxchg(_number(e, address), old, new, "seq_cst", "seq_cst")
    return e.b.extract_value(pair, 1)


@emitted(lambda: types.void())
def pause(e: Emit, _types: Any) -> None:
    """Tell the processor that this is a waiting loop."""
    if cpu.is_x86():
        e.call("llvm.x86.sse2.pause", ir.VoidType(), [])
