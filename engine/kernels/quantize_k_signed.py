"""Superblocks whose groups have a signed scale and no minimum: Q3_K, Q6_K.

The scale of a group is searched so that an error is least in which each weight counts by its square; then the scales
become small integers, and the weights are rounded anew to what these stand for.

Source: quantize_row_q*_K_ref, make_qx_quants and make_q3_quants in ggml-quants.c of the llama.cpp repository: the same
candidates, judged by the same errors.
"""

from __future__ import annotations

from engine.kernels import lanes
from engine.kernels.jit import inner
from engine.kernels.memory import load_f32x16, store_f32x16
from engine.kernels.quantizing import by_tiles
from engine.kernels.sizes import LANES
from engine.kernels.superblocks import BYTES, FACTORS, HUGE, SCALES, SIZE, keep_below_16, pack_high_bits, pack_levels
from engine.kernels.tiles import (
    VECTOR,
    as_half,
    clamped,
    constant,
    inverse,
    largest_size,
    minimum,
    nearest,
    store_bytes,
    store_half,
    truncated,
    weight,
    where_less,
)


@inner
def _signed_level(x, stretch, half):
    """X · stretch as a level from -half to half - 1."""
    return clamped(nearest(lanes.mul(x, stretch)), constant(-half), constant(half - 1))


@inner
def _search_signed(tile, size, half):
    """The scale of a group without minimum: x ≈ scale · level; errors count by the square of the weight."""
    over = inverse(largest_size(tile, size))
    scale, best = constant(0), constant(HUGE)
    for i in range(19):
        # The plain scale first, then the stretched and the squeezed ones.
        shift = 0 if i == 0 else i - 10 if i < 10 else i - 9
        stretch = lanes.mul(constant(-(half + 0.1 * shift)), over)
        sum_lx = sum_ll = error = constant(0)
        for k in range(size):
            x = weight(tile, k)
            level = _signed_level(x, stretch, half)
            weighted = lanes.mul(lanes.mul(x, x), level)
            sum_lx = lanes.add(sum_lx, lanes.mul(weighted, x))
            sum_ll = lanes.add(sum_ll, lanes.mul(weighted, level))
        new_scale = lanes.mul(sum_lx, inverse(sum_ll))
        for k in range(size):
            x = weight(tile, k)
            miss = lanes.mul(x, lanes.sub(x, lanes.mul(new_scale, _signed_level(x, stretch, half))))
            error = lanes.add(error, lanes.mul(miss, miss))
        scale = where_less(error, best, new_scale, scale)
        best = minimum(error, best)
    return scale


@inner
def _search_by_turns(tile, size, half, levels):
    """As _search_signed, by improving one level after the other, five times round."""
    zero = constant(0)
    stretch = lanes.mul(constant(-half), inverse(largest_size(tile, size)))
    sum_lx = sum_ll = zero
    for i in range(size):
        x = weight(tile, i)
        level = _signed_level(x, stretch, half)
        weighted = lanes.mul(lanes.mul(x, x), level)
        sum_lx = lanes.add(sum_lx, lanes.mul(weighted, x))
        sum_ll = lanes.add(sum_ll, lanes.mul(weighted, level))
        store_f32x16(levels + i * VECTOR, level)
    for _ in range(5):
        for i in range(size):
            x, level = weight(tile, i), load_f32x16(levels + i * VECTOR)
            factor = lanes.mul(x, x)
            rest_lx = lanes.sub(sum_lx, lanes.mul(lanes.mul(factor, x), level))
            rest_ll = lanes.sub(sum_ll, lanes.mul(lanes.mul(factor, level), level))
            better = _signed_level(x, lanes.mul(rest_ll, inverse(rest_lx)), half)
            new_lx = lanes.add(rest_lx, lanes.mul(lanes.mul(factor, x), better))
            new_ll = lanes.add(rest_ll, lanes.mul(lanes.mul(factor, better), better))
            before = lanes.mul(lanes.mul(sum_lx, sum_lx), new_ll)
            after = lanes.mul(lanes.mul(new_lx, new_lx), sum_ll)
            after = where_less(zero, minimum(rest_lx, new_ll), after, zero)
            store_f32x16(levels + i * VECTOR, where_less(before, after, better, level))
            sum_lx = where_less(before, after, new_lx, sum_lx)
            sum_ll = where_less(before, after, new_ll, sum_ll)
    return lanes.mul(sum_lx, inverse(sum_ll))


