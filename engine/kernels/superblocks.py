"""Superblocks of 256 weights: their scratch memory, and packing levels and scales into bytes."""

from __future__ import annotations

from engine.kernels import lanes
from engine.kernels.jit import inner
from engine.kernels.memory import store_f32x16
from engine.kernels.sizes import LANES, SUPERBLOCK
from engine.kernels.tiles import VECTOR, constant, store_bytes, truncated, weight, where_less

SIZE = SUPERBLOCK

FACTORS = SIZE * VECTOR
SCALES = FACTORS + 32 * VECTOR
MINIMA = SCALES + 16 * VECTOR
BYTES = MINIMA + 16 * VECTOR
"""Scratch memory of QUANTIZE_SCRATCH_BYTES: the tile of weights, later levels; the importance of a group's weights, or
their levels while they are searched; scales; minima; the tile of bytes."""

HUGE = 3.0e38
"""An error that every other one is better than."""


@inner
def keep_below_16(tile, count):
    """Keep the lower four bits of levels."""
    for i in range(count):
        level = weight(tile, i)
        high = truncated(lanes.mul(level, constant(1 / 16)))
        store_f32x16(tile + i * VECTOR, lanes.sub(level, lanes.mul(high, constant(16))))


@inner
def pack_levels(tile, first, apart, parts, shift, out):
    """Byte j of `out`: levels first + j, first + j + apart, … each `shift` times as high as the one before."""
    for j in range(min(apart, 32)):
        value, power = constant(0), constant(1)
        for part in range(parts):
            value = lanes.add(value, lanes.mul(weight(tile, first + j + part * apart), power))
            power = lanes.mul(power, constant(shift))
        store_bytes(value, out + j * LANES)


@inner
def pack_high_bits(tile, above, out):
    """Bit g of byte j: whether level 32 · g + j reaches `above`; the levels lose it."""
    for j in range(32):
        bits, power = constant(0), constant(1)
        for i in range(j, SIZE, 32):
            level = weight(tile, i)
            bit = where_less(level, constant(above), constant(0), constant(1))
            store_f32x16(tile + i * VECTOR, lanes.sub(level, lanes.mul(bit, constant(above))))
            bits = lanes.add(bits, lanes.mul(bit, power))
            power = lanes.add(power, power)
        store_bytes(bits, out + j * LANES)
