"""The state space of Mamba-2: a matrix of fixed size for each head, which every token has decay and adds to.

What a token adds is its head's values at what its group writes; what its group reads is then asked of the state. The
columns of values do not meet in that, so sixteen of them are a unit of work, as with a delta net: it goes through the
batch's tokens with its part of the state in the first cache. Here nothing that a token adds depends on the state, so
several tokens go through together, and a row of the state stays in a register for all of them: its memory is read and
written once for each four tokens of a prompt. Every row goes from token to token, and every result is summed from row
to row, in the order that they have, whatever goes together.

A batch of a few tokens leaves the state at its beginning, see delta_net.py.

Source: Dao & Gu 2024, Transformers are SSMs.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.delta_net import LINEAR_FROM, activate, memory_row
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, load_i64, store_f32, store_f32x16
from engine.kernels.records import FEW_TOKENS, N_TOKENS, P0, POS, SCRATCH, SCRATCH_BYTES
from engine.kernels.recurrence import (
    HEAD_DIM,
    HEAD_NORM,
    KEY_HEADS,
    NORM_EPS,
    PROGRESS,
    SKIPS,
    STATE_DIM,
    STATES,
    TAP_BIAS,
    TIME_BIAS,
    TIME_SCALE,
    VALUE_HEADS,
)
from engine.kernels.rows import VECTOR, add_to_row, quantize_row, scale_to_unit
from engine.kernels.short_conv import convolve, keep_input
from engine.kernels.sizes import BLOCK, LANES

TOGETHER = 4
"""Tokens that go through a state together."""


@inner
def _written(layer):
    """Bytes of what all groups write, or read."""
    return 4 * field(layer, KEY_HEADS) * field(layer, STATE_DIM)


@inner
def _mixed(layer, pos, rows, stride, t, channel, n, out):
    """Put n channels of a token into out: convolved, and activated."""
    convolve(layer, pos, rows, stride, t, channel, n, out)
    if field(layer, TAP_BIAS):
        add_to_row(out, field(layer, TAP_BIAS) + 4 * channel, n // LANES)
    activate(out, n)


@inner
def pass_time(layer, head, time, x, values, results, decay_at):
    """A head's decay, its values by how much time passes, and what x adds to its results without a state.

    time: as a product gave it. x: HEAD_DIM numbers, where values or results may be as well.
    """
    lasting = np.float64(time + load_f32(field(layer, TIME_BIAS) + 4 * head))
    if lasting < LINEAR_FROM:
        lasting = np.log(1.0 + np.exp(lasting))
    decay = np.exp(lasting * np.float64(load_f32(field(layer, TIME_SCALE) + 4 * head)))
    store_f32(decay_at, np.float32(decay))
    share, skip = lanes.splat(np.float32(lasting)), lanes.splat(load_f32(field(layer, SKIPS) + 4 * head))
    for at in range(0, 4 * field(layer, HEAD_DIM), VECTOR):
        v = load_f32x16(x + at)
        store_f32x16(results + at, lanes.mul(v, skip))
        store_f32x16(values + at, lanes.mul(v, share))


PREPARED_ROWS, PREPARED_STRIDE, PREPARED_LAYER, TIME_AT = range(P0, P0 + 4)
QUERIES, QUERIES_STRIDE, MEMORY, MEMORY_STRIDE, SKIPPING, SKIPPING_STRIDE = range(P0 + 4, P0 + 10)
"""Parameters of prepare: the products' rows and their stride, the layer's record, the byte of a row at which time steps
begin; rows of what is read, of what tokens bring for the state (what is written, values, decays), and of results, into
which goes what values add to them without a state."""


@kernel
def prepare(step, batch, first, last, thread):
    """What each token writes and reads, its values by their time steps, and how its heads decay."""
    rows, stride, layer = field(step, PREPARED_ROWS), field(step, PREPARED_STRIDE), field(step, PREPARED_LAYER)
    heads, dim, pos = field(layer, VALUE_HEADS), field(layer, HEAD_DIM), field(batch, POS)
    written = _written(layer)
    n_written = written // 4
    for t in range(first, last):
        row = rows + t * stride
        memory = memory_row(batch, layer, field(step, MEMORY), field(step, MEMORY_STRIDE), t)
        values, decays = memory + written, memory + written + 4 * heads * dim
        results = field(step, SKIPPING) + t * field(step, SKIPPING_STRIDE)
        for head in range(heads):
            its, time = values + 4 * head * dim, load_f32(row + field(step, TIME_AT) + 4 * head)
            _mixed(layer, pos, rows, stride, t, head * dim, dim, its)
            pass_time(layer, head, time, its, its, results + 4 * head * dim, decays + 4 * head)
        _mixed(layer, pos, rows, stride, t, heads * dim, n_written, memory)
        queries = field(step, QUERIES) + t * field(step, QUERIES_STRIDE)
        _mixed(layer, pos, rows, stride, t, heads * dim + n_written, n_written, queries)
        if field(batch, N_TOKENS) <= FEW_TOKENS:
            keep_input(layer, pos + t, row)


@inner
def _change(state, memory, decay_at, value_at, n):
    """Have LANES columns of a state decay, and add what a token adds. memory: what it brings, from its group on."""
    decay, value = lanes.splat(load_f32(memory + decay_at)), load_f32x16(memory + value_at)
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), decay)
        store_f32x16(state + i * VECTOR, lanes.fma(lanes.splat(load_f32(memory + 4 * i)), value, s))


@inner
def _take(state, target, memory, query, decay_at, value_at, n, sums):
    """The same for one token, from a state to another place or the same one, and what its group reads to sums."""
    decay, value = lanes.splat(load_f32(memory + decay_at)), load_f32x16(memory + value_at)
    total = lanes.splat(np.float32(0.0))
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), decay)
        s = lanes.fma(lanes.splat(load_f32(memory + 4 * i)), value, s)
        store_f32x16(target + i * VECTOR, s)
        total = lanes.fma(lanes.splat(load_f32(query + 4 * i)), s, total)
    store_f32x16(sums, total)


@inner
def _change_and_take(state, target, before, memory, query, decay_at, value_at, n, sums):
    """_change for the token before, in place, then _take."""
    decay_0, value_0 = lanes.splat(load_f32(before + decay_at)), load_f32x16(before + value_at)
    decay, value = lanes.splat(load_f32(memory + decay_at)), load_f32x16(memory + value_at)
    total = lanes.splat(np.float32(0.0))
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), decay_0)
        s = lanes.fma(lanes.splat(load_f32(before + 4 * i)), value_0, s)
        store_f32x16(state + i * VECTOR, s)
        s = lanes.mul(s, decay)
        s = lanes.fma(lanes.splat(load_f32(memory + 4 * i)), value, s)
        store_f32x16(target + i * VECTOR, s)
        total = lanes.fma(lanes.splat(load_f32(query + 4 * i)), s, total)
    store_f32x16(sums, total)


@inner
def _take_four(state, target, memory, query, decay_at, value_at, n, sums):
    """_take for TOGETHER tokens, one after the other. memory, query: four of each."""
    m0, m1, m2, m3 = memory
    q0, q1, q2, q3 = query
    d0, d1 = lanes.splat(load_f32(m0 + decay_at)), lanes.splat(load_f32(m1 + decay_at))
    d2, d3 = lanes.splat(load_f32(m2 + decay_at)), lanes.splat(load_f32(m3 + decay_at))
    v0, v1 = load_f32x16(m0 + value_at), load_f32x16(m1 + value_at)
    v2, v3 = load_f32x16(m2 + value_at), load_f32x16(m3 + value_at)
    zero = lanes.splat(np.float32(0.0))
    y0, y1, y2, y3 = zero, zero, zero, zero
    for i in range(n):
        at = 4 * i
        s = lanes.mul(load_f32x16(state + i * VECTOR), d0)
        s = lanes.fma(lanes.splat(load_f32(m0 + at)), v0, s)
        y0 = lanes.fma(lanes.splat(load_f32(q0 + at)), s, y0)
        s = lanes.fma(lanes.splat(load_f32(m1 + at)), v1, lanes.mul(s, d1))
        y1 = lanes.fma(lanes.splat(load_f32(q1 + at)), s, y1)
        s = lanes.fma(lanes.splat(load_f32(m2 + at)), v2, lanes.mul(s, d2))
        y2 = lanes.fma(lanes.splat(load_f32(q2 + at)), s, y2)
        s = lanes.fma(lanes.splat(load_f32(m3 + at)), v3, lanes.mul(s, d3))
        y3 = lanes.fma(lanes.splat(load_f32(q3 + at)), s, y3)
        store_f32x16(target + i * VECTOR, s)
    store_f32x16(sums, y0)
    store_f32x16(sums + VECTOR, y1)
    store_f32x16(sums + 2 * VECTOR, y2)
    store_f32x16(sums + 3 * VECTOR, y3)


RUN_LAYER, RUN_QUERIES, RUN_QUERIES_STRIDE, RUN_MEMORY, RUN_MEMORY_STRIDE, RESULTS, RESULTS_STRIDE = range(P0, P0 + 7)
"""Parameters of run: the layer's record, and the rows that prepare has made; to those of results is added."""


