"""The selective scan of Mamba-1: each channel has a few numbers that every token has decay, and adds to.

What is written, what is read and how much time passes are made of the convolution's results by a small matrix, and
the time of each channel by another one behind it: the steps here are those between the products. Each number of a
channel's state decays at a pace of its own, so an exponential is what a token costs. Channels do not meet in the scan:
sixteen of them are a unit of work, which goes through the batch's tokens as that of state_space.py does.

A batch of a few tokens leaves the state at its beginning, see delta_net.py.

Source: Gu & Dao 2023, Mamba.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.delta_net import activate, memory_row
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, load_i64, store_f32x16
from engine.kernels.records import FEW_TOKENS, N_TOKENS, P0, POS, SCRATCH, SCRATCH_BYTES
from engine.kernels.recurrence import (
    CHANNELS,
    HEAD_DIM,
    NORM_EPS,
    PROGRESS,
    READ_NORM,
    SKIPS,
    STATE_DIM,
    STATES,
    STEP_AT,
    STEP_DIM,
    STEP_NORM,
    TAP_BIAS,
    TIME_BIAS,
    TIME_SCALE,
    VALUE_HEADS,
    WRITTEN_AT,
    WRITTEN_NORM,
)
from engine.kernels.rows import VECTOR, add_to_row, quantize_row, scale_to_unit
from engine.kernels.short_conv import convolve, keep_input
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.state_space import pass_time
from engine.kernels.time_steps import softplus

TOGETHER = 4
"""Tokens that go through a state together."""

CHANNELS_TOGETHER = 512
"""Channels whose sums stay in the first cache until they are done."""

MIXED_ROWS, MIXED_STRIDE, MIXED_LAYER, MIXED, MIXED_OUT_STRIDE, MIXED_QUANT, MIXED_QUANT_STRIDE = range(P0, P0 + 7)
"""Parameters of mix: the products' rows and their stride, the layer's record, rows of results, and quantised ones."""


@kernel
def mix(step, batch, first, last, thread):
    """Each token's channels, convolved and activated."""
    rows, stride, layer = field(step, MIXED_ROWS), field(step, MIXED_STRIDE), field(step, MIXED_LAYER)
    pos, channels, bias = field(batch, POS), field(layer, CHANNELS), field(layer, TAP_BIAS)
    for t in range(first, last):
        out = field(step, MIXED) + t * field(step, MIXED_OUT_STRIDE)
        for channel in range(0, channels, CHANNELS_TOGETHER):
            n, its = min(CHANNELS_TOGETHER, channels - channel), out + 4 * channel
            convolve(layer, pos, rows, stride, t, channel, n, its)
            if bias:
                add_to_row(its, bias + 4 * channel, n // LANES)
            activate(its, n)
        if field(batch, N_TOKENS) <= FEW_TOKENS:
            keep_input(layer, pos + t, rows + t * stride)
        quantize_row(out, field(step, MIXED_QUANT) + t * field(step, MIXED_QUANT_STRIDE), channels // BLOCK)


@inner
def _part(x, weight, out, n, eps):
    """Copy n numbers, normed if there is a weight (0: none)."""
    if weight:
        scale_to_unit(out, x, weight, n, eps)
    else:
        for at in range(0, 4 * n, VECTOR):
            store_f32x16(out + at, load_f32x16(x + at))


SMALL, SMALL_STRIDE, SMALL_LAYER, READ, READ_STRIDE, BROUGHT, BROUGHT_STRIDE = range(P0, P0 + 7)
STEPS, STEPS_STRIDE, STEPS_QUANT, STEPS_QUANT_STRIDE = range(P0 + 7, P0 + 11)
"""Parameters of split: rows of the small product and their stride, the layer's record; rows of what is read, of what
tokens bring for the state, and of what time steps are made of, in both forms."""


@kernel
def split(step, batch, first, last, thread):
    """What each token writes, reads, and makes time steps of, each normed where it has a norm."""
    layer = field(step, SMALL_LAYER)
    n, width, eps = field(layer, STATE_DIM), field(layer, STEP_DIM), load_f32(layer + 8 * NORM_EPS)
    for t in range(first, last):
        row = field(step, SMALL) + t * field(step, SMALL_STRIDE)
        written = row + field(layer, WRITTEN_AT)
        memory = memory_row(batch, layer, field(step, BROUGHT), field(step, BROUGHT_STRIDE), t)
        _part(written, field(layer, WRITTEN_NORM), memory, n, eps)
        _part(written + 4 * n, field(layer, READ_NORM), field(step, READ) + t * field(step, READ_STRIDE), n, eps)
        steps = field(step, STEPS) + t * field(step, STEPS_STRIDE)
        _part(row + field(layer, STEP_AT), field(layer, STEP_NORM), steps, width, eps)
        quants = field(step, STEPS_QUANT) + t * field(step, STEPS_QUANT_STRIDE)
        quantize_row(steps, quants, (width + BLOCK - 1) // BLOCK)


TIMES, TIMES_STRIDE, TIMED_LAYER, TIMED, TIMED_STRIDE, TIMED_MEMORY, TIMED_MEMORY_STRIDE = range(P0, P0 + 7)
"""Parameters of time_channels: rows of time steps as a product gave them, the layer's record, rows of the convolution's
results, rows of what tokens bring for the state."""


@kernel
def time_channels(step, batch, first, last, thread):
    """How much time passes in each channel, and its value by that.

    The convolution's results are replaced by what they add to the layer's results without a state.
    """
    layer = field(step, TIMED_LAYER)
    n_bytes, bias, skips = 4 * field(layer, CHANNELS), field(layer, TIME_BIAS), field(layer, SKIPS)
    for t in range(first, last):
        times, x = (
            field(step, TIMES) + t * field(step, TIMES_STRIDE),
            field(step, TIMED) + t * field(step, TIMED_STRIDE),
        )
        memory = memory_row(batch, layer, field(step, TIMED_MEMORY), field(step, TIMED_MEMORY_STRIDE), t)
        values = memory + 4 * field(layer, STATE_DIM)
        for at in range(0, n_bytes, VECTOR):
            time = softplus(lanes.add(load_f32x16(times + at), load_f32x16(bias + at)))
            v = load_f32x16(x + at)
            store_f32x16(values + at, lanes.mul(v, time))
            store_f32x16(values + n_bytes + at, time)
            store_f32x16(x + at, lanes.mul(v, load_f32x16(skips + at)))


@kernel
def time_heads(step, batch, first, last, thread):
    """The same where channels are heads of a state space, whose states decay as wholes; it is run as one."""
    layer = field(step, TIMED_LAYER)
    heads, dim = field(layer, VALUE_HEADS), field(layer, HEAD_DIM)
    for t in range(first, last):
        times, x = (
            field(step, TIMES) + t * field(step, TIMES_STRIDE),
            field(step, TIMED) + t * field(step, TIMED_STRIDE),
        )
        memory = memory_row(batch, layer, field(step, TIMED_MEMORY), field(step, TIMED_MEMORY_STRIDE), t)
        values = memory + 4 * field(layer, STATE_DIM)
        for head in range(heads):
            at, decay = 4 * head * dim, values + 4 * (heads * dim + head)
            pass_time(layer, head, load_f32(times + 4 * head), x + at, values + at, x + at, decay)


@inner
def _change(state, paces, memory, value_at, time_at, n):
    """Have LANES channels' states decay, and add what a token adds. memory: what it brings."""
    value, time = load_f32x16(memory + value_at), load_f32x16(memory + time_at)
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), lanes.exp(lanes.mul(time, load_f32x16(paces + i * VECTOR))))
        store_f32x16(state + i * VECTOR, lanes.fma(lanes.splat(load_f32(memory + 4 * i)), value, s))


@inner
def _take(state, target, paces, memory, read, value_at, time_at, n, sums):
    """The same for one token, from a state to another place or the same one, and what is read of it to sums."""
    value, time = load_f32x16(memory + value_at), load_f32x16(memory + time_at)
    total = lanes.splat(np.float32(0.0))
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), lanes.exp(lanes.mul(time, load_f32x16(paces + i * VECTOR))))
        s = lanes.fma(lanes.splat(load_f32(memory + 4 * i)), value, s)
        store_f32x16(target + i * VECTOR, s)
        total = lanes.fma(lanes.splat(load_f32(read + 4 * i)), s, total)
    store_f32x16(sums, total)