@inner
def _whole_signed_scales(scales, half):
    """Sixteen scales as whole numbers from -half to half - 1, in place; returns what 1 of them stands for."""
    unit = lanes.div(largest_size(scales, 16), constant(-half))
    stretch = inverse(unit)
    for group in range(16):
        store_f32x16(scales + group * VECTOR, _signed_level(weight(scales, group), stretch, half))
    return unit


@inner
def _level_signed_groups(scratch, half, unit):
    """Weights to levels from 0 (which stands for -half) on under whole scales, in place."""
    unit = as_half(unit)
    for group in range(16):
        stretch = inverse(lanes.mul(unit, weight(scratch + SCALES, group)))
        for i in range(group * 16, (group + 1) * 16):
            level = _signed_level(weight(scratch, i), stretch, half)
            store_f32x16(scratch + i * VECTOR, lanes.add(level, constant(half)))


@inner
def _pack_signed_six_bits(scales, out):
    """Sixteen scales of six bits in twelve bytes: lower nibbles of two in one byte, upper bits of four in another."""
    for i in range(4):
        high, power = constant(0), constant(1)
        for k in range(i, 16, 4):
            top = truncated(lanes.mul(weight(scales, k), constant(1 / 16)))
            high = lanes.add(high, lanes.mul(top, power))
            power = lanes.mul(power, constant(4))
        store_bytes(high, out + (8 + i) * LANES)
    keep_below_16(scales, 16)
    for i in range(8):
        value = lanes.add(weight(scales, i), lanes.mul(weight(scales, i + 8), constant(16)))
        store_bytes(value, out + i * LANES)


@inner
def _pack_upper(tile, first, out):
    """Byte j: what the levels first + j, + 32, + 64, + 96 have above 16, two bits each."""
    for j in range(32):
        value, power = constant(0), constant(1)
        for part in range(4):
            high = truncated(lanes.mul(weight(tile, first + j + 32 * part), constant(1 / 16)))
            value = lanes.add(value, lanes.mul(high, power))
            power = lanes.mul(power, constant(4))
        store_bytes(value, out + j * LANES)


@by_tiles(SIZE, 110, BYTES)
def quantize_q3_k(scratch, out):
    """Third bits, lower two bits, scales of 6 bits for 16 groups, a half-precision unit."""
    scales = scratch + SCALES
    for group in range(16):
        scale = _search_by_turns(scratch + group * 16 * VECTOR, 16, 4, scratch + FACTORS)
        store_f32x16(scales + group * VECTOR, scale)
    unit = _whole_signed_scales(scales, 32)
    _level_signed_groups(scratch, 4, unit)
    pack_high_bits(scratch, 4, out)
    for half in range(2):
        pack_levels(scratch, half * 128, 32, 4, 4, out + (32 + 32 * half) * LANES)
    for group in range(16):
        store_f32x16(scales + group * VECTOR, lanes.add(weight(scales, group), constant(32)))
    _pack_signed_six_bits(scales, out + 96 * LANES)
    store_half(unit, out + 108 * LANES)


@by_tiles(SIZE, 210, BYTES)
def quantize_q6_k(scratch, out):
    """Lower nibbles, upper two bits, scales of 8 bits for 16 groups, a half-precision unit."""
    scales = scratch + SCALES
    for group in range(16):
        store_f32x16(scales + group * VECTOR, _search_signed(scratch + group * 16 * VECTOR, 16, 32))
    unit = _whole_signed_scales(scales, 128)
    _level_signed_groups(scratch, 32, unit)
    for half in range(2):
        _pack_upper(scratch, half * 128, out + (128 + 32 * half) * LANES)
    keep_below_16(scratch, SIZE)
    for half in range(2):
        for part in range(2):
            pack_levels(scratch, half * 128 + 32 * part, 64, 2, 16, out + (64 * half + 32 * part) * LANES)
    for group in range(16):
        store_bytes(weight(scales, group), out + (192 + group) * LANES)
    store_half(unit, out + 208 * LANES)