@kernel
def run(step, batch, first, last, thread):
    """Take LANES columns of values of a head through the batch. Units: heads · HEAD_DIM / LANES."""
    layer, n_tokens, pos = field(step, RUN_LAYER), field(batch, N_TOKENS), field(batch, POS)
    n, dim = field(layer, STATE_DIM), field(layer, HEAD_DIM)
    written, heads = _written(layer), field(layer, VALUE_HEADS)
    sums = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
    elsewhere = sums + TOGETHER * VECTOR
    few = n_tokens <= FEW_TOKENS
    kept = pos - load_i64(field(layer, PROGRESS))
    rows, stride = field(step, RUN_MEMORY), field(step, RUN_MEMORY_STRIDE)
    q_stride, y_stride = field(step, RUN_QUERIES_STRIDE), field(step, RESULTS_STRIDE)
    for unit in range(first, last):
        head, column = unit // (dim // LANES), unit % (dim // LANES) * VECTOR
        group = 4 * (head // (heads // field(layer, KEY_HEADS))) * n
        value_at = written + 4 * head * dim + column - group
        decay_at = written + 4 * (heads * dim + head) - group
        state = field(layer, STATES) + unit * n * VECTOR
        target = elsewhere if few else state
        queries = field(step, RUN_QUERIES) + group
        results = field(step, RESULTS) + 4 * head * dim + column
        for t in range(-kept, -1):
            _change(state, memory_row(batch, layer, rows, stride, t) + group, decay_at, value_at, n)
        t = 0
        if kept:
            before = memory_row(batch, layer, rows, stride, -1) + group
            memory = memory_row(batch, layer, rows, stride, 0) + group
            _change_and_take(state, target, before, memory, queries, decay_at, value_at, n, sums)
            add_to_row(results, sums, 1)
            state, t = target, 1
        while t + TOGETHER <= n_tokens:
            m0 = memory_row(batch, layer, rows, stride, t) + group
            m1 = memory_row(batch, layer, rows, stride, t + 1) + group
            m2 = memory_row(batch, layer, rows, stride, t + 2) + group
            m3 = memory_row(batch, layer, rows, stride, t + 3) + group
            q = queries + t * q_stride
            four = (q, q + q_stride, q + 2 * q_stride, q + 3 * q_stride)
            _take_four(state, target, (m0, m1, m2, m3), four, decay_at, value_at, n, sums)
            for i in range(TOGETHER):
                add_to_row(results + (t + i) * y_stride, sums + i * VECTOR, 1)
            state = target
            t += TOGETHER
        while t < n_tokens:
            memory = memory_row(batch, layer, rows, stride, t) + group
            _take(state, target, memory, queries + t * q_stride, decay_at, value_at, n, sums)
            add_to_row(results + t * y_stride, sums, 1)
            state = target
            t += 1


RESULT, RESULT_STRIDE, RESULT_LAYER, Z_ROWS, Z_STRIDE, Z_QUANT, Z_QUANT_STRIDE = range(P0, P0 + 7)
"""Parameters of gate_results: rows of results, which are changed in place; the layer's record; rows of gates; rows of
quantised results."""


@kernel
def gate_results(step, batch, first, last, thread):
    """Results times SiLU of their gates, then normed in as many parts as there are groups."""
    layer = field(step, RESULT_LAYER)
    width, groups = field(layer, VALUE_HEADS) * field(layer, HEAD_DIM), field(layer, KEY_HEADS)
    eps, part = load_f32(layer + 8 * NORM_EPS), width // groups
    for t in range(first, last):
        row, gates = field(step, RESULT) + t * field(step, RESULT_STRIDE), field(step, Z_ROWS)
        gates += t * field(step, Z_STRIDE)
        activate(gates, width)
        for at in range(0, 4 * width, VECTOR):
            store_f32x16(row + at, lanes.mul(load_f32x16(row + at), load_f32x16(gates + at)))
        if field(layer, HEAD_NORM):
            for at in range(0, 4 * width, 4 * part):
                scale_to_unit(row + at, row + at, field(layer, HEAD_NORM) + at, part, eps)
        quantize_row(row, field(step, Z_QUANT) + t * field(step, Z_QUANT_STRIDE), width // BLOCK)
