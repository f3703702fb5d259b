"""The gated delta net: a matrix of fixed size for each head, which every token decays and corrects.

With a key k, a value v and the state S of a head: S decays, what it says for k is compared with v, and a share of the
difference is written back at k; then the query is answered. The columns of values do not meet in that, so sixteen of
them are a unit of work that goes through the batch's tokens one after the other with its part of the state in the first
cache. The answer comes before the correction, in the one pass that also finds what the state says for k, since
S' · q = decay · S · q + change · (k · q); and a token's correction is made in the pass that reads for the next token.

In Kimi Delta Attention, each number of a key has a decay of its own, so that the rows of S decay each by itself: what
is asked for is multiplied by those decays first, instead of what S says.

A batch of a few tokens leaves the state at its beginning: what its tokens change is kept beside it, and the next batch
makes so many of those changes as it follows.

Source: Yang et al. 2024, Gated Delta Networks; Qwen3-Next's form of it. Kimi Linear (Moonshot AI 2025).
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, load_i64, store_f32, store_f32x16
from engine.kernels.records import FEW_TOKENS, N_TOKENS, P0, POS, SCRATCH, SCRATCH_BYTES
from engine.kernels.recurrence import (
    BETA,
    DECAY,
    DECAYS_AT,
    GATES,
    HEAD_NORM,
    KEY_HEADS,
    KEYS_IN_TURN,
    MATCH,
    NORM_EPS,
    PENDING,
    PENDING_ROWS,
    PENDING_STRIDE,
    PROGRESS,
    SIGMOID_GATES,
    STATE_DIM,
    STATES,
    TIME_BIAS,
    TIME_SCALE,
    VALUE_HEADS,
)
from engine.kernels.rows import VECTOR, quantize_row, scale_to_unit
from engine.kernels.short_conv import convolve, keep_input
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.time_steps import softplus

LINEAR_FROM = 20.0
"""From here on softplus is its argument."""


@inner
def _gate(layer, memory, head, which):
    """Where one of the gates of a value head lies in what a token brings for the state."""
    heads = field(layer, KEY_HEADS) + field(layer, VALUE_HEADS)
    return memory + 4 * (heads * field(layer, STATE_DIM) + GATES * head + which)


@inner
def _key_head(layer, head):
    """The key head that a value head belongs to."""
    if field(layer, KEYS_IN_TURN):
        return head % field(layer, KEY_HEADS)
    return head // (field(layer, VALUE_HEADS) // field(layer, KEY_HEADS))


@inner
def memory_row(batch, layer, rows, stride, t):
    """Where what a token brings for the state goes: to the pending rows where a few tokens are in the batch."""
    if t < 0 or field(batch, N_TOKENS) <= FEW_TOKENS:
        return field(layer, PENDING) + (field(batch, POS) + t) % PENDING_ROWS * field(layer, PENDING_STRIDE)
    return rows + t * stride


@inner
def activate(x, n):
    """SiLU of n numbers in place."""
    one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        v = load_f32x16(x + at)
        store_f32x16(x + at, lanes.div(v, lanes.add(one, lanes.exp(lanes.sub(zero, v)))))


@inner
def _open_gates(x, n):
    """The sigmoid of n numbers in place."""
    one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(x + at, lanes.div(one, lanes.add(one, lanes.exp(lanes.sub(zero, load_f32x16(x + at))))))


@inner
def _scale_to_length(x, n, eps, length):
    """Scale n numbers in place, so that they are as long as said."""
    squares = lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        v = load_f32x16(x + at)
        squares = lanes.fma(v, v, squares)
    factor = lanes.splat(length / np.sqrt(lanes.total(squares) + eps))
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(x + at, lanes.mul(load_f32x16(x + at), factor))


@inner
def _product(x, y, n):
    """The sum of the products of n numbers."""
    total = lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        total = lanes.fma(load_f32x16(x + at), load_f32x16(y + at), total)
    return lanes.total(total)


PREPARED_ROWS, PREPARED_STRIDE, PREPARED_LAYER, BETA_AT, ALPHA_AT, GATE_GROUP, GATE_GROUP_BYTES = range(P0, P0 + 7)
QUERIES, QUERIES_STRIDE, MEMORY, MEMORY_STRIDE = range(P0 + 7, P0 + 11)
"""Parameters of prepare: the products' rows and their stride, the layer's record; the bytes of a row at which the
numbers begin that become beta and decay (those for decays of each number lie in one piece), how many value heads have
theirs side by side, and bytes from such a group to the next; rows of queries, and of what tokens bring for the
state."""


@inner
def _decay_each(layer, memory, queries, head, times):
    """The decays of each number of a head's key; its query is multiplied by them, and so is its key, behind queries.

    There is a key head for every value head then.
    """
    n_bytes = 4 * field(layer, STATE_DIM)
    all_bytes, at = field(layer, VALUE_HEADS) * n_bytes, head * n_bytes
    decays, pace = memory + field(layer, DECAYS_AT) + at, lanes.splat(load_f32(field(layer, TIME_SCALE) + 4 * head))
    query, key, bias = queries + at, memory + at, field(layer, TIME_BIAS) + at
    for i in range(0, n_bytes, VECTOR):
        time = softplus(lanes.add(load_f32x16(times + at + i), load_f32x16(bias + i)))
        decay = lanes.exp(lanes.mul(time, pace))
        store_f32x16(decays + i, decay)
        store_f32x16(query + i, lanes.mul(load_f32x16(query + i), decay))
        store_f32x16(query + all_bytes + i, lanes.mul(load_f32x16(key + i), decay))


@kernel
def prepare(step, batch, first, last, thread):
    """Queries, keys and values of each token: convolved, activated, scaled to a length; and the gates of its heads."""
    rows, stride, layer = field(step, PREPARED_ROWS), field(step, PREPARED_STRIDE), field(step, PREPARED_LAYER)
    key_heads, value_heads, dim = field(layer, KEY_HEADS), field(layer, VALUE_HEADS), field(layer, STATE_DIM)
    pos, eps, one = field(batch, POS), load_f32(layer + 8 * NORM_EPS), np.float32(1.0)
    shortened = one / np.sqrt(np.float32(dim))
    for t in range(first, last):
        row = rows + t * stride
        queries = field(step, QUERIES) + t * field(step, QUERIES_STRIDE)
        memory = memory_row(batch, layer, field(step, MEMORY), field(step, MEMORY_STRIDE), t)
        for head in range(2 * key_heads + value_heads):
            out = queries + 4 * head * dim
            if head >= key_heads:
                out = memory + 4 * (head - key_heads) * dim
            convolve(layer, pos, rows, stride, t, head * dim, dim, out)
            activate(out, dim)
            if head < key_heads:
                _scale_to_length(out, dim, eps, shortened)
            elif head < 2 * key_heads:
                _scale_to_length(out, dim, eps, one)
        if field(batch, N_TOKENS) <= FEW_TOKENS:
            keep_input(layer, pos + t, row)
        group = field(step, GATE_GROUP)
        for head in range(value_heads):
            at = row + head // group * field(step, GATE_GROUP_BYTES) + 4 * (head % group)
            beta = np.float64(load_f32(at + field(step, BETA_AT)))
            store_f32(_gate(layer, memory, head, BETA), np.float32(1.0 / (1.0 + np.exp(-beta))))
            key_at = 4 * _key_head(layer, head) * dim
            store_f32(_gate(layer, memory, head, MATCH), _product(queries + key_at, memory + key_at, dim))
            if field(layer, DECAYS_AT):
                _decay_each(layer, memory, queries, head, row + field(step, ALPHA_AT))
                continue
            time = np.float64(load_f32(at + field(step, ALPHA_AT)) + load_f32(field(layer, TIME_BIAS) + 4 * head))
            if time < LINEAR_FROM:
                time = np.log(1.0 + np.exp(time))
            decay = np.exp(time * np.float64(load_f32(field(layer, TIME_SCALE) + 4 * head)))
            store_f32(_gate(layer, memory, head, DECAY), np.float32(decay))


@inner
def _read(state, key, query, n, sums):
    """What LANES columns of a state say for a key and for a query: two vectors, to sums."""
    said, answer = lanes.splat(np.float32(0.0)), lanes.splat(np.float32(0.0))
    for i in range(n):
        s = load_f32x16(state + i * VECTOR)
        said = lanes.fma(lanes.splat(load_f32(key + 4 * i)), s, said)
        answer = lanes.fma(lanes.splat(load_f32(query + 4 * i)), s, answer)
    store_f32x16(sums, said)
    store_f32x16(sums + VECTOR, answer)


@inner
def _change(state, decay, key, change, n):
    """Have LANES columns of a state decay, and add key · change to them."""
    factor, added = lanes.splat(decay), load_f32x16(change)
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), factor)
        store_f32x16(state + i * VECTOR, lanes.fma(lanes.splat(load_f32(key + 4 * i)), added, s))


@inner
def _change_and_read(state, target, decay, old_key, change, key, query, n, sums):
    """As _change, from a state to another place or the same one, and as _read of what it has become."""
    factor, added = lanes.splat(decay), load_f32x16(change)
    said, answer = lanes.splat(np.float32(0.0)), lanes.splat(np.float32(0.0))
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), factor)
        s = lanes.fma(lanes.splat(load_f32(old_key + 4 * i)), added, s)
        store_f32x16(target + i * VECTOR, s)
        said = lanes.fma(lanes.splat(load_f32(key + 4 * i)), s, said)
        answer = lanes.fma(lanes.splat(load_f32(query + 4 * i)), s, answer)
    store_f32x16(sums, said)
    store_f32x16(sums + VECTOR, answer)


@inner
def _change_rows(state, decays, key, change, n):
    """As _change, where each row has a decay of its own."""
    added = load_f32x16(change)
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), lanes.splat(load_f32(decays + 4 * i)))
        store_f32x16(state + i * VECTOR, lanes.fma(lanes.splat(load_f32(key + 4 * i)), added, s))


@inner
def _change_rows_and_read(state, target, decays, old_key, change, key, query, n, sums):
    """As _change_and_read, where each row has a decay of its own."""
    added = load_f32x16(change)
    said, answer = lanes.splat(np.float32(0.0)), lanes.splat(np.float32(0.0))
    for i in range(n):
        s = lanes.mul(load_f32x16(state + i * VECTOR), lanes.splat(load_f32(decays + 4 * i)))
        s = lanes.fma(lanes.splat(load_f32(old_key + 4 * i)), added, s)
        store_f32x16(target + i * VECTOR, s)
        said = lanes.fma(lanes.splat(load_f32(key + 4 * i)), s, said)
        answer = lanes.fma(lanes.splat(load_f32(query + 4 * i)), s, answer)
    store_f32x16(sums, said)
    store_f32x16(sums + VECTOR, answer)


@inner
def _correct(layer, state, memory, head, key_at, value_at, n):
    """Make the change that a token has brought."""
    if field(layer, DECAYS_AT):
        decays = memory + field(layer, DECAYS_AT) + 4 * head * n
        _change_rows(state, decays, memory + key_at, memory + value_at, n)
    else:
        _change(state, load_f32(_gate(layer, memory, head, DECAY)), memory + key_at, memory + value_at, n)


RUN_LAYER, RUN_QUERIES, RUN_QUERIES_STRIDE, RUN_MEMORY, RUN_MEMORY_STRIDE, ANSWERS, ANSWERS_STRIDE = range(P0, P0 + 7)
"""Parameters of run: the layer's record, rows of queries and of what tokens bring for the state, rows of answers."""


