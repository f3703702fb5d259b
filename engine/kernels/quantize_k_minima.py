"""Superblocks whose groups have a scale and a minimum: Q2_K, Q4_K, Q5_K.

Scale and minimum of a group are searched among some twenty candidates so that a weighted error is least; then they
become small integers, and the weights are rounded anew to what these stand for.

Source: quantize_row_q*_K_ref and make_qkx2_quants in ggml-quants.c of the llama.cpp repository: the same candidates,
judged by the same errors; squared ones come from the sums of the fit, which saves reading the weights again, but where
the fit is so good that nothing is left of them but rounding.
"""

from __future__ import annotations

from engine.kernels import lanes
from engine.kernels.jit import inner
from engine.kernels.memory import store_f32x16
from engine.kernels.quantizing import by_tiles
from engine.kernels.sizes import LANES
from engine.kernels.superblocks import (
    BYTES,
    FACTORS,
    HUGE,
    MINIMA,
    SCALES,
    SIZE,
    keep_below_16,
    pack_high_bits,
    pack_levels,
)
from engine.kernels.tiles import (
    VECTOR,
    absolute,
    as_half,
    clamped,
    constant,
    inverse,
    maximum,
    minimum,
    nearest,
    root,
    store_bytes,
    store_half,
    truncated,
    weight,
    where_less,
)

ROUNDING = 3e-4
"""An error of so little of the squared weights drowns in the sums' rounding; usual ones are five times as large."""


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
def _read_error(tile, factors, size, low, inverse_scale, top, scale, offset, squared):
    """The weighted sum of |scale · level + offset - x| over a group, or of its square."""
    error = constant(0)
    for i in range(size):
        x = weight(tile, i)
        level = _level(x, low, inverse_scale, top)
        miss = lanes.sub(lanes.add(lanes.mul(scale, level), offset), x)
        error = lanes.add(error, lanes.mul(weight(factors, i), lanes.mul(miss, miss) if squared else absolute(miss)))
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
def _search(tile, factors, size, levels, begin, steps, by_size, by_sums):
    """Scale and minimum (as a number to subtract) of a group: x ≈ scale · level - minimum.

    Candidates stretch the range of the weights over levels + begin, + begin + 0.1, … levels; by_size: the error is the
    sum of sizes, not of squares; by_sums: of squares, from the fit's sums. The third result, only then: what the best
    error is of the squared weights.
    """
    top, zero = constant(levels), constant(0)
    low = high = weight(tile, 0)
    sum_w = sum_x = sum_xx = zero
    for i in range(size):
        x, w = weight(tile, i), weight(factors, i)
        low, high = minimum(x, low), maximum(x, high)
        sum_w, sum_x = lanes.add(sum_w, w), lanes.add(sum_x, lanes.mul(w, x))
        sum_xx = lanes.add(sum_xx, lanes.mul(lanes.mul(w, x), x))
    low = minimum(low, zero)
    scale = lanes.div(lanes.sub(high, low), top)
    stretch = inverse(scale)
    if by_sums:
        best = _square_error(sum_w, sum_x, _sums(tile, factors, size, low, stretch, top), scale, low)
    else:
        best = _read_error(tile, factors, size, low, stretch, top, scale, low, not by_size)
    for i in range(steps + 1):
        stretch = lanes.mul(constant(begin + 0.1 * i + levels), inverse(lanes.sub(high, low)))
        sums = _sums(tile, factors, size, low, stretch, top)
        new_scale, new_low, determinant = _fit(sum_w, sum_x, sums)
        if by_sums:
            error = _square_error(sum_w, sum_x, sums, new_scale, new_low)
        else:
            error = _read_error(tile, factors, size, low, stretch, top, new_scale, new_low, not by_size)
        error = where_less(zero, determinant, error, constant(HUGE))
        scale = where_less(error, best, new_scale, scale)
        low = where_less(error, best, new_low, low)
        best = minimum(error, best)
    return scale, lanes.sub(zero, low), lanes.mul(lanes.add(sum_xx, best), inverse(sum_xx))


