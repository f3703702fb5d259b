"""Blocks of 32 weights (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0) and plain numbers, bit for bit as the reference package has them.

Source: quantize_row_*_ref in ggml-quants.c of the llama.cpp repository.
"""

from __future__ import annotations

from engine.kernels import lanes
from engine.kernels.jit import exported, inner
from engine.kernels.memory import load_f32x16, store_f16x16, store_f32x16
from engine.kernels.quantizing import by_tiles
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.tiles import (
    VECTOR,
    absolute,
    constant,
    inverse,
    largest_size,
    maximum,
    minimum,
    store_bf16x16,
    store_bytes,
    store_half,
    truncated,
    weight,
    where_less,
)

SIZE = BLOCK

BYTES = SIZE * VECTOR
"""Where the tile of bytes lies in the scratch memory, behind the tile of floats."""


@inner
def _level_around(x, scale, middle, top):
    """X / d around `middle`, at most `top`; scale: 1 / d."""
    return minimum(truncated(lanes.add(lanes.mul(x, scale), constant(middle + 0.5))), constant(top))


@inner
def _level_above(x, low, scale, top):
    """(x - low) / d, at most `top`."""
    return minimum(truncated(lanes.add(lanes.mul(lanes.sub(x, low), scale), constant(0.5))), constant(top))


@inner
def _bounds(tile):
    """The smallest and the largest weight."""
    low = high = weight(tile, 0)
    for i in range(1, SIZE):
        x = weight(tile, i)
        low, high = minimum(x, low), maximum(x, high)
    return low, high


@inner
def _around(tile, middle, out):
    """Weights to levels around `middle`, in place; the scale to `out`."""
    d = lanes.div(largest_size(tile, SIZE), constant(-middle))
    store_half(d, out)
    scale = inverse(d)
    for i in range(SIZE):
        store_f32x16(tile + i * VECTOR, _level_around(weight(tile, i), scale, middle, 2 * middle - 1))


@inner
def _above(tile, top, out):
    """Weights to levels above the smallest, in place; scale and smallest to `out`."""
    low, high = _bounds(tile)
    d = lanes.div(lanes.sub(high, low), constant(top))
    store_half(d, out)
    store_half(low, out + 2 * LANES)
    scale = inverse(d)
    for i in range(SIZE):
        store_f32x16(tile + i * VECTOR, _level_above(weight(tile, i), low, scale, top))


@inner
def _pack_nibbles(tile, out):
    """Levels below 16: weight j below weight j + 16 in a byte."""
    for j in range(SIZE // 2):
        store_bytes(lanes.add(weight(tile, j), lanes.mul(weight(tile, j + 16), constant(16))), out + j * LANES)


@inner
def _pack_fifth_bits(tile, out):
    """A bit for each weight, eight to a byte; the levels lose it."""
    for byte in range(SIZE // 8):
        bits, power = constant(0), constant(1)
        for i in range(8 * byte, 8 * byte + 8):
            level = weight(tile, i)
            bit = where_less(level, constant(16), constant(0), constant(1))
            store_f32x16(tile + i * VECTOR, lanes.sub(level, lanes.mul(bit, constant(16))))
            bits = lanes.add(bits, lanes.mul(bit, power))
            power = lanes.add(power, power)
        store_bytes(bits, out + byte * LANES)


@by_tiles(SIZE, 18, BYTES)
def quantize_q4_0(scratch, out):
    """Scale, nibbles."""
    _around(scratch, 8, out)
    _pack_nibbles(scratch, out + 2 * LANES)


@by_tiles(SIZE, 20, BYTES)
def quantize_q4_1(scratch, out):
    """Scale, minimum, nibbles."""
    _above(scratch, 15, out)
    _pack_nibbles(scratch, out + 4 * LANES)


@by_tiles(SIZE, 22, BYTES)
def quantize_q5_0(scratch, out):
    """Scale, fifth bits, nibbles."""
    _around(scratch, 16, out)
    _pack_fifth_bits(scratch, out + 2 * LANES)
    _pack_nibbles(scratch, out + 6 * LANES)


@by_tiles(SIZE, 24, BYTES)
def quantize_q5_1(scratch, out):
    """Scale, minimum, fifth bits, nibbles."""
    _above(scratch, 31, out)
    _pack_fifth_bits(scratch, out + 4 * LANES)
    _pack_nibbles(scratch, out + 8 * LANES)


@by_tiles(SIZE, 34, BYTES)
def quantize_q8_0(scratch, out):
    """Scale, signed bytes; halves are rounded away from 0."""
    d = lanes.div(absolute(largest_size(scratch, SIZE)), constant(127))
    store_half(d, out)
    scale = inverse(d)
    for i in range(SIZE):
        x = lanes.mul(weight(scratch, i), scale)
        size = absolute(x)
        whole = truncated(size)
        half = lanes.sub(size, whole)
        level = lanes.add(whole, truncated(lanes.add(half, half)))
        store_bytes(where_less(x, constant(0), lanes.sub(constant(0), level), level), out + (2 + i) * LANES)


@exported
def narrow_f16(source, n_blocks, target, scratch):
    """Blocks of 16 float32 to half precision; it is called as those that quantise."""
    for i in range(n_blocks):
        store_f16x16(target + i * VECTOR // 2, load_f32x16(source + i * VECTOR))


@exported
def narrow_bf16(source, n_blocks, target, scratch):
    """Blocks of 16 float32 to bfloat16; likewise."""
    for i in range(n_blocks):
        store_bf16x16(target + i * VECTOR // 2, load_f32x16(source + i * VECTOR))
