"""Attention over the cache: two panel products with a softmax between them.

Keys lie in panels of LANES positions, values in panels of LANES dimensions, so scores and results are the same kind of
product as with weights. The cache is taken in ranges of RANGE positions; each gives a partial result
(largest score, sum, weighted values), and partial results are merged in the order of their positions, whether they were
computed by one thread after another (prompts) or by several at once (decoding): same order, same bits.

Source: Dao et al. 2022 (online softmax); the split over the cache is their "flash decoding".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.kernels import lanes
from engine.kernels.block_products import PANELS_TOGETHER, Together, add_block_of_each, store_sums, zero_sums
from engine.kernels.cache_layout import (
    head_range,
    holds_words,
    key_format,
    key_panel,
    keys_apart,
    paired_format,
    single_format,
    value_panel,
    value_panels,
)
from engine.kernels.jit import inner, kernel
from engine.kernels.kv_types import kv_type
from engine.kernels.memory import (
    fetch,
    field,
    load_f16x16,
    load_f32,
    load_f32x16,
    store_f32,
    store_f32x16,
    store_i64,
)
from engine.kernels.number_formats import LINE
from engine.kernels.records import (
    FEW_TOKENS,
    HEAD_DIM,
    HEAD_PAD,
    HEADS,
    KV_HEADS,
    N_TOKENS,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    PARTIALS,
    POS,
    Q_HEAD_BYTES,
    Q_ROW_BYTES,
    SCALES_AT,
    SCRATCH,
    SCRATCH_BYTES,
    VALUES_AT,
    WORD_BLOCK_BYTES,
)
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.sizes import BLOCK, LANES, QUERIES_TOGETHER, RANGE, ROWS_BLOCK
from engine.kernels.softcap import soften
from engine.kernels.words import widen_scaled_block

_ROWS, _PANELS = QUERIES_TOGETHER, PANELS_TOGETHER
_many, _many_single = Together(_ROWS, _PANELS), Together(_ROWS)
_BOTTOM = np.float32(-3.0e38)

FETCHED = 2048
"""Bytes of values that are asked for before the softmax: a start for the processor, which then goes on by itself."""

BEGIN, END, SCORES = 0, 256, 512
SCALED = SCORES + _ROWS * RANGE * 4
STATES = SCALED + _ROWS * RANGE * 4
"""A thread's scratch, in bytes: each row's first and past-last visible position (int64), its scores, the same times the
values' scales, and partial results."""

Q_ROWS, ATT_LAYER, WINDOW, SHAPE, SOFTCAP, ATT, ATT_STRIDE, ATT_QUANT, ATT_QUANT_STRIDE = (
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
)
"""Parameters of attend and merge: query rows, the layer, how many positions it sees (0: all), the shape record, the
cap of scores (float32 bits; 0: none), results as float32 and quantised (0: none)."""