@inner
def _search_groups(scratch, size, levels, begin, steps, coarse):
    """Scales and minima of all groups; the largest of each."""
    most_scale = most_minimum = constant(0)
    factors = scratch + FACTORS
    for group in range(SIZE // size):
        tile = scratch + group * size * VECTOR
        _weigh(tile, size, factors, not coarse)
        scale, low, left = _search(tile, factors, size, levels, begin, steps, coarse, not coarse)
        if not coarse and lanes.largest(lanes.sub(constant(ROUNDING), left)) > 0:
            # Only for the lanes that need it: a superblock may not depend on its neighbours.
            better_scale, better_low, _ = _search(tile, factors, size, levels, begin, steps, False, False)
            scale = where_less(left, constant(ROUNDING), better_scale, scale)
            low = where_less(left, constant(ROUNDING), better_low, low)
        store_f32x16(scratch + SCALES + group * VECTOR, scale)
        store_f32x16(scratch + MINIMA + group * VECTOR, low)
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
        scale = inverse(lanes.mul(unit, weight(scratch + SCALES, group)))
        low = lanes.mul(minimum_unit, weight(scratch + MINIMA, group))
        for i in range(group * size, (group + 1) * size):
            x = lanes.mul(lanes.add(weight(scratch, i), low), scale)
            store_f32x16(scratch + i * VECTOR, clamped(nearest(x), constant(0), constant(levels)))


@inner
def _pack_six_bits(scales, minima, out):
    """Eight scales and minima of six bits in twelve bytes; the last four's upper bits go on top of the first four's."""
    for i in range(4):
        for values, at in ((scales, i), (minima, i + 4)):
            high = truncated(lanes.mul(weight(values, i + 4), constant(1 / 16)))
            store_bytes(lanes.add(weight(values, i), lanes.mul(high, constant(64))), out + at * LANES)
    keep_below_16(scales + 4 * VECTOR, 4)
    keep_below_16(minima + 4 * VECTOR, 4)
    for i in range(4):
        value = lanes.add(weight(scales, i + 4), lanes.mul(weight(minima, i + 4), constant(16)))
        store_bytes(value, out + (8 + i) * LANES)


@inner
def _level_eight_groups(scratch, levels, begin, steps, out):
    """Weights to levels, in place; units, and scales and minima of six bits to `out`."""
    most_scale, most_minimum = _search_groups(scratch, 32, levels, begin, steps, False)
    unit = _whole_scales(scratch + SCALES, 8, most_scale, 63)
    minimum_unit = _whole_scales(scratch + MINIMA, 8, most_minimum, 63)
    _level_groups(scratch, 32, levels, unit, minimum_unit)
    store_half(unit, out)
    store_half(minimum_unit, out + 2 * LANES)
    _pack_six_bits(scratch + SCALES, scratch + MINIMA, out + 4 * LANES)


@by_tiles(SIZE, 84, BYTES)
def quantize_q2_k(scratch, out):
    """Scales and minima of 4 bits for 16 groups, levels of 2 bits, two half-precision units."""
    most_scale, most_minimum = _search_groups(scratch, 16, 3, -0.5, 15, True)
    unit = _whole_scales(scratch + SCALES, 16, most_scale, 15)
    minimum_unit = _whole_scales(scratch + MINIMA, 16, most_minimum, 15)
    _level_groups(scratch, 16, 3, unit, minimum_unit)
    for group in range(16):
        low = lanes.mul(weight(scratch + MINIMA, group), constant(16))
        store_bytes(lanes.add(weight(scratch + SCALES, group), low), out + group * LANES)
    for half in range(2):
        pack_levels(scratch, half * 128, 32, 4, 4, out + (16 + 32 * half) * LANES)
    store_half(unit, out + 80 * LANES)
    store_half(minimum_unit, out + 82 * LANES)


@by_tiles(SIZE, 144, BYTES)
def quantize_q4_k(scratch, out):
    """Two half-precision units, scales and minima of 6 bits for 8 groups, nibbles."""
    _level_eight_groups(scratch, 15, -1.0, 20, out)
    for pair in range(4):
        pack_levels(scratch, pair * 64, 32, 2, 16, out + (16 + 32 * pair) * LANES)


@by_tiles(SIZE, 176, BYTES)
def quantize_q5_k(scratch, out):
    """As Q4_K, with the fifth bits of all weights before the nibbles."""
    _level_eight_groups(scratch, 31, -0.5, 15, out)
    pack_high_bits(scratch, 16, out + 16 * LANES)
    for pair in range(4):
        pack_levels(scratch, pair * 64, 32, 2, 16, out + (48 + 32 * pair) * LANES)
