"""Superblocks of 256 weights in groups with small integer scales: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.

Each group's scale (and minimum) is searched among some twenty candidates so that a weighted error is least; then the
scales themselves become small integers, and the weights are rounded anew to what these stand for.

Each kernel: (address of float32, how many superblocks, address of the result, address of SCRATCH_BYTES); the weights
are finite, and behind the last superblock there is room to read up to a whole tile.

Source: quantize_row_q*_K_ref, make_qkx2_quants, make_qx_quants and make_q3_quants in ggml-quants.c of the llama.cpp
repository: the same candidates, judged by the same errors; where there are minima, the error comes from the sums of the
fit, which saves reading the weights again.
"""

from __future__ import annotations

from numba import njit

from engine.kernels import lanes
from engine.kernels.jit import OPTIONS, inner
from engine.kernels.memory import load_f32x16, store_f32x16
from engine.kernels.simd import LANES
from engine.kernels.tiles import (
    VECTOR,
    absolute,
    as_half,
    clamped,
    constant,
    inverse,
    largest_size,
    load_tile,
    maximum,
    minimum,
    nearest,
    root,
    store_bytes,
    store_half,
    store_tile,
    truncated,
    weight,
    where_less,
)

SIZE = 256
"""Weights of a superblock."""

_FACTORS = SIZE * VECTOR
_SCALES = _FACTORS + 32 * VECTOR
_MINIMA = _SCALES + 16 * VECTOR
_BYTES = _MINIMA + 16 * VECTOR
SCRATCH_BYTES = _BYTES + SIZE * LANES
"""Scratch memory: the tile of weights, later of levels; the importance of a group's weights, or their levels while they
are searched; scales; minima; the tile of bytes."""

_HUGE = 3.0e38


@inner
def _level(x, low, scale, top):
    """(x - low) · scale as a level from 0 to top."""
    return clamped(nearest(lanes.mul(lanes.sub(x, low), scale)), constant(0), top)


@inner
def _weigh(tile, size, factors, add_mean):
    """How much each weight of a group matters: its size, and the group's root mean square on top where asked."""
    base = constant(0)
    if add_mean:
        for i in range(size):
            x = weight(tile, i)
            base = lanes.add(base, lanes.mul(x, x))
        base = root(lanes.div(base, constant(size)))
    for i in range(size):
        store_f32x16(factors + i * VECTOR, lanes.add(base, absolute(weight(tile, i))))


@inner
def _sums(tile, factors, size, low, scale, top):
    """Weighted sums over a group of level, level², level · x."""
    sum_l = sum_ll = sum_lx = constant(0)
    for i in range(size):
        x = weight(tile, i)
        level = _level(x, low, scale, top)
        weighted = lanes.mul(weight(factors, i), level)
        sum_l = lanes.add(sum_l, weighted)
        sum_ll = lanes.add(sum_ll, lanes.mul(weighted, level))
        sum_lx = lanes.add(sum_lx, lanes.mul(weighted, x))
    return sum_l, sum_ll, sum_lx


@inner
def _size_error(tile, factors, size, low, inverse_scale, top, scale, offset):
    """The weighted sum of |scale · level + offset - x| over a group."""
    error = constant(0)
    for i in range(size):
        x = weight(tile, i)
        level = _level(x, low, inverse_scale, top)
        miss = lanes.sub(lanes.add(lanes.mul(scale, level), offset), x)
        error = lanes.add(error, lanes.mul(weight(factors, i), absolute(miss)))
    return error


@inner
def _square_error(sum_w, sum_x, sums, scale, offset):
    """The weighted sum of (scale · level + offset - x)², without the sum of x²."""
    sum_l, sum_ll, sum_lx = sums
    by_scale = lanes.mul(scale, lanes.sub(lanes.mul(scale, sum_ll), lanes.add(sum_lx, sum_lx)))
    by_offset = lanes.mul(offset, lanes.sub(lanes.mul(offset, sum_w), lanes.add(sum_x, sum_x)))
    both = lanes.mul(lanes.mul(scale, offset), lanes.add(sum_l, sum_l))
    return lanes.add(lanes.add(by_scale, by_offset), both)