@kernel
def run(step, batch, first, last, thread):
    """Take LANES columns of values of a head through the batch. Units: value heads · STATE_DIM / LANES."""
    layer, n_tokens, pos = field(step, RUN_LAYER), field(batch, N_TOKENS), field(batch, POS)
    dim = field(layer, STATE_DIM)
    scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
    sums, elsewhere = scratch, scratch + 2 * VECTOR
    few = n_tokens <= FEW_TOKENS
    kept = pos - load_i64(field(layer, PROGRESS))
    each_decays = field(layer, DECAYS_AT)
    for unit in range(first, last):
        head, column = unit // (dim // LANES), unit % (dim // LANES) * VECTOR
        key_at = 4 * _key_head(layer, head) * dim
        value_at = 4 * (field(layer, KEY_HEADS) + head) * dim + column
        stored = field(layer, STATES) + unit * dim * VECTOR
        state, before = stored, 0
        for t in range(-kept, n_tokens):
            memory = memory_row(batch, layer, field(step, RUN_MEMORY), field(step, RUN_MEMORY_STRIDE), t)
            if t >= 0:
                query = field(step, RUN_QUERIES) + t * field(step, RUN_QUERIES_STRIDE) + key_at
                key, decay = memory + key_at, np.float32(1.0)
                if each_decays:
                    key = query + 4 * field(layer, VALUE_HEADS) * dim
                else:
                    decay = load_f32(_gate(layer, memory, head, DECAY))
                if before:
                    target = elsewhere if few and t > 0 else stored
                    old_key, altered = before + key_at, before + value_at
                    if each_decays:
                        decays = before + each_decays + 4 * head * dim
                        _change_rows_and_read(state, target, decays, old_key, altered, key, query, dim, sums)
                    else:
                        past = load_f32(_gate(layer, before, head, DECAY))
                        _change_and_read(state, target, past, old_key, altered, key, query, dim, sums)
                    state = target
                else:
                    _read(state, key, query, dim, sums)
                said = lanes.mul(load_f32x16(sums), lanes.splat(decay))
                change = lanes.sub(load_f32x16(memory + value_at), said)
                change = lanes.mul(change, lanes.splat(load_f32(_gate(layer, memory, head, BETA))))
                store_f32x16(memory + value_at, change)
                answer = lanes.mul(load_f32x16(sums + VECTOR), lanes.splat(decay))
                match = lanes.splat(load_f32(_gate(layer, memory, head, MATCH)))
                out = field(step, ANSWERS) + t * field(step, ANSWERS_STRIDE) + 4 * head * dim + column
                store_f32x16(out, lanes.fma(change, match, answer))
            elif before:
                _correct(layer, stored, before, head, key_at, value_at, dim)
            before = memory
        if not few:
            _correct(layer, stored, before, head, key_at, value_at, dim)


