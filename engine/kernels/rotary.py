"""Rotary positions: queries and keys are turned by their position and put where attention finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from engine.kernels import lanes
from engine.kernels.cache_layout import store_key, store_query, store_value
from engine.kernels.emit import F32X16, I32X16, Emit
from engine.kernels.jit import inner, kernel
from engine.kernels.kv_types import kv_type
from engine.kernels.memory import field, load_f32, load_f32x16, load_f64, store_f32, store_f32x16
from engine.kernels.records import (
    HALF_APART,
    HEAD_DIM,
    HEAD_PAD,
    HEADS,
    KEYS_AS_VALUES,
    KV_HEADS,
    NORMED_TURNED,
    P0,
    POS,
    Q_HEAD_BYTES,
    Q_ROW_BYTES,
    Q_SCALE,
    ROTARY_PAIRS,
    SCRATCH,
    SCRATCH_BYTES,
    STORED_BEFORE,
    UNIT_VALUES,
)
from engine.kernels.rows import VECTOR, add_to_row
from engine.kernels.simd import emitted
from engine.kernels.sizes import LANES

TABLE, FREQUENCIES, N_PAIRS, MAGNITUDE = range(P0, P0 + 4)
"""Parameters of rotary_table: cosines and sines (pairs of float32, per token), float64 angles a position, their number,
and a factor (float32 bits)."""


@kernel
def rotary_table(step, batch, first, last, thread):
    """Cosine and sine of each token's rotary angles. Source: Su et al. 2021."""
    n = field(step, N_PAIRS)
    factor = load_f32(step + 8 * MAGNITUDE)
    for t in range(first, last):
        position = np.float64(field(batch, POS) + t)
        row = field(step, TABLE) + t * n * 8
        for i in range(n):
            angle = position * load_f64(field(step, FREQUENCIES) + 8 * i)
            store_f32(row + 8 * i, np.float32(np.cos(angle)) * factor)
            store_f32(row + 8 * i + 4, np.float32(np.sin(angle)) * factor)


QKV, QKV_STRIDE, ROTARY, SHAPE, LAYER, Q_ROWS, BIAS, Q_NORM, K_NORM, HEAD_EPS = range(P0, P0 + 10)
Q_GROWTH, Q_GROWTH_SPAN = range(P0 + 10, P0 + 12)
"""Parameters of rotate_and_store: the product's rows; the rotary table; the shape record; the layer in its cache, or
STORED_BEFORE; query rows; the bias of the product's rows (0: none); weights of the norms of a query head and a key
head (0: none), and their epsilon (float32 bits); by how much queries grow with the logarithm of their position
(float32 bits; in the upper half, what the first position counts as), counted in such spans."""


def _picked(e: Emit, a: ir.Value, b: ir.Value, lanes_taken: list[int]) -> ir.Value:
    """Lanes of two vectors, those of the second counted on from the first's."""
    return e.b.shuffle_vector(a, b, ir.Constant(I32X16, lanes_taken))