@inner
def _fit(sum_w, sum_x, sums):
    """The scale and the offset (at most 0) with the least squared error.

    And the determinant: above 0 where they are good for something.
    """
    sum_l, sum_ll, sum_lx = sums
    determinant = lanes.sub(lanes.mul(sum_w, sum_ll), lanes.mul(sum_l, sum_l))
    over = inverse(determinant)
    scale = lanes.mul(lanes.sub(lanes.mul(sum_w, sum_lx), lanes.mul(sum_x, sum_l)), over)
    offset = lanes.mul(lanes.sub(lanes.mul(sum_ll, sum_x), lanes.mul(sum_l, sum_lx)), over)
    zero = constant(0)
    scale = where_less(zero, offset, lanes.mul(sum_lx, inverse(sum_ll)), scale)
    return scale, minimum(offset, zero), determinant


@inner
def _search(tile, factors, size, levels, begin, step, steps, by_size):
    """Scale and minimum (as a number to subtract) of a group: x ≈ scale · level - minimum.

    Candidates stretch the range of the weights over levels + begin, + begin + step, … levels; by_size: the error is the
    sum of sizes, not of squares.
    """
    top, zero = constant(levels), constant(0)
    low = high = weight(tile, 0)
    sum_w = sum_x = zero
    for i in range(size):
        x, w = weight(tile, i), weight(factors, i)
        low, high = minimum(x, low), maximum(x, high)
        sum_w, sum_x = lanes.add(sum_w, w), lanes.add(sum_x, lanes.mul(w, x))
    low = minimum(low, zero)
    scale = lanes.div(lanes.sub(high, low), top)
    stretch = inverse(scale)
    if by_size:
        best = _size_error(tile, factors, size, low, stretch, top, scale, low)
    else:
        best = _square_error(sum_w, sum_x, _sums(tile, factors, size, low, stretch, top), scale, low)
    for i in range(steps + 1):
        stretch = lanes.mul(constant(begin + step * i + levels), inverse(lanes.sub(high, low)))
        sums = _sums(tile, factors, size, low, stretch, top)
        new_scale, new_low, determinant = _fit(sum_w, sum_x, sums)
        if by_size:
            error = _size_error(tile, factors, size, low, stretch, top, new_scale, new_low)
        else:
            error = _square_error(sum_w, sum_x, sums, new_scale, new_low)
        error = where_less(zero, determinant, error, constant(_HUGE))
        scale = where_less(error, best, new_scale, scale)
        low = where_less(error, best, new_low, low)
        best = minimum(error, best)
    return scale, lanes.sub(zero, low)


