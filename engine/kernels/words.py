"""Numbers to words, the 16-bit integers of number_formats.Words, and activations to such words."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels.emit import F32, F32X16, I8, I8X16, I16X16, I32, I32X16, Emit, splat_constant
from engine.kernels.number_formats import WordFormat
from engine.kernels.records import WORD_SCALE_AT
from engine.kernels.simd import emitted, f32x16
from engine.kernels.sizes import LANES
from engine.kernels.unpacking import address, exponents, in_lines

LARGEST = 8191
"""The size of an activation that is the largest of its block."""

SHIFT, SPECIAL = 12, 255
"""Bits of the largest weight behind its first one; the exponent of what is no finite number."""


@emitted(lambda a, b: f32x16(f32x16, f32x16))
def larger_size(e: Emit, _types: Any, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger absolute value of each pair of lanes; what is not a number is the largest."""
    sizes = [e.b.and_(e.b.bitcast(v, I32X16), splat_constant(I32X16, 0x7FFFFFFF)) for v in (a, b)]
    return e.b.bitcast(e.b.select(e.b.icmp_signed(">", *sizes), *sizes), F32X16)


@emitted(lambda sizes: types.int32(f32x16))
def word_exponent(e: Emit, _types: Any, sizes: ir.Value) -> ir.Value:
    """The exponent (as float32 has it) of the scale for words of these absolute values, one for all lanes."""
    return exponent_for(e, e.b.bitcast(sizes, I32X16))


def exponent_for(e: Emit, sizes: ir.Value) -> ir.Value:
    """The same, of absolute values as bits."""
    b = e.b
    exponent = b.lshr(e.reduce(sizes, lambda p, q: b.select(b.icmp_signed(">", p, q), p, q)), I32(23))
    least = I32(SHIFT + 1)
    kept = b.sub(b.select(b.icmp_signed(">", exponent, least), exponent, least), I32(SHIFT))
    return b.select(b.icmp_signed("==", exponent, I32(SPECIAL)), I32(SPECIAL), kept)


def write_row(
    e: Emit, fmt: WordFormat, halves: list[ir.Value], panel: ir.Value, block: ir.Value, lane: ir.Value
) -> ir.Value:
    """Write 32 float32, as two vectors, to a row of a block of words; gives the exponent of their scale."""
    b = e.b
    sizes = [b.and_(b.bitcast(half, I32X16), splat_constant(I32X16, 0x7FFFFFFF)) for half in halves]
    exponent = exponent_for(e, b.select(b.icmp_signed(">", *sizes), *sizes))
    pairs = b.bitcast(in_lines(fmt, e, e.join(*(_words(e, half, exponent) for half in halves))), I32X16)
    at = e.at(address(fmt, e, panel, block), b.mul(lane, lane.type(4)))
    for i in range(fmt.lines):
        e.store(b.extract_element(pairs, I32(i)), at, i * fmt.pitch)
    e.store(b.trunc(exponent, I8), e.at(exponents(fmt, e, panel, block), lane))
    return exponent


@emitted(lambda fmt, x, panel, block, lane: types.void(fmt, types.int64, types.int64, types.int64, types.int64))
def store_row(
    e: Emit, args: Any, _fmt: ir.Value, x: ir.Value, panel: ir.Value, block: ir.Value, lane: ir.Value
) -> None:
    """Write 32 float32 to a row of a block of words. Of other formats nothing: that is compiled, but never run."""
    if isinstance(args[0].value, WordFormat):
        write_row(e, args[0].value, [e.load(x, F32X16, 64 * i) for i in (0, 1)], panel, block, lane)


@emitted(lambda x, exponent, out: types.void(types.int64, types.int32, types.int64))
def store_column(e: Emit, _types: Any, x: ir.Value, exponent: ir.Value, out: ir.Value) -> None:
    """Write LANES float32 as words to a column of a block: into one half of each 32-bit lane."""
    words = _words(e, e.load(x, F32X16), exponent)
    for i in range(LANES):
        e.store(e.b.extract_element(words, I32(i)), out, 4 * i)


@emitted(lambda exponent, address: types.void(types.int32, types.int64))
def store_exponent(e: Emit, _types: Any, exponent: ir.Value, address: ir.Value) -> None:
    """Write an exponent as a byte."""
    e.store(e.b.trunc(exponent, I8), address)


def _words(e: Emit, v: ir.Value, exponent: ir.Value) -> ir.Value:
    """A vector divided by two to an exponent and rounded, as int16."""
    inverse = e.b.bitcast(e.b.shl(e.b.sub(I32(254), exponent), I32(23)), F32)
    return e.b.trunc(e.whole(v, e.splat(inverse)), I16X16)


@emitted(lambda x, out: types.void(types.int64, types.int64))
def widen_block(e: Emit, _types: Any, x: ir.Value, out: ir.Value) -> None:
    """Write 32 float32 as activations: see records.WORD_BLOCK_BYTES."""
    _widen(e, [e.load(x, F32X16, 64 * i) for i in (0, 1)], out)


@emitted(lambda first, second, exponents, out: types.void(f32x16, f32x16, types.int64, types.int64))
def widen_scaled_block(
    e: Emit, _types: Any, first: ir.Value, second: ir.Value, exponents: ir.Value, out: ir.Value
) -> None:
    """The same of two vectors times two to as many exponents, which are bytes."""
    b, parts = e.b, []
    for i, v in enumerate((first, second)):
        bits = b.shl(b.zext(e.load(exponents, I8X16, LANES * i), I32X16), splat_constant(I32X16, 23))
        parts.append(b.fmul(v, b.bitcast(bits, F32X16)))
    _widen(e, parts, out)


def _widen(e: Emit, parts: list[ir.Value], out: ir.Value) -> None:
    peak, inverse = e.size_and_factor(parts, LARGEST)
    words = e.join(*(e.b.trunc(e.whole(part, e.splat(inverse)), I16X16) for part in parts))
    e.store(words, out)
    e.store(e.b.fmul(peak, F32(1 / LARGEST)), out, WORD_SCALE_AT)
