"""Rows of a GGUF tensor into panels. Of quantised types, bits move and no weight changes.

What packs also tells whether there was something that nothing can be computed with: a scale, or a plain number, that is
infinite or no number. That costs nothing beside moving the bits.

A quantised block is read as eight words of four columns each (a byte per weight, as the panel's steps have them), and
written as the panel's low and high bits. Source of the layouts: ggml's block structs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from engine.kernels.emit import I8, I16, I16X16, I32, Emit
from engine.kernels.formats import FORMATS, BlockFormat
from engine.kernels.jit import exported, inner
from engine.kernels.memory import load_u8
from engine.kernels.number_formats import BF16, F16, WordFormat
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.words import SPECIAL, write_row

Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4, TQ1_0, TQ2_0 = range(3, len(FORMATS))
"""What `pack_quants` calls the types: their places among all."""

HALF_EXPONENT, EXPONENT = 0x7C00, 0x7F800000
"""The exponents of a half-precision number and of a float32: all ones in what is infinite or no number."""

BYTES_1, BYTES_2, BYTES_F, BYTES_EVEN = 0x01010101, 0x03030303, 0x0F0F0F0F, 0x00FF00FF


def _copier(kind: ir.Type) -> Any:
    @emitted(lambda source, target: types.int64(types.int64, types.int64))
    def copy(e: Emit, _types: Any, source: ir.Value, target: ir.Value) -> ir.Value:
        """Copy the bytes; gives them as an unsigned number."""
        bits = e.load(source, kind)
        e.store(bits, target)
        return e.b.zext(bits, ir.IntType(64))

    return copy


copy_2, copy_4 = _copier(I16), _copier(I32)


@emitted(lambda address: types.int64(types.int64))
def word(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
    """Four bytes as an unsigned number."""
    return e.b.zext(e.load(address, I32), ir.IntType(64))


@emitted(lambda address, value: types.void(types.int64, types.int64))
def put_word(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write four bytes."""
    e.store(e.b.trunc(value, I32), address)


