"""Partial results of attention: the weighted values of a range, the largest score and the sum of the weights."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32, store_f32x16
from engine.kernels.records import VALUE_DIM
from engine.kernels.rows import VECTOR
from engine.kernels.sizes import LANES


@inner
def partial_bytes(shape):
    """Bytes of one partial result."""
    return ((field(shape, VALUE_DIM) + LANES - 1) // LANES * LANES + LANES) * 4


@inner
def merge_partial(state, part, padded):
    """Take one more partial result into a state of the same form."""
    top, part_top = load_f32(state + padded * 4), load_f32(part + padded * 4)
    best = max(top, part_top)
    old, new = lanes.exp(lanes.splat(top - best)), lanes.exp(lanes.splat(part_top - best))
    for i in range(padded // LANES):
        kept = lanes.mul(load_f32x16(state + i * VECTOR), old)
        store_f32x16(state + i * VECTOR, lanes.fma(load_f32x16(part + i * VECTOR), new, kept))
    one = lanes.splat(load_f32(state + padded * 4 + 4))
    other = lanes.splat(load_f32(part + padded * 4 + 4))
    store_f32(state + padded * 4, best)
    store_f32(
        state + padded * 4 + 4,
        lanes.total(lanes.first_lanes(lanes.fma(other, new, lanes.mul(one, old)), 1, np.float32(0.0))),
    )


@inner
def finish_row(out, state, dim, padded, sink):
    """Weighted values divided by the weights' sum.

    sink: where a logit lies that has a weight like the scores, but no value; 0 for none. Source: Xiao et al. 2023.
    """
    top, summed = load_f32(state + padded * 4), load_f32(state + padded * 4 + 4)
    if sink:
        summed += lanes.largest(lanes.exp(lanes.splat(load_f32(sink) - top)))
    total = lanes.splat(summed)
    whole = dim // LANES
    for i in range(whole):
        store_f32x16(out + i * VECTOR, lanes.div(load_f32x16(state + i * VECTOR), total))
    for i in range(whole * LANES, dim):
        store_f32(out + 4 * i, load_f32(state + 4 * i) / summed)
