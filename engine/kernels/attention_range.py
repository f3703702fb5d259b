"""Attention over one range of the cache: scores, a softmax, and weighted values, as a partial result of each row."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.block_products import PANELS_TOGETHER, add_block_of_each, store_sums, zero_sums
from engine.kernels.cache_layout import (
    holds_words,
    key_format,
    key_panel,
    keys_apart,
    paired_format,
    single_format,
    value_panel,
    value_panels,
)
from engine.kernels.jit import inner
from engine.kernels.memory import fetch, field, load_f16x16, load_f32, load_f32x16, store_f32, store_f32x16
from engine.kernels.number_formats import LINE
from engine.kernels.records import HEAD_PAD, Q_ROW_BYTES, SCALES_AT, VALUES_AT, WORD_BLOCK_BYTES
from engine.kernels.rows import VECTOR
from engine.kernels.sizes import BLOCK, LANES, QUERIES_TOGETHER, RANGE
from engine.kernels.softcap import soften
from engine.kernels.words import widen_scaled_block

_BOTTOM = np.float32(-3.0e38)

FETCHED = 2048
"""Bytes of values that are asked for before the softmax: a start for the processor, which then goes on by itself."""

BEGIN, SLOPES, END, SCORES = 0, 64, 256, 512
SCALED = SCORES + QUERIES_TOGETHER * RANGE * 4
STATES = SCALED + QUERIES_TOGETHER * RANGE * 4
"""A thread's scratch, in bytes: each row's first visible position (int64), what distance takes off its scores
(float32), its past-last visible position, its scores, the weights times the values' scales, and partial results."""


@inner
def _hide_unseen(scores, begin, end, vectors):
    """Scores of a range before position begin and from end on become bottom, in place; returns the largest."""
    best = lanes.splat(_BOTTOM)
    for i in range(vectors):
        v = load_f32x16(scores + i * VECTOR)
        v = lanes.first_lanes(v, end - i * LANES, _BOTTOM)
        if begin > i * LANES:
            v = lanes.maximum(lanes.splat(_BOTTOM), _from_lane(v, begin - i * LANES))
        store_f32x16(scores + i * VECTOR, v)
        best = lanes.maximum(best, v)
    return lanes.largest(best)


@inner
def _weights(scores, i, base, begin, end):
    """Weights exp(score - base) of vector i of a row's scores; those before position begin and from end on are 0."""
    v = lanes.exp(lanes.sub(load_f32x16(scores + i * VECTOR), base))
    v = lanes.first_lanes(v, end - i * LANES, np.float32(0.0))
    if begin > i * LANES:
        v = _from_lane_zero(v, begin - i * LANES)
    return v


@inner
def _soften(kv, scores, base, begin, end, blocks, exponents, words):
    """A row's scores to weights, and their sum: for a cache of words times the values' scales, as words, else in place.

    begin may equal end: all weights are 0. exponents, words: see widen_scaled_block.
    """
    summed = lanes.splat(np.float32(0.0))
    for block in range(blocks):
        first = _weights(scores, 2 * block, base, begin, end)
        second = _weights(scores, 2 * block + 1, base, begin, end)
        summed = lanes.add(lanes.add(summed, first), second)
        if holds_words(kv):
            widen_scaled_block(first, second, exponents + block * BLOCK, words + block * WORD_BLOCK_BYTES)
        else:
            store_f32x16(scores + 2 * block * VECTOR, first)
            store_f32x16(scores + (2 * block + 1) * VECTOR, second)
    return lanes.total(summed)


@inner
def _from_lane(v, begin):
    """The lanes from begin on, bottom before."""
    before = lanes.first_lanes(lanes.splat(np.float32(1.0)), begin, np.float32(0.0))
    kept = lanes.mul(v, lanes.sub(lanes.splat(np.float32(1.0)), before))
    return lanes.fma(before, lanes.splat(_BOTTOM), kept)


@inner
def _from_lane_zero(v, begin):
    """The lanes from begin on, 0 before."""
    before = lanes.first_lanes(lanes.splat(np.float32(1.0)), begin, np.float32(0.0))
    return lanes.mul(v, lanes.sub(lanes.splat(np.float32(1.0)), before))


@inner
def attend_rows(kv, count, single, n_rows, shape, q, cache, start, softcap, scratch, out, out_stride):
    """Partial results of n_rows query rows over the range of the cache at `cache`, whose first position is `start`.

    count: how many rows are computed together, over how many panels; single: as many over one panel.
    """
    longest = 0
    for r in range(n_rows):
        longest = max(longest, min(RANGE, field(scratch + END, r) - start))
    blocks = (longest + BLOCK - 1) // BLOCK
    scales = cache + field(shape, SCALES_AT)
    fetch(scales, RANGE)
    _score(kv, count, shape, q, cache, blocks, scratch)
    fetch(cache + field(shape, VALUES_AT), FETCHED)
    _soften_and_weigh(kv, n_rows, shape, start, softcap, blocks, scales, scratch, out, out_stride)
    _add_values(kv, count, single, n_rows, shape, cache, blocks, scratch, out, out_stride)


