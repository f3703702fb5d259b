"""Blocks of weights side by side: LANES of them in a tile, one block in each lane, so that no sum crosses lanes.

A tile of floats is a vector for each weight of a block, a tile of bytes LANES bytes for each byte of a block. Levels
(the small integers that weights become) stay whole float32 until they are stored: below 2**22 that is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from engine.kernels import lanes
from engine.kernels.emit import F32X16, I8, I8X16, I16X16, I32, I32X16, Emit, splat_constant
from engine.kernels.jit import inner
from engine.kernels.memory import load_f32x16
from engine.kernels.simd import emitted, f32x16
from engine.kernels.sizes import LANES

VECTOR = 4 * LANES
"""Bytes of a vector."""

LARGEST = 3.4028234663852886e38


@emitted(lambda a, b: f32x16(f32x16, f32x16))
def minimum(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The smaller of each pair of lanes; b where one is not a number."""
    return e.b.select(e.b.fcmp_ordered("<", a, b), a, b)


@emitted(lambda a, b: f32x16(f32x16, f32x16))
def maximum(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of each pair of lanes; b where one is not a number."""
    return e.b.select(e.b.fcmp_ordered(">", a, b), a, b)


@emitted(lambda a, b, x, y: f32x16(f32x16, f32x16, f32x16, f32x16))
def where_less(e: Emit, _types: Any, a: ir.Value, b: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lanes of x where a < b, else of y."""
    return e.b.select(e.b.fcmp_ordered("<", a, b), x, y)


@emitted(lambda a: f32x16(f32x16))
def absolute(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """Each lane without its sign."""
    return e.call(f"llvm.fabs.v{LANES}f32", F32X16, [a])


@emitted(lambda a: f32x16(f32x16))
def root(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The square root of each lane."""
    return e.call(f"llvm.sqrt.v{LANES}f32", F32X16, [a])


@emitted(lambda a: f32x16(f32x16))
def nearest(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The nearest whole number, ties to even; for sizes below 2**22."""
    magic = splat_constant(F32X16, 12582912.0)
    return e.b.fsub(e.b.fadd(a, magic), magic)


@emitted(lambda a: f32x16(f32x16))
def truncated(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """Each lane without its fraction; for sizes below 2**31."""
    return e.b.sitofp(e.b.fptosi(a, I32X16), F32X16)


@emitted(lambda a: f32x16(f32x16))
def inverse(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """The inverse of each lane, 0 where that is beyond float32."""
    result = e.b.fdiv(splat_constant(F32X16, 1.0), a)
    size = e.call(f"llvm.fabs.v{LANES}f32", F32X16, [result])
    finite = e.b.fcmp_ordered("<=", size, splat_constant(F32X16, LARGEST))
    return e.b.select(finite, result, splat_constant(F32X16, 0.0))


@emitted(lambda a: f32x16(f32x16))
def as_half(e: Emit, _types: Any, a: ir.Value) -> ir.Value:
    """Each lane as half precision holds it."""
    return e.half_to_float(e.float_to_half(a))


@emitted(lambda value, address: types.void(f32x16, types.int64))
def store_bytes(e: Emit, _types: Any, value: ir.Value, address: ir.Value) -> None:
    """One byte of each lane's block: whole numbers from -128 to 255."""
    e.store(e.b.trunc(e.b.fptosi(value, I32X16), I8X16), address)


@emitted(lambda value, address: types.void(f32x16, types.int64))
def store_half(e: Emit, _types: Any, value: ir.Value, address: ir.Value) -> None:
    """Two bytes of each lane's block: the value as half precision, little-endian."""
    bits = e.float_to_half(value)
    e.store(e.b.trunc(bits, I8X16), address)
    e.store(e.b.trunc(e.b.lshr(bits, splat_constant(I16X16, 8)), I8X16), address, LANES)


@emitted(lambda address: f32x16(types.int64))
def load_f16x16(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
    """LANES numbers in half precision."""
    return e.half_to_float(e.load(address, I16X16))


@emitted(lambda address: f32x16(types.int64))
def load_bf16x16(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
    """LANES numbers of which the file has the upper half."""
    wide = e.b.zext(e.load(address, I16X16), I32X16)
    return e.b.bitcast(e.b.shl(wide, splat_constant(I32X16, 16)), F32X16)


@emitted(lambda address, value: types.void(types.int64, f32x16))
def store_bf16x16(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """The upper half of LANES finite numbers, rounded to nearest even."""
    bits = e.b.bitcast(value, I32X16)
    odd = e.b.and_(e.b.lshr(bits, splat_constant(I32X16, 16)), splat_constant(I32X16, 1))
    rounded = e.b.add(bits, e.b.add(odd, splat_constant(I32X16, 0x7FFF)))
    e.store(e.b.trunc(e.b.lshr(rounded, splat_constant(I32X16, 16)), I16X16), address)


@emitted(lambda source, target: types.void(types.int64, types.int64))
def _copy_byte(e: Emit, _types: Any, source: ir.Value, target: ir.Value) -> None:
    e.store(e.load(source, I8), target)


@emitted(lambda source, stride, target: types.void(types.int64, types.int64, types.int64))
def _transpose(e: Emit, _types: Any, source: ir.Value, stride: ir.Value, target: ir.Value) -> None:
    """LANES vectors `stride` bytes apart to as many one after the other, rows and columns exchanged."""
    rows = []
    for _ in range(LANES):
        rows.append(e.load(source, F32X16))
        source = e.at(source, stride)
    for half in (1, 2, 4, 8):
        keep = [i if not i & half else LANES + i - half for i in range(LANES)]
        take = [i + half if not i & half else LANES + i for i in range(LANES)]
        for i in range(LANES):
            if not i & half:
                pair = rows[i], rows[i + half]
                for at, mask in ((i, keep), (i + half, take)):
                    rows[at] = e.b.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, LANES), mask))
    for i in range(LANES):
        e.store(rows[i], target, i * VECTOR)


@inner
def constant(value):
    """The same number in every lane."""
    return lanes.splat(np.float32(value))


@inner
def weight(tile, index):
    """Weight `index` of every block."""
    return load_f32x16(tile + index * VECTOR)


@inner
def load_tile(source, size, tile):
    """LANES blocks of `size` float32 that lie one after the other to a tile."""
    for column in range(0, size, LANES):
        _transpose(source + 4 * column, 4 * size, tile + column * VECTOR)


@inner
def store_tile(tile, n_bytes, count, target):
    """The first `count` blocks of a tile of bytes, n_bytes each, one after the other."""
    for lane in range(count):
        for i in range(n_bytes):
            _copy_byte(tile + i * LANES + lane, target + lane * n_bytes + i)


@inner
def largest_size(tile, size):
    """The weight that is farthest from 0, with its sign; the first of several."""
    best = weight(tile, 0)
    peak = absolute(best)
    for i in range(1, size):
        x = weight(tile, i)
        length = absolute(x)
        best = where_less(peak, length, x, best)
        peak = maximum(length, peak)
    return best


@inner
def clamped(x, low, high):
    """X within low to high; high where x is not a number."""
    return maximum(minimum(x, high), low)