@inner
def _take_four(state, target, paces, memory, read, value_at, time_at, n, sums):
    """_take for TOGETHER tokens, one after the other. memory, read: four of each."""
    m0, m1, m2, m3 = memory
    r0, r1, r2, r3 = read
    v0, v1, v2, v3 = (
        load_f32x16(m0 + value_at),
        load_f32x16(m1 + value_at),
        load_f32x16(m2 + value_at),
        load_f32x16(m3 + value_at),
    )
    t0, t1, t2, t3 = (
        load_f32x16(m0 + time_at),
        load_f32x16(m1 + time_at),
        load_f32x16(m2 + time_at),
        load_f32x16(m3 + time_at),
    )
    zero = lanes.splat(np.float32(0.0))
    y0, y1, y2, y3 = zero, zero, zero, zero
    for i in range(n):
        at, pace = 4 * i, load_f32x16(paces + i * VECTOR)
        s = lanes.mul(load_f32x16(state + i * VECTOR), lanes.exp(lanes.mul(t0, pace)))
        s = lanes.fma(lanes.splat(load_f32(m0 + at)), v0, s)
        y0 = lanes.fma(lanes.splat(load_f32(r0 + at)), s, y0)
        s = lanes.fma(lanes.splat(load_f32(m1 + at)), v1, lanes.mul(s, lanes.exp(lanes.mul(t1, pace))))
        y1 = lanes.fma(lanes.splat(load_f32(r1 + at)), s, y1)
        s = lanes.fma(lanes.splat(load_f32(m2 + at)), v2, lanes.mul(s, lanes.exp(lanes.mul(t2, pace))))
        y2 = lanes.fma(lanes.splat(load_f32(r2 + at)), s, y2)
        s = lanes.fma(lanes.splat(load_f32(m3 + at)), v3, lanes.mul(s, lanes.exp(lanes.mul(t3, pace))))
        y3 = lanes.fma(lanes.splat(load_f32(r3 + at)), s, y3)
        store_f32x16(target + i * VECTOR, s)
    store_f32x16(sums, y0)
    store_f32x16(sums + VECTOR, y1)
    store_f32x16(sums + 2 * VECTOR, y2)
    store_f32x16(sums + 3 * VECTOR, y3)


