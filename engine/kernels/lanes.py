"""Arithmetic on vectors of LANES floats, for use inside kernels."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels.emit import F32, F32X16, I32, I32X16, Emit
from engine.kernels.simd import emitted, f32x16
from engine.kernels.sizes import LANES

_UNARY = lambda a: f32x16(f32x16)  # noqa: E731
_BINARY = lambda a, b: f32x16(f32x16, f32x16)  # noqa: E731


@emitted(lambda value: f32x16(types.float32))
def splat(e: Emit, _types: Any, value: ir.Value) -> ir.Value:
    """The same number in every lane."""
    return e.splat(value)


@emitted(_BINARY)
def add(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The sums a + b."""
    return e.b.fadd(a, b)


@emitted(_BINARY)
def sub(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The differences a - b."""
    return e.b.fsub(a, b)


@emitted(_BINARY)
def mul(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The products a * b."""
    return e.b.fmul(a, b)


@emitted(_BINARY)
def div(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The quotients a / b."""
    return e.b.fdiv(a, b)


@emitted(lambda a, b, c: f32x16(f32x16, f32x16, f32x16))
def fma(e: Emit, _types: Any, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """The sums a * b + c."""
    return e.fma(a, b, c)


@emitted(_BINARY)
def maximum(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of each pair of lanes."""
    return e.call(f"llvm.maxnum.v{LANES}f32", F32X16, [a, b])


@emitted(_BINARY)
def minimum(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of each pair of lanes."""
    return e.call(f"llvm.minnum.v{LANES}f32", F32X16, [a, b])


@emitted(_UNARY)
def exp(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The exponential of each lane."""
    return e.exp(a)


@emitted(lambda a, count, other: f32x16(f32x16, types.int64, types.float32))
def first_lanes(e: Emit, _types: Any, a: ir.Value, count: ir.Value, other: ir.Value) -> ir.Value:
    """The first `count` lanes of a, `other` in the rest."""
    index = ir.Constant(I32X16, list(range(LANES)))
    inside = e.b.icmp_signed("<", index, e.splat(e.b.trunc(count, I32)))
    return e.b.select(inside, a, e.splat(other))


@emitted(lambda first: f32x16(types.float32))
def counted(e: Emit, _types: Any, first: ir.Value) -> ir.Value:
    """The numbers first, first + 1 and so on."""
    return e.b.fadd(e.splat(first), ir.Constant(F32X16, [float(lane) for lane in range(LANES)]))


@emitted(lambda a: types.float32(f32x16))
def total(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The sum of the lanes."""
    return e.reduce(a, e.b.fadd)


@emitted(lambda a: types.float32(f32x16))
def largest(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The largest lane."""
    return e.reduce(a, e.larger)


@emitted(lambda x, out: types.void(types.int64, types.int64))
def quantize_block(e: Emit, _types: Any, x: ir.Value, out: ir.Value) -> None:
    """Write 32 float32 as a block of 32 int8 with scale and sums (see records.BLOCK_BYTES).

    The scale is the largest size / 127; llama.cpp rounds it to half precision, which would save nothing here.
    """
    b = e.b
    parts = [e.load(x, F32X16, 64 * i) for i in (0, 1)]
    peak, inverse = e.size_and_factor(parts, 127)
    scale = b.fmul(peak, F32(1 / 127))
    sums = []
    for i, part in enumerate(parts):
        whole = e.whole(part, e.splat(inverse))
        e.store(b.trunc(whole, ir.VectorType(ir.IntType(8), LANES)), out, LANES * i)
        sums.append(e.reduce(whole, b.add))
    e.store(scale, out, 32)
    e.store(sums[0], out, 36)
    e.store(sums[1], out, 40)
    e.store(b.sitofp(b.add(*sums), F32), out, 44)