@inner
def _score(kv, count, shape, q, keys, blocks, scratch):
    """Every row times the keys of a range, to the scratch's scores."""
    stride, apart = field(shape, Q_ROW_BYTES), keys_apart(kv, shape)
    for p in range(0, blocks * (BLOCK // LANES), PANELS_TOGETHER):
        panel = key_panel(kv, shape, keys, p)
        sums = zero_sums(count)
        for block in range(field(shape, HEAD_PAD) // BLOCK):
            sums = add_block_of_each(key_format(kv), sums, panel, apart, block, q, stride)
        store_sums(sums, scratch + SCORES + p * VECTOR, RANGE * 4)


@inner
def _soften_and_weigh(kv, n_rows, shape, start, softcap, blocks, scales, scratch, out, out_stride):
    """Each row's scores to weights; the largest score and the weights' sum to its partial result."""
    behind, vectors = value_panels(shape) * VECTOR, blocks * (BLOCK // LANES)
    for r in range(n_rows):
        scores, words = scratch + SCORES + r * RANGE * 4, scratch + SCALED + r * RANGE * 4
        first = max(0, field(scratch + BEGIN, r) - start)
        last = max(first, min(RANGE, field(scratch + END, r) - start))
        if softcap > np.float32(0.0):
            soften(scores, vectors, softcap)
        slope = load_f32(scratch + SLOPES + 4 * r)
        if slope > np.float32(0.0):
            _lower_the_distant(scores, vectors, slope, start + 1 - field(scratch + END, r))
        top = _hide_unseen(scores, first, last, vectors)
        total = _soften(kv, scores, lanes.splat(top), first, last, blocks, scales, words)
        store_f32(out + r * out_stride + behind, top)
        store_f32(out + r * out_stride + behind + 4, total)


@inner
def _lower_the_distant(scores, vectors, slope, first):
    """Take slope times its distance off each score; the first one is of the position `first`, counted from the row's.

    Source: Press et al. 2021 (ALiBi).
    """
    for i in range(vectors):
        distances = lanes.counted(np.float32(first + i * LANES))
        score = load_f32x16(scores + i * VECTOR)
        store_f32x16(scores + i * VECTOR, lanes.fma(distances, lanes.splat(slope), score))


@inner
def _add_values(kv, count, single, n_rows, shape, cache, blocks, scratch, out, out_stride):
    """Every row's weights times the values of a range, to its partial result."""
    panels = value_panels(shape)
    paired = panels // 2 * 2
    for p in range(0, paired, PANELS_TOGETHER):
        weights = _weights_for(kv, p, n_rows, shape, cache, blocks, scratch)
        _add_panels(paired_format(kv), count, value_panel(kv, shape, cache, p), blocks, weights, out, out_stride, p)
    if paired < panels:
        weights = _weights_for(kv, paired, n_rows, shape, cache, blocks, scratch)
        last = value_panel(kv, shape, cache, paired)
        _add_panels(single_format(kv), single, last, blocks, weights, out, out_stride, paired)


@inner
def _add_panels(fmt, count, values, blocks, weights, out, out_stride, p):
    """The same for the value panels from p on that are computed together."""
    sums = zero_sums(count)
    for block in range(blocks):
        sums = add_block_of_each(fmt, sums, values, LINE, block, weights, RANGE * 4)
    store_sums(sums, out + p * VECTOR, out_stride)


@inner
def _weights_for(kv, p, n_rows, shape, cache, blocks, scratch):
    """Where the weights for value panel p lie, times the values' scales, in the form that they are multiplied in."""
    if not holds_words(kv) and p % 2 == 0:
        # Two panels share their scales.
        scales = cache + field(shape, SCALES_AT) + p // 2 * RANGE * 2
        _scale_weights(scratch + SCORES, scratch + SCALED, scales, n_rows, blocks * (BLOCK // LANES))
    return scratch + SCALED


@inner
def _scale_weights(scores, weights, scales, n_rows, vectors):
    """Each row's weights times the scales of the values that they are for."""
    for i in range(vectors):
        scale = load_f16x16(scales + i * 2 * LANES)
        for r in range(n_rows):
            at = r * RANGE * 4 + i * VECTOR
            store_f32x16(weights + at, lanes.mul(load_f32x16(scores + at), scale))