RUN_LAYER, RUN_READ, RUN_READ_STRIDE, RUN_MEMORY, RUN_MEMORY_STRIDE, RESULTS, RESULTS_STRIDE = range(P0, P0 + 7)
"""Parameters of run: the layer's record, rows of what is read and of what tokens bring for the state, and rows of
results, to which is added."""


@kernel
def run(step, batch, first, last, thread):
    """Take LANES channels through the batch. Units: CHANNELS / LANES."""
    layer, n_tokens = field(step, RUN_LAYER), field(batch, N_TOKENS)
    n, n_bytes = field(layer, STATE_DIM), 4 * field(layer, CHANNELS)
    sums = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
    elsewhere = sums + TOGETHER * VECTOR
    kept = field(batch, POS) - load_i64(field(layer, PROGRESS))
    rows, stride = field(step, RUN_MEMORY), field(step, RUN_MEMORY_STRIDE)
    r_stride, y_stride = field(step, RUN_READ_STRIDE), field(step, RESULTS_STRIDE)
    for unit in range(first, last):
        value_at = 4 * n + unit * VECTOR
        time_at = value_at + n_bytes
        state, paces = field(layer, STATES) + unit * n * VECTOR, field(layer, TIME_SCALE) + unit * n * VECTOR
        target = elsewhere if n_tokens <= FEW_TOKENS else state
        results = field(step, RESULTS) + unit * VECTOR
        for t in range(-kept, 0):
            _change(state, paces, memory_row(batch, layer, rows, stride, t), value_at, time_at, n)
        t = 0
        while t + TOGETHER <= n_tokens:
            m0 = memory_row(batch, layer, rows, stride, t)
            m1 = memory_row(batch, layer, rows, stride, t + 1)
            m2 = memory_row(batch, layer, rows, stride, t + 2)
            m3 = memory_row(batch, layer, rows, stride, t + 3)
            r = field(step, RUN_READ) + t * r_stride
            four = (r, r + r_stride, r + 2 * r_stride, r + 3 * r_stride)
            _take_four(state, target, paces, (m0, m1, m2, m3), four, value_at, time_at, n, sums)
            for i in range(TOGETHER):
                add_to_row(results + (t + i) * y_stride, sums + i * VECTOR, 1)
            state = target
            t += TOGETHER
        while t < n_tokens:
            memory, read = memory_row(batch, layer, rows, stride, t), field(step, RUN_READ) + t * r_stride
            _take(state, target, paces, memory, read, value_at, time_at, n, sums)
            add_to_row(results + t * y_stride, sums, 1)
            state = target
            t += 1
