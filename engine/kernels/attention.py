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

from engine.kernels import cpu
from engine.kernels.attention_range import BEGIN, END, SLOPES, STATES, attend_rows
from engine.kernels.block_products import PANELS_TOGETHER, Together
from engine.kernels.cache_layout import head_range
from engine.kernels.jit import inner, kernel
from engine.kernels.kv_types import kv_type
from engine.kernels.memory import field, load_f32, store_f32, store_i64
from engine.kernels.partial_results import finish_row, merge_partial, partial_bytes
from engine.kernels.records import (
    FEW_TOKENS,
    HEADS,
    KV_HEADS,
    N_TOKENS,
    P0,
    PARTIALS,
    POS,
    Q_HEAD_BYTES,
    Q_ROW_BYTES,
    SCRATCH,
    SCRATCH_BYTES,
    VALUE_DIM,
)
from engine.kernels.rows import quantize_row
from engine.kernels.sizes import BLOCK, LANES, QUERIES_TOGETHER, RANGE, ROWS_BLOCK

AHEAD = 512
"""How far ahead of the keys and values in work others are fetched, in bytes."""

_ROWS = QUERIES_TOGETHER
_many, _many_single = Together(_ROWS, PANELS_TOGETHER), Together(_ROWS)

Q_ROWS, ATT_LAYER, WINDOW, SHAPE, SOFTCAP, ATT, ATT_STRIDE, ATT_QUANT, ATT_QUANT_STRIDE, SINKS, HEAD_SLOPES = range(
    P0, P0 + 11
)
"""Parameters of attend and merge: query rows, the layer, how many positions it sees (0: all; less than 0: those from
the last multiple of that on), the shape record, the
cap of scores (float32 bits; 0: none), results as float32 and quantised (0: none), each head's sink
(0: none). Of attend alone: what a position's distance takes off its score, for each head (0: nothing)."""


@inner
def _first_visible(pos, window):
    """The first position that a layer sees from pos."""
    if window < 0:
        return pos - pos % -window
    return max(0, pos + 1 - window) if window > 0 else 0


@inner
def _sink(step, head):
    """Where a head's sink lies, 0 in layers without."""
    return field(step, SINKS) + 4 * head if field(step, SINKS) else 0


@inner
def _set_limits(scratch, base, n_rows, group, first_row, step, h):
    """Write each row's first and past-last visible position, and how much less it thinks of distant ones."""
    window, slopes = field(step, WINDOW), field(step, HEAD_SLOPES)
    for r in range(n_rows):
        pos = base + (first_row + r) // group
        store_i64(scratch + BEGIN + 8 * r, _first_visible(pos, window))
        store_i64(scratch + END + 8 * r, pos + 1)
        slope = load_f32(slopes + 4 * (h * group + (first_row + r) % group)) if slopes else np.float32(0.0)
        store_f32(scratch + SLOPES + 4 * r, slope)


def attend(kv_name: str, group: str) -> Any:
    """The step for a cache of that type, and so many heads that share keys and values.

    Units: few tokens: (kv head, range of the cache); many: (kv head, rows).
    """
    kv = kv_type(kv_name)
    rows_together = _rows_together(int(group))
    ahead = AHEAD if cpu.fetches_next_when_asked() else 0
    few, single = (Together(rows_together, panels, in_turn=True, ahead=ahead) for panels in (PANELS_TOGETHER, 1))

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
    part_bytes = partial_bytes(shape)
    for r in range(0, rows, rows_together):
        n_rows = min(rows_together, rows - r)
        _set_limits(scratch, pos, n_rows, group, r, step, h)
        if field(scratch + BEGIN, 0) < (part + 1) * RANGE:
            out = field(shape, PARTIALS) + ((h * ranges + part) * (rows + _ROWS) + r) * part_bytes
            _attend(kv, few, single, step, shape, h, r, n_rows, part * RANGE, scratch, out, part_bytes)


@inner
def _attend_block(kv, step, shape, h, row0, pos, rows, scratch):
    """A block of query rows of one key-value head through the cache, range after range."""
    dim, window = field(shape, VALUE_DIM), field(step, WINDOW)
    group = field(shape, HEADS) // field(shape, KV_HEADS)
    padded, part_bytes = (dim + LANES - 1) // LANES * LANES, partial_bytes(shape)
    states = scratch + STATES
    fresh = states + (ROWS_BLOCK + _ROWS) * part_bytes
    row1 = min(rows, row0 + ROWS_BLOCK)
    last_pos = pos + (row1 - 1) // group
    first_start = _first_visible(pos + row0 // group, window) // RANGE * RANGE
    for start in range(first_start, last_pos + 1, RANGE):
        for r in range(row0, row1, _ROWS):
            few = min(_ROWS, row1 - r)
            _set_limits(scratch, pos, few, group, r, step, h)
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
        head = h * group + r % group
        out = field(step, ATT) + r // group * field(step, ATT_STRIDE) + head * dim * 4
        finish_row(out, states + (r - row0) * part_bytes, dim, padded, _sink(step, head))


@kernel
def merge(step, batch, first, last, thread):
    """Units: tokens. Merge what several ranges gave (few tokens), and quantise the result."""
    shape = field(step, SHAPE)
    n, pos = field(batch, N_TOKENS), field(batch, POS)
    heads, kv_heads, dim = field(shape, HEADS), field(shape, KV_HEADS), field(shape, VALUE_DIM)
    group = heads // kv_heads
    rows = n * group
    padded, part_bytes = (dim + LANES - 1) // LANES * LANES, partial_bytes(shape)
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
                finish_row(att + head * dim * 4, state, dim, padded, _sink(step, head))
        if field(step, ATT_QUANT):
            quantize_row(
                att, field(step, ATT_QUANT) + t * field(step, ATT_QUANT_STRIDE), (heads * dim + BLOCK - 1) // BLOCK
            )