@inner
def _part_bytes(shape):
    """Bytes of one partial result."""
    return ((field(shape, HEAD_DIM) + LANES - 1) // LANES * LANES + LANES) * 4


@inner
def softmax_range(scores, begin, end, vectors):
    """Scores of a range to weights exp(score - largest) in place; positions before begin and from end on get 0.

    Returns (largest, sum). begin may equal end: (bottom, 0).
    """
    best = lanes.splat(_BOTTOM)
    for i in range(vectors):
        v = load_f32x16(scores + i * VECTOR)
        v = lanes.first_lanes(v, end - i * LANES, _BOTTOM)
        if begin > i * LANES:
            v = lanes.maximum(lanes.splat(_BOTTOM), _from_lane(v, begin - i * LANES))
        store_f32x16(scores + i * VECTOR, v)
        best = lanes.maximum(best, v)
    top = lanes.largest(best)
    base = lanes.splat(top)
    summed = lanes.splat(np.float32(0.0))
    for i in range(vectors):
        v = lanes.exp(lanes.sub(load_f32x16(scores + i * VECTOR), base))
        v = lanes.first_lanes(v, end - i * LANES, np.float32(0.0))
        if begin > i * LANES:
            v = _from_lane_zero(v, begin - i * LANES)
        store_f32x16(scores + i * VECTOR, v)
        summed = lanes.add(summed, v)
    return top, lanes.total(summed)


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
    _score(kv, count, shape, q, cache, blocks, scratch)
    fetch(cache + field(shape, VALUES_AT), FETCHED)
    _soften_and_weigh(n_rows, shape, start, softcap, blocks * (BLOCK // LANES), scratch, out, out_stride)
    _add_values(kv, count, single, n_rows, shape, cache, blocks, scratch, out, out_stride)


@inner
def _score(kv, count, shape, q, keys, blocks, scratch):
    """Every row times the keys of a range, to the scratch's scores."""
    stride, apart = field(shape, Q_ROW_BYTES), keys_apart(kv, shape)
    for p in range(0, blocks * (BLOCK // LANES), _PANELS):
        panel = key_panel(kv, shape, keys, p)
        sums = zero_sums(count)
        for block in range(field(shape, HEAD_PAD) // BLOCK):
            sums = add_block_of_each(key_format(kv), sums, panel, apart, block, q, stride)
        store_sums(sums, scratch + SCORES + p * VECTOR, RANGE * 4)


@inner
def _soften_and_weigh(n_rows, shape, start, softcap, vectors, scratch, out, out_stride):
    """Each row's scores to weights in place; the largest score and the weights' sum to its partial result."""
    behind = value_panels(shape) * VECTOR
    for r in range(n_rows):
        scores = scratch + SCORES + r * RANGE * 4
        first = max(0, field(scratch + BEGIN, r) - start)
        last = max(first, min(RANGE, field(scratch + END, r) - start))
        if softcap > np.float32(0.0):
            soften(scores, vectors, softcap)
        top, total = softmax_range(scores, first, last, vectors)
        store_f32(out + r * out_stride + behind, top)
        store_f32(out + r * out_stride + behind + 4, total)


@inner
def _add_values(kv, count, single, n_rows, shape, cache, blocks, scratch, out, out_stride):
    """Every row's weights times the values of a range, to its partial result."""
    panels = value_panels(shape)
    paired = panels // 2 * 2
    for p in range(0, paired, _PANELS):
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
    scales = cache + field(shape, SCALES_AT)
    if holds_words(kv):
        if p == 0:
            _widen_weights(scratch + SCORES, scratch + SCALED, scales, n_rows, blocks)
    elif p % 2 == 0:
        # Two panels share their scales.
        at = scales + p // 2 * RANGE * 2
        _scale_weights(scratch + SCORES, scratch + SCALED, at, n_rows, blocks * (BLOCK // LANES))
    return scratch + SCALED


@inner
def _widen_weights(scores, weights, exponents, n_rows, blocks):
    """Each row's weights times the scales of the values that they are for, as words."""
    for r in range(n_rows):
        for block in range(blocks):
            at = r * RANGE * 4 + block * BLOCK * 4
            out = weights + r * RANGE * 4 + block * WORD_BLOCK_BYTES
            widen_scaled_block(scores + at, exponents + block * BLOCK, out)


@inner
def _scale_weights(scores, weights, scales, n_rows, vectors):
    """Each row's weights times the scales of the values that they are for."""
    for i in range(vectors):
        scale = load_f16x16(scales + i * 2 * LANES)
        for r in range(n_rows):
            at = r * RANGE * 4 + i * VECTOR
            store_f32x16(weights + at, lanes.mul(load_f32x16(scores + at), scale))


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
def finish_row(out, state, dim, padded):
    """Weighted values divided by the weights' sum."""
    total = lanes.splat(load_f32(state + padded * 4 + 4))
    whole = dim // LANES
    for i in range(whole):
        store_f32x16(out + i * VECTOR, lanes.div(load_f32x16(state + i * VECTOR), total))
    for i in range(whole * LANES, dim):
        store_f32(out + 4 * i, load_f32(state + 4 * i) / load_f32(state + padded * 4 + 4))


@inner
def _first_visible(pos, window):
    """The first position that a layer sees from pos."""
    return max(0, pos + 1 - window) if window > 0 else 0


@inner
def _set_limits(scratch, base, n_rows, group, first_row, window):
    """Write each row's first and past-last visible position."""
    for r in range(n_rows):
        pos = base + (first_row + r) // group
        store_i64(scratch + BEGIN + 8 * r, _first_visible(pos, window))
        store_i64(scratch + END + 8 * r, pos + 1)


def attend(kv_name: str, group: str) -> Any:
    """The step for a cache of that type, and so many heads that share keys and values.

    Units: few tokens: (kv head, range of the cache); many: (kv head, rows).
    """
    kv = kv_type(kv_name)
    rows_together = _rows_together(int(group))
    few, single = Together(rows_together, _PANELS, in_turn=True), Together(rows_together, in_turn=True)

    @kernel
    def attention(step, batch, first, last, thread):
        shape = field(step, SHAPE)
        n, pos = field(batch, N_TOKENS), field(batch, POS)
        rows = n * (field(shape, HEADS) // field(shape, KV_HEADS))
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        ranges = (pos + n + RANGE - 1) // RANGE
        units_per_head = ranges if n <= FEW_TOKENS else (rows + ROWS_BLOCK - 1) // ROWS_BLOCK
        for unit in range(first, last):
            h, part = unit // units_per_head, unit % units_per_head
            if n <= FEW_TOKENS:
                _attend_range(kv, few, single, rows_together, step, shape, h, part, pos, rows, ranges, scratch)
            else:
                _attend_block(kv, step, shape, h, part * ROWS_BLOCK, pos, rows, scratch)

    return attention


def _rows_together(group: int) -> int:
    """How many of a token's query rows are best computed together: fewest passes, then fewest rows too many.

    One row alone would take as long as two: it has too few sums for the processor to work at side by side.
    """
    return min(range(2, _ROWS + 1), key=lambda rows: (-(-group // rows), rows))


@inner
def _attend(kv, count, single, step, shape, h, row, n_rows, start, scratch, out, out_stride):
    """n_rows query rows of key-value head h, from `row` on, over one range of the cache."""
    q = field(step, Q_ROWS) + h * field(shape, Q_HEAD_BYTES) + row * field(shape, Q_ROW_BYTES)
    cache = head_range(shape, field(step, ATT_LAYER), h, start)
    softcap = load_f32(step + 8 * SOFTCAP)
    attend_rows(kv, count, single, n_rows, shape, q, cache, start, softcap, scratch, out, out_stride)


@inner
def _attend_range(kv, few, single, rows_together, step, shape, h, part, pos, rows, ranges, scratch):
    """Every query row of one key-value head over one range of the cache, to the partial results."""
    group = field(shape, HEADS) // field(shape, KV_HEADS)
    part_bytes = _part_bytes(shape)
    for r in range(0, rows, rows_together):
        n_rows = min(rows_together, rows - r)
        _set_limits(scratch, pos, n_rows, group, r, field(step, WINDOW))
        if field(scratch + BEGIN, 0) < (part + 1) * RANGE:
            out = field(shape, PARTIALS) + ((h * ranges + part) * (rows + _ROWS) + r) * part_bytes
            _attend(kv, few, single, step, shape, h, r, n_rows, part * RANGE, scratch, out, part_bytes)


@inner
def _attend_block(kv, step, shape, h, row0, pos, rows, scratch):
    """A block of query rows of one key-value head through the cache, range after range."""
    dim, window = field(shape, HEAD_DIM), field(step, WINDOW)
    group = field(shape, HEADS) // field(shape, KV_HEADS)
    padded, part_bytes = (dim + LANES - 1) // LANES * LANES, _part_bytes(shape)
    states = scratch + STATES
    fresh = states + (ROWS_BLOCK + _ROWS) * part_bytes
    row1 = min(rows, row0 + ROWS_BLOCK)
    last_pos = pos + (row1 - 1) // group
    first_start = _first_visible(pos + row0 // group, window) // RANGE * RANGE
    for start in range(first_start, last_pos + 1, RANGE):
        for r in range(row0, row1, _ROWS):
            few = min(_ROWS, row1 - r)
            _set_limits(scratch, pos, few, group, r, window)
            if field(scratch + END, few - 1) <= start:
                continue
            state = states + (r - row0) * part_bytes
            result = state if start == first_start else fresh
            _attend(kv, _many, _many_single, step, shape, h, r, few, start, scratch, result, part_bytes)
            if start > first_start:
                for i in range(few):
                    if field(scratch + END, i) > start:
                        merge_partial(state + i * part_bytes, fresh + i * part_bytes, padded)
    for r in range(row0, row1):
        out = field(step, ATT) + r // group * field(step, ATT_STRIDE) + (h * group + r % group) * dim * 4
        finish_row(out, states + (r - row0) * part_bytes, dim, padded)


@kernel
def merge(step, batch, first, last, thread):
    """Units: tokens. Merge what several ranges gave (few tokens), and quantise the result."""
    shape = field(step, SHAPE)
    n, pos = field(batch, N_TOKENS), field(batch, POS)
    heads, kv_heads, dim = field(shape, HEADS), field(shape, KV_HEADS), field(shape, HEAD_DIM)
    group = heads // kv_heads
    rows = n * group
    padded, part_bytes = (dim + LANES - 1) // LANES * LANES, _part_bytes(shape)
    window = field(step, WINDOW)
    ranges = (pos + n + RANGE - 1) // RANGE
    for t in range(first, last):
        att = field(step, ATT) + t * field(step, ATT_STRIDE)
        if n <= FEW_TOKENS:
            for head in range(heads):
                row = t * group + head % group
                parts = field(shape, PARTIALS) + (head // group * ranges * (rows + _ROWS) + row) * part_bytes
                first_part = _first_visible(pos + t, window) // RANGE
                state = parts + first_part * (rows + _ROWS) * part_bytes
                for part in range(first_part + 1, (pos + t) // RANGE + 1):
                    merge_partial(state, parts + part * (rows + _ROWS) * part_bytes, padded)
                finish_row(att + head * dim * 4, state, dim, padded)
        if field(step, ATT_QUANT):
            quantize_row(
                att, field(step, ATT_QUANT) + t * field(step, ATT_QUANT_STRIDE), (heads * dim + BLOCK - 1) // BLOCK
            )