ANSWERED, ANSWERED_STRIDE, ANSWERED_LAYER, Z_ROWS, Z_STRIDE, Z_QUANT, Z_QUANT_STRIDE = range(P0, P0 + 7)
"""Parameters of gate_answers: rows of answers, overwritten with the results; the layer's record; rows of gates; rows
of quantised results."""


@kernel
def gate_answers(step, batch, first, last, thread):
    """Norm each head's answer, times SiLU of its gates, or their sigmoid."""
    layer = field(step, ANSWERED_LAYER)
    heads, dim, eps = field(layer, VALUE_HEADS), field(layer, STATE_DIM), load_f32(layer + 8 * NORM_EPS)
    for t in range(first, last):
        row, gates = field(step, ANSWERED) + t * field(step, ANSWERED_STRIDE), field(step, Z_ROWS)
        gates += t * field(step, Z_STRIDE)
        if field(layer, SIGMOID_GATES):
            _open_gates(gates, heads * dim)
        else:
            activate(gates, heads * dim)
        for head in range(heads):
            x = row + 4 * head * dim
            scale_to_unit(x, x, field(layer, HEAD_NORM), dim, eps)
        for at in range(0, 4 * heads * dim, VECTOR):
            store_f32x16(row + at, lanes.mul(load_f32x16(row + at), load_f32x16(gates + at)))
        quantize_row(row, field(step, Z_QUANT) + t * field(step, Z_QUANT_STRIDE), heads * dim // BLOCK)