@inner
def _search_groups(scratch, size, levels, begin, step, steps, coarse):
    """Scales and minima of all groups; the largest of each."""
    most_scale = most_minimum = constant(0)
    factors = scratch + _FACTORS
    for group in range(SIZE // size):
        tile = scratch + group * size * VECTOR
        _weigh(tile, size, factors, not coarse)
        scale, low = _search(tile, factors, size, levels, begin, step, steps, coarse)
        store_f32x16(scratch + _SCALES + group * VECTOR, scale)
        store_f32x16(scratch + _MINIMA + group * VECTOR, low)
        most_scale, most_minimum = maximum(scale, most_scale), maximum(low, most_minimum)
    return most_scale, most_minimum


@inner
def _whole_scales(scales, count, largest, top):
    """Scales as whole numbers up to `top`, in place; returns what 1 of them stands for."""
    stretch = lanes.mul(constant(top), inverse(largest))
    for group in range(count):
        whole = nearest(lanes.mul(weight(scales, group), stretch))
        store_f32x16(scales + group * VECTOR, clamped(whole, constant(0), constant(top)))
    return lanes.div(largest, constant(top))


@inner
def _level_groups(scratch, size, levels, unit, minimum_unit):
    """Weights to levels under whole scales and minima, in place."""
    unit, minimum_unit = as_half(unit), as_half(minimum_unit)
    for group in range(SIZE // size):
        scale = inverse(lanes.mul(unit, weight(scratch + _SCALES, group)))
        low = lanes.mul(minimum_unit, weight(scratch + _MINIMA, group))
        for i in range(group * size, (group + 1) * size):
            x = lanes.mul(lanes.add(weight(scratch, i), low), scale)
            store_f32x16(scratch + i * VECTOR, clamped(nearest(x), constant(0), constant(levels)))


@inner
def _take_bits(tile, count, power):
    """Keep what levels have below `power`."""
    for i in range(count):
        level = weight(tile, i)
        high = truncated(lanes.mul(level, constant(1 / power)))
        store_f32x16(tile + i * VECTOR, lanes.sub(level, lanes.mul(high, constant(power))))


@inner
def _pack(tile, first, apart, parts, shift, out):
    """Byte j of `out`: levels first + j, first + j + apart, … each `shift` times as high as the one before."""
    for j in range(min(apart, 32)):
        value, power = constant(0), constant(1)
        for part in range(parts):
            value = lanes.add(value, lanes.mul(weight(tile, first + j + part * apart), power))
            power = lanes.mul(power, constant(shift))
        store_bytes(value, out + j * LANES)


@inner
def _pack_high_bits(tile, above, out):
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


@inner
def _pack_six_bits(scales, minima, out):
    """Eight scales and minima of six bits in twelve bytes; the last four's upper bits go on top of the first four's."""
    for i in range(4):
        for values, at in ((scales, i), (minima, i + 4)):
            high = truncated(lanes.mul(weight(values, i + 4), constant(1 / 16)))
            store_bytes(lanes.add(weight(values, i), lanes.mul(high, constant(64))), out + at * LANES)
    _take_bits(scales + 4 * VECTOR, 4, 16)
    _take_bits(minima + 4 * VECTOR, 4, 16)
    for i in range(4):
        value = lanes.add(weight(scales, i + 4), lanes.mul(weight(minima, i + 4), constant(16)))
        store_bytes(value, out + (8 + i) * LANES)


@njit(cache=True, **OPTIONS)
def quantize_q2_k(source, n_blocks, target, scratch):
    """Scales and minima of 4 bits for 16 groups, levels of 2 bits, two half-precision units."""
    out = scratch + _BYTES
    for first in range(0, n_blocks, LANES):
        load_tile(source + first * SIZE * 4, SIZE, scratch)
        most_scale, most_minimum = _search_groups(scratch, 16, 3, -0.5, 0.1, 15, True)
        unit = _whole_scales(scratch + _SCALES, 16, most_scale, 15)
        minimum_unit = _whole_scales(scratch + _MINIMA, 16, most_minimum, 15)
        _level_groups(scratch, 16, 3, unit, minimum_unit)
        for group in range(16):
            low = lanes.mul(weight(scratch + _MINIMA, group), constant(16))
            store_bytes(lanes.add(weight(scratch + _SCALES, group), low), out + group * LANES)
        for half in range(2):
            _pack(scratch, half * 128, 32, 4, 4, out + (16 + 32 * half) * LANES)
        store_half(unit, out + 80 * LANES)
        store_half(minimum_unit, out + 82 * LANES)
        store_tile(out, 84, min(LANES, n_blocks - first), target + first * 84)


@njit(cache=True, **OPTIONS)
def quantize_q4_k(source, n_blocks, target, scratch):
    """Two half-precision units, scales and minima of 6 bits for 8 groups, nibbles."""
    out = scratch + _BYTES
    for first in range(0, n_blocks, LANES):
        load_tile(source + first * SIZE * 4, SIZE, scratch)
        most_scale, most_minimum = _search_groups(scratch, 32, 15, -1.0, 0.1, 20, False)
        unit = _whole_scales(scratch + _SCALES, 8, most_scale, 63)
        minimum_unit = _whole_scales(scratch + _MINIMA, 8, most_minimum, 63)
        _level_groups(scratch, 32, 15, unit, minimum_unit)
        store_half(unit, out)
        store_half(minimum_unit, out + 2 * LANES)
        _pack_six_bits(scratch + _SCALES, scratch + _MINIMA, out + 4 * LANES)
        for pair in range(4):
            _pack(scratch, pair * 64, 32, 2, 16, out + (16 + 32 * pair) * LANES)
        store_tile(out, 144, min(LANES, n_blocks - first), target + first * 144)


@njit(cache=True, **OPTIONS)
def quantize_q5_k(source, n_blocks, target, scratch):
    """As Q4_K, with the fifth bits of all weights before the nibbles."""
    out = scratch + _BYTES
    for first in range(0, n_blocks, LANES):
        load_tile(source + first * SIZE * 4, SIZE, scratch)
        most_scale, most_minimum = _search_groups(scratch, 32, 31, -0.5, 0.1, 15, False)
        unit = _whole_scales(scratch + _SCALES, 8, most_scale, 63)
        minimum_unit = _whole_scales(scratch + _MINIMA, 8, most_minimum, 63)
        _level_groups(scratch, 32, 31, unit, minimum_unit)
        store_half(unit, out)
        store_half(minimum_unit, out + 2 * LANES)
        _pack_six_bits(scratch + _SCALES, scratch + _MINIMA, out + 4 * LANES)
        _pack_high_bits(scratch, 16, out + 16 * LANES)
        for pair in range(4):
            _pack(scratch, pair * 64, 32, 2, 16, out + (48 + 32 * pair) * LANES)
        store_tile(out, 176, min(LANES, n_blocks - first), target + first * 176)


@inner
def _signed_level(x, stretch, half):
    """X · stretch as a level from -half to half - 1."""
    return clamped(nearest(lanes.mul(x, stretch)), constant(-half), constant(half - 1))


@inner
def _search_signed(tile, size, half):
    """The scale of a group without minimum: x ≈ scale · level; errors count by the square of the weight."""
    over = inverse(largest_size(tile, size))
    scale, best = constant(0), constant(_HUGE)
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
        stretch = inverse(lanes.mul(unit, weight(scratch + _SCALES, group)))
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
    _take_bits(scales, 16, 16)
    for i in range(8):
        value = lanes.add(weight(scales, i), lanes.mul(weight(scales, i + 8), constant(16)))
        store_bytes(value, out + i * LANES)


@njit(cache=True, **OPTIONS)
def quantize_q3_k(source, n_blocks, target, scratch):
    """Third bits, lower two bits, scales of 6 bits for 16 groups, a half-precision unit."""
    out, scales = scratch + _BYTES, scratch + _SCALES
    for first in range(0, n_blocks, LANES):
        load_tile(source + first * SIZE * 4, SIZE, scratch)
        for group in range(16):
            scale = _search_by_turns(scratch + group * 16 * VECTOR, 16, 4, scratch + _FACTORS)
            store_f32x16(scales + group * VECTOR, scale)
        unit = _whole_signed_scales(scales, 32)
        _level_signed_groups(scratch, 4, unit)
        _pack_high_bits(scratch, 4, out)
        for half in range(2):
            _pack(scratch, half * 128, 32, 4, 4, out + (32 + 32 * half) * LANES)
        for group in range(16):
            store_f32x16(scales + group * VECTOR, lanes.add(weight(scales, group), constant(32)))
        _pack_signed_six_bits(scales, out + 96 * LANES)
        store_half(unit, out + 108 * LANES)
        store_tile(out, 110, min(LANES, n_blocks - first), target + first * 110)


@njit(cache=True, **OPTIONS)
def quantize_q6_k(source, n_blocks, target, scratch):
    """Lower nibbles, upper two bits, scales of 8 bits for 16 groups, a half-precision unit."""
    out, scales = scratch + _BYTES, scratch + _SCALES
    for first in range(0, n_blocks, LANES):
        load_tile(source + first * SIZE * 4, SIZE, scratch)
        for group in range(16):
            store_f32x16(scales + group * VECTOR, _search_signed(scratch + group * 16 * VECTOR, 16, 32))
        unit = _whole_signed_scales(scales, 128)
        _level_signed_groups(scratch, 32, unit)
        for half in range(2):
            _pack_upper(scratch, half * 128, out + (128 + 32 * half) * LANES)
        _take_bits(scratch, SIZE, 16)
        for half in range(2):
            for part in range(2):
                _pack(scratch, half * 128 + 32 * part, 64, 2, 16, out + (64 * half + 32 * part) * LANES)
        for group in range(16):
            store_bytes(weight(scales, group), out + (192 + group) * LANES)
        store_half(unit, out + 208 * LANES)
        store_tile(out, 210, min(LANES, n_blocks - first), target + first * 210)


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