@emitted(lambda address, value: types.void(types.int64, types.int64))
def put_byte(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write one byte."""
    e.store(e.b.trunc(value, I8), address)


@emitted(lambda fmt, source, panel, block, lane: types.int64(fmt, types.int64, types.int64, types.int64, types.int64))
def numbers_to_words(
    e: Emit, args: Any, _fmt: ir.Value, source: ir.Value, panel: ir.Value, block: ir.Value, lane: ir.Value
) -> ir.Value:
    """Write 32 numbers of 16 bits to a row of a block of words; gives the exponent, SPECIAL if one is not finite."""
    fmt: WordFormat = args[0].value
    halves = [e.load(source, I16X16, 2 * LANES * i) for i in (0, 1)]
    to_float = e.half_to_float if fmt.name == "F16" else e.bfloat_to_float
    return e.b.zext(write_row(e, fmt, [to_float(half) for half in halves], panel, block, lane), ir.IntType(64))


@inner
def nibble_word(quants, step):
    """Step of a 32-block whose byte j holds columns j (low nibble) and j + 16 (high)."""
    if step < 4:
        return word(quants + 4 * step) & BYTES_F
    return (word(quants + 4 * (step - 4)) >> 4) & BYTES_F


@inner
def spread_bits(bits):
    """Four bits to the lowest bits of four bytes."""
    return (bits * 0x00204081) & BYTES_1


@inner
def k_nibble_word(quants, part, step):
    """Step of part `part` of a super-block whose 32 bytes hold two parts each: low nibbles, then high ones."""
    return (word(quants + part // 2 * 32 + 4 * step) >> (4 * (part % 2))) & BYTES_F


@inner
def two_bit_word(quants, part, step):
    """Step of a part of a super-block whose 32 bytes hold four parts of two bits each."""
    return (word(quants + part // 4 * 32 + 4 * step) >> (2 * (part % 4))) & BYTES_2


@inner
def ternary_word(block, part, step):
    """Step of a part of a super-block of digits of base 3, from the highest digit of each byte to the lowest.

    The first 32 bytes hold five parts, the next 16 have 16 columns to a digit, and the last four have four. A byte is
    the fraction that its five digits make, in 256ths: its highest digit is the whole part of three times that.
    """
    column = part * BLOCK + 4 * step
    if column < 160:
        at, digit = column % 32, column // 32
    elif column < 240:
        at, digit = 32 + column % 16, (column - 160) // 16
    else:
        at, digit = 48, (column - 240) // 4
    bytes_ = word(block + at)
    even, odd = bytes_ & BYTES_EVEN, bytes_ >> 8 & BYTES_EVEN
    for _ in range(digit):
        even, odd = even * 3 & BYTES_EVEN, odd * 3 & BYTES_EVEN
    return even * 3 >> 8 & BYTES_EVEN | odd * 3 & ~BYTES_EVEN


@inner
def source_word(kind, block, part, step):
    """Four weights, as unsigned bytes: columns 4·step… of the part-th 32 columns of a source block."""
    if kind == Q4_0 or kind == Q4_1 or kind == IQ4_NL or kind == MXFP4:
        return nibble_word(block + (4 if kind == Q4_1 else 1 if kind == MXFP4 else 2), step)
    if kind == Q5_0 or kind == Q5_1:
        at = block + (2 if kind == Q5_0 else 4)
        return nibble_word(at + 4, step) | spread_bits((word(at) >> (4 * step)) & 15) << 4
    if kind == Q8_0:
        return word(block + 2 + 4 * step)
    if kind == Q2_K or kind == TQ2_0:
        return two_bit_word(block + (16 if kind == Q2_K else 0), part, step)
    if kind == Q3_K:
        high = (word(block + 4 * step) >> part) & BYTES_1
        return two_bit_word(block + 32, part, step) | high << 2
    if kind == Q4_K:
        return k_nibble_word(block + 16, part, step)
    if kind == Q5_K:
        high = (word(block + 16 + 4 * step) >> part) & BYTES_1
        return k_nibble_word(block + 48, part, step) | high << 4
    if kind == Q6_K:
        half, quarter = part // 4, part % 4
        low = word(block + half * 64 + quarter % 2 * 32 + 4 * step) >> (4 * (quarter // 2))
        high = word(block + 128 + half * 32 + 4 * step) >> (2 * quarter)
        return low & BYTES_F | (high & BYTES_2) << 4
    if kind == TQ1_0:
        return ternary_word(block, part, step)
    return nibble_word(block + 8 + 16 * part, step)


@inner
def source_scale(kind, block, part, index):
    """A scale byte of a part, as the panel has it: see BlockFormat.scale_kind."""
    if kind == Q2_K:
        return np.int64(load_u8(block + 2 * part + index))
    if kind == Q3_K:
        i = 2 * part + index
        low = np.int64(load_u8(block + 96 + i % 8)) >> (4 * (i // 8)) & 15
        high = np.int64(load_u8(block + 104 + i % 4)) >> (2 * (i // 4)) & 3
        return (low | high << 4) - 32
    if kind == Q4_K or kind == Q5_K:
        first, here = np.int64(load_u8(block + 4 + part % 4 + 4 * index)), np.int64(load_u8(block + 4 + part % 4 + 8))
        if part < 4:
            return first & 63
        return (here >> (4 * index)) & 15 | first >> 6 << 4
    if kind == Q6_K:
        return np.int64(load_u8(block + 192 + 2 * part + index))
    if kind == MXFP4:
        return np.int64(load_u8(block))
    low = np.int64(load_u8(block + 4 + part // 2)) >> (4 * (part % 2)) & 15
    high = (word(block + 2) & 0xFFFF) >> (2 * part) & 3
    return (low | high << 4) - 32


@inner
def put_sixes(kind, block, parts, out):
    """Write one row's scales and minima of a super-block in six bits each: see formats.BlockFormat."""
    for part in range(0, parts, 2):
        rest = 0
        for i in range(2):
            least = source_scale(kind, block, part + i, 1)
            put_byte(out + (part + i) * LANES, source_scale(kind, block, part + i, 0) | (least & 3) << 6)
            rest |= least >> 2 << 4 * i
        put_byte(out + (parts + part // 2) * LANES, rest)


@inner
def source_halves(kind, source_bytes):
    """Where a source block's half-precision numbers lie."""
    if kind == Q2_K:
        return 80
    if kind == Q3_K or kind == Q6_K or kind == TQ1_0 or kind == TQ2_0:
        return source_bytes - 2
    return 0


@inner
def write_bits(kind, block, part, low, high, high_at, low_at, lane):
    """Write one row's bits of a 32-block to its panel."""
    mask = BYTES_1 if high == 1 else BYTES_2
    per_word = 8 // high if high else 1
    for i in range(high):
        bits = 0
        for step in range(per_word):
            bits |= (source_word(kind, block, part, i * per_word + step) >> low & mask) << (high * step)
        put_word(high_at + (i * LANES + lane) * 4, bits)
    if low == 8:
        for step in range(8):
            put_word(low_at + (step * LANES + lane) * 4, source_word(kind, block, part, step))
    elif low == 4:
        for i in range(4):
            bits = source_word(kind, block, part, i) & BYTES_F | (source_word(kind, block, part, i + 4) & BYTES_F) << 4
            put_word(low_at + (i * LANES + lane) * 4, bits)
    else:
        for i in range(2):
            bits = 0
            for step in range(4):
                bits |= (source_word(kind, block, part, 4 * i + step) & BYTES_2) << (2 * step)
            put_word(low_at + (i * LANES + lane) * 4, bits)


def pack_quants(name: str) -> Any:
    """Move n_rows rows of a quantised type to rows first_row… of the panels at target.

    Gives 1 if a scale is infinite or no number, else 0.
    """
    fmt = FORMATS[name]
    assert isinstance(fmt, BlockFormat)
    kind, parts, halves, scales, high, low = (
        tuple(FORMATS).index(name), fmt.per_super, fmt.halves, fmt.scale_bytes, fmt.high, fmt.low
    )  # fmt: skip
    head_bytes, inner_bytes, super_bytes = fmt.head_bytes, fmt.inner_bytes, fmt.super_bytes

    @exported
    def pack(source, row_bytes, n_rows, n_supers, target, panel_bytes, first_row):
        source_bytes, is_odd = row_bytes // n_supers, False
        half_at = source_halves(kind, source_bytes)
        for row in range(n_rows):
            lane = (first_row + row) % LANES
            out = target + (first_row + row) // LANES * panel_bytes
            for index in range(n_supers):
                block = source + row * row_bytes + index * source_bytes
                top = out + index * super_bytes
                for i in range(halves):
                    half = copy_2(block + half_at + 2 * i, top + (i * LANES + lane) * 2)
                    is_odd |= half & HALF_EXPONENT == HALF_EXPONENT
                if kind == Q4_K or kind == Q5_K:
                    put_sixes(kind, block, parts, top + 2 * LANES * halves + lane)
                for part in range(parts):
                    at = top + head_bytes + part * inner_bytes
                    for i in range(scales):
                        scale = source_scale(kind, block, part, i)
                        put_byte(at + i * LANES + lane, scale)
                        is_odd |= kind == MXFP4 and scale == SPECIAL
                    high_at = at + scales * LANES
                    write_bits(kind, block, part, low, high, high_at, high_at + LANES * BLOCK * high // 8, lane)
        return np.int64(is_odd)

    return pack


@exported
def pack_floats(source, row_bytes, n_rows, n_columns, target, panel_bytes, first_row):
    """Move n_rows rows of float32 to rows first_row… of the panels at target; gives 1 if one is not finite, else 0."""
    is_odd = False
    for row in range(n_rows):
        lane = (first_row + row) % LANES
        src = source + row * row_bytes
        out = target + (first_row + row) // LANES * panel_bytes
        for i in range(n_columns):
            is_odd |= copy_4(src + 4 * i, out + (i * LANES + lane) * 4) & EXPONENT == EXPONENT
    return np.int64(is_odd)


@exported
def pack_f16(source, row_bytes, n_rows, n_blocks, target, panel_bytes, first_row):
    """Rows of half precision to words: see number_formats.Words."""
    return pack_words(F16, source, row_bytes, n_rows, n_blocks, target, panel_bytes, first_row)


@exported
def pack_bf16(source, row_bytes, n_rows, n_blocks, target, panel_bytes, first_row):
    """Rows of bfloat16 to words."""
    return pack_words(BF16, source, row_bytes, n_rows, n_blocks, target, panel_bytes, first_row)


@inner
def pack_words(fmt, source, row_bytes, n_rows, n_blocks, target, panel_bytes, first_row):
    """Turn n_rows rows of numbers to rows first_row… of the panels at target; gives 1 if one is not finite, else 0."""
    is_odd = False
    for row in range(n_rows):
        lane = (first_row + row) % LANES
        panel = target + (first_row + row) // LANES * panel_bytes
        for block in range(n_blocks):
            exponent = numbers_to_words(fmt, source + row * row_bytes + block * 2 * BLOCK, panel, block, lane)
            is_odd |= exponent == SPECIAL
    return np.int64(is_odd)