@emitted(lambda x, table: types.void(types.int64, types.int64))
def turn_neighbours(e: Emit, _types: Any, x: ir.Value, table: ir.Value) -> None:
    """Turn LANES numbers in place, each pair side by side."""
    b, numbers, angles = e.b, e.load(x, F32X16), e.load(table, F32X16)
    cosines = _picked(e, angles, angles, [lane & ~1 for lane in range(LANES)])
    sines = _picked(e, angles, angles, [lane | 1 for lane in range(LANES)])
    partners = _picked(e, numbers, numbers, [lane ^ 1 for lane in range(LANES)])
    signs = ir.Constant(F32X16, [-1.0, 1.0] * (LANES // 2))
    e.store(b.fadd(b.fmul(numbers, cosines), b.fmul(partners, b.fmul(sines, signs))), x)


@emitted(lambda first, second, table: types.void(*(types.int64,) * 3))
def turn_halves(e: Emit, _types: Any, first: ir.Value, second: ir.Value, table: ir.Value) -> None:
    """Turn LANES pairs in place, of which one vector has the first numbers and another the second ones."""
    b, u, v = e.b, e.load(first, F32X16), e.load(second, F32X16)
    angles = e.load(table, F32X16), e.load(table, F32X16, 4 * LANES)
    c, s = (_picked(e, *angles, list(range(part, 2 * LANES, 2))) for part in (0, 1))
    e.store(b.fsub(b.fmul(u, c), b.fmul(v, s)), first)
    e.store(b.fadd(b.fmul(u, s), b.fmul(v, c)), second)


@inner
def rotate(x, table, pairs, half_apart):
    """Turn the first 2·pairs numbers of one head in place."""
    if half_apart:
        whole = pairs // LANES * LANES
        for i in range(0, whole, LANES):
            turn_halves(x + 4 * i, x + 4 * (pairs + i), table + 8 * i)
    else:
        whole = pairs // (LANES // 2) * (LANES // 2)
        for i in range(0, whole, LANES // 2):
            turn_neighbours(x + 8 * i, table + 8 * i)
    for i in range(whole, pairs):
        a = x + 4 * (i if half_apart else 2 * i)
        b = a + 4 * (pairs if half_apart else 1)
        c, s = load_f32(table + 8 * i), load_f32(table + 8 * i + 4)
        u, v = load_f32(a), load_f32(b)
        store_f32(a, u * c - v * s)
        store_f32(b, u * s + v * c)


@inner
def norm_and_rotate(x, weight, dim, eps, table, pairs, half_apart, last):
    """Turn one head, and norm it before or, with last, afterwards, if there is a weight."""
    if weight and not last:
        norm_head(x, weight, dim, eps)
    rotate(x, table, pairs, half_apart)
    if weight and last:
        norm_head(x, weight, dim, eps)


@inner
def unit_factor(x, dim, eps):
    """What brings one head's dim numbers to unit root mean square. What follows them is left alone."""
    squares = lanes.splat(np.float32(0.0))
    for i in range((dim + LANES - 1) // LANES):
        v = lanes.first_lanes(load_f32x16(x + i * VECTOR), dim - i * LANES, np.float32(0.0))
        squares = lanes.fma(v, v, squares)
    return np.float32(1.0) / np.sqrt(lanes.total(squares) / np.float32(dim) + eps)


@inner
def norm_head(x, weight, dim, eps):
    """RMS norm of one head's dim numbers in place, times weight."""
    norm_value(x, dim, eps)
    weigh_head(x, weight, dim)


@inner
def norm_value(x, dim, eps):
    """The same without a weight."""
    factor = unit_factor(x, dim, eps)
    whole = dim // LANES
    for i in range(whole):
        store_f32x16(x + i * VECTOR, lanes.mul(load_f32x16(x + i * VECTOR), lanes.splat(factor)))
    for i in range(whole * LANES, dim):
        store_f32(x + 4 * i, load_f32(x + 4 * i) * factor)


@inner
def weigh_head(x, weight, dim):
    """One head's dim numbers, normed already, times weight in place."""
    whole = dim // LANES
    for i in range(whole):
        store_f32x16(x + i * VECTOR, lanes.mul(load_f32x16(x + i * VECTOR), load_f32x16(weight + i * VECTOR)))
    for i in range(whole * LANES, dim):
        store_f32(x + 4 * i, load_f32(x + 4 * i) * load_f32(weight + 4 * i))


def rotate_and_store(kv_name: str) -> Any:
    """The step for a cache of that type."""
    kv = kv_type(kv_name)

    @kernel
    def rotate_store(step, batch, first, last, thread):
        """Rotate queries and keys by their position; queries go to rows by key-value head, the rest to the cache.

        Before that, the bias is added where there is one; heads are normed before or after where the model does so.
        Values that are the keys' product are the normed keys without their weight, and not turned.
        """
        shape, layer = field(step, SHAPE), field(step, LAYER)
        heads, kv_heads = field(shape, HEADS), field(shape, KV_HEADS)
        dim, pad = field(shape, HEAD_DIM), field(shape, HEAD_PAD)
        pairs, apart = field(shape, ROTARY_PAIRS), field(shape, HALF_APART)
        group, late = heads // kv_heads, field(shape, NORMED_TURNED)
        scale, eps = load_f32(shape + 8 * Q_SCALE), load_f32(step + 8 * HEAD_EPS)
        growth, counted_from = load_f32(step + 8 * Q_GROWTH), field(step, Q_GROWTH) >> 32
        stores, both = layer != STORED_BEFORE, field(shape, KEYS_AS_VALUES)
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        for t in range(first, last):
            row = field(step, QKV) + t * field(step, QKV_STRIDE)
            table = field(step, ROTARY) + t * pairs * 8
            pos = field(batch, POS) + t
            larger = np.float32(1.0 + growth * np.log(1.0 + (pos + counted_from) // field(step, Q_GROWTH_SPAN)))
            if field(step, BIAS):
                width = (heads + (2 * kv_heads if stores else 0)) * dim
                add_to_row(row, field(step, BIAS), (width + LANES - 1) // LANES)
            for h in range(heads):
                x = row + 4 * h * dim
                norm_and_rotate(x, field(step, Q_NORM), dim, eps, table, pairs, apart, late)
                place = (t * group + h % group) * field(shape, Q_ROW_BYTES)
                out = field(step, Q_ROWS) + h // group * field(shape, Q_HEAD_BYTES) + place
                store_query(kv, x, out, dim, pad, scale * larger, scratch)
            for h in range(kv_heads if stores else 0):
                k = row + 4 * (heads + h) * dim
                v = k if both else k + 4 * kv_heads * dim
                if field(shape, UNIT_VALUES):
                    norm_value(v, dim, eps)
                store_value(kv, v, shape, layer, h, pos, scratch)
                if both:
                    weigh_head(k, field(step, K_NORM), dim)
                    rotate(k, table, pairs, apart)
                else:
                    norm_and_rotate(k, field(step, K_NORM), dim, eps, table, pairs, apart, late)
                store_key(kv, k, shape, layer, h, pos, scratch)

    return rotate_store
