"""A feed-forward layer of experts: each token goes through a few of many, chosen by a router.

Tokens are gathered by expert, so that an expert's weights are read once for all of its tokens: every (token, choice)
pair has a row, and an expert's rows lie together, from a multiple of TOKEN_PAD on. Products are those of the matmul
module, so a token's result does not depend on which others are in the batch.

Source: Shazeer et al. 2017; the router's normalised softmax is Mixtral's (Jiang et al. 2024).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.kernels import lanes
from engine.kernels.formats import panel_format
from engine.kernels.jit import inner, kernel
from engine.kernels.matmul import multiplier
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32, store_f32x16, store_i64
from engine.kernels.records import ACTIVATION_MASK, N_TOKENS, P0, SCRATCH, SCRATCH_BYTES
from engine.kernels.routing import (
    CHOICE_FIELDS,
    CHOICES,
    CHOICES_STRIDE,
    EXPERT,
    GROUP_COUNT,
    GROUP_EXPERT,
    GROUP_FIELDS,
    GROUP_ROW,
    GROUPS,
    N_EXPERTS,
    N_USED,
    ROW,
    SHARE,
)
from engine.kernels.rows import VECTOR, add_to_row, gate_row, quantize_row, widen_row
from engine.kernels.sizes import BLOCK, TOKEN_PAD

_NEVER = np.float32(-np.inf)


@inner
def _choice(routing, t, i):
    """Where choice i of token t lies."""
    return field(routing, CHOICES) + t * field(routing, CHOICES_STRIDE) + 8 * CHOICE_FIELDS * i


LOGITS, LOGITS_STRIDE, PROBABILITIES, SCORES, SCORES_STRIDE, CHOICE_BIAS, SCORED_EXPERTS, IS_SIGMOID = range(P0, P0 + 8)
EXPERT_GROUPS, USED_GROUPS = range(P0 + 8, P0 + 10)
"""Parameters of score_experts: the router's results and their stride; where probabilities go and by what experts are
chosen, both with one stride; what is added for the choice (0: nothing); how many experts; whether probabilities are
sigmoids, else the softmax; in how many groups experts are and from how many they may come."""


@kernel
def score_experts(step, batch, first, last, thread):
    """Each expert's probability, and the score by which it is chosen."""
    n = field(step, SCORED_EXPERTS)
    for t in range(first, last):
        logits = field(step, LOGITS) + t * field(step, LOGITS_STRIDE)
        probabilities = field(step, PROBABILITIES) + t * field(step, SCORES_STRIDE)
        scores = field(step, SCORES) + t * field(step, SCORES_STRIDE)
        if field(step, IS_SIGMOID):
            _sigmoids(logits, probabilities, n)
        else:
            _softmax(logits, probabilities, n)
        for at in range(0, 4 * n, VECTOR):
            score = load_f32x16(probabilities + at)
            if field(step, CHOICE_BIAS):
                score = lanes.add(score, load_f32x16(field(step, CHOICE_BIAS) + at))
            store_f32x16(scores + at, score)
        if field(step, EXPERT_GROUPS) > 1:
            _leave_groups(scores, n // field(step, EXPERT_GROUPS), field(step, EXPERT_GROUPS), field(step, USED_GROUPS))


@inner
def _sigmoids(logits, out, n):
    one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(out + at, lanes.div(one, lanes.add(one, lanes.exp(lanes.sub(zero, load_f32x16(logits + at))))))


@inner
def _softmax(logits, out, n):
    top = _NEVER
    for expert in range(n):
        top = max(top, load_f32(logits + 4 * expert))
    total = lanes.splat(np.float32(0.0))
    for at in range(0, 4 * n, VECTOR):
        weights = lanes.exp(lanes.sub(load_f32x16(logits + at), lanes.splat(top)))
        weights = lanes.first_lanes(weights, n - at // 4, np.float32(0.0))
        total = lanes.add(total, weights)
        store_f32x16(out + at, weights)
    whole = lanes.splat(lanes.total(total))
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(out + at, lanes.div(load_f32x16(out + at), whole))


@inner
def _leave_groups(scores, size, n_groups, n_used):
    """Take the experts of all groups out but the n_used whose two best have the largest sum."""
    for _ in range(n_groups - n_used):
        found, least = 0, -_NEVER
        for group in range(n_groups):
            together = _two_best(scores + 4 * size * group, size)
            if _NEVER < together <= least:
                found, least = group, together
        for expert in range(found * size, (found + 1) * size):
            store_f32(scores + 4 * expert, _NEVER)


@inner
def _two_best(scores, size):
    """The sum of the two largest."""
    best, second = _NEVER, _NEVER
    for i in range(size):
        v = load_f32(scores + 4 * i)
        if v > best:
            best, second = v, best
        elif v > second:
            second = v
    return best + second


CHOICE_SCORES, CHOICE_STRIDE, ROUTING, SHARES_FROM, IS_NORMED, SHARE_SCALE, SCALES = range(P0, P0 + 7)
"""Parameters of choose_experts: by what they are chosen (overwritten) and its stride, the routing record; probabilities
with the same stride, of which shares are made (0: the softmax over those chosen, scores being the router's results);
whether they add up to one; what they are multiplied by (float32 bits), and by a number of each expert (0: nothing)."""

_LEAST_SUM = np.float32(2.0**-14)
"""What probabilities are divided by at least."""


@kernel
def choose_experts(step, batch, first, last, thread):
    """Each token's experts, the ones with the largest scores, and their shares."""
    routing, probabilities = field(step, ROUTING), field(step, SHARES_FROM)
    n_used, stride = field(routing, N_USED), field(step, CHOICE_STRIDE)
    scale = load_f32(step + 8 * SHARE_SCALE)
    for t in range(first, last):
        scores = field(step, CHOICE_SCORES) + t * stride
        top, total = np.float32(0.0), np.float32(0.0)
        for i in range(n_used):
            choice = _choice(routing, t, i)
            best = _take_largest(scores, field(routing, N_EXPERTS), choice)
            if i == 0:
                top = best
            if probabilities:
                weight = load_f32(probabilities + t * stride + 4 * field(choice, EXPERT))
            else:
                weight = lanes.largest(lanes.exp(lanes.splat(best - top)))
            total += weight
            store_f32(choice + 8 * SHARE, weight)
        if probabilities:
            total = max(total, _LEAST_SUM) if field(step, IS_NORMED) else np.float32(1.0)
        for i in range(n_used):
            choice = _choice(routing, t, i)
            share = load_f32(choice + 8 * SHARE) / total * scale
            if field(step, SCALES):
                share *= load_f32(field(step, SCALES) + 4 * field(choice, EXPERT))
            store_f32(choice + 8 * SHARE, share)


@inner
def _take_largest(logits, n_experts, choice):
    """Write the largest logit's expert to a choice and take the logit out; returns the logit."""
    found, best = 0, _NEVER
    for expert in range(n_experts):
        v = load_f32(logits + 4 * expert)
        if v > best:
            found, best = expert, v
    store_i64(choice + 8 * EXPERT, found)
    store_f32(logits + 4 * found, _NEVER)
    return best


GROUP_ROUTING = P0
"""Parameter of group_tokens: the routing record."""


@kernel
def group_tokens(step, batch, first, last, thread):
    """Give every choice its row, and list the experts that have any. One unit of work."""
    routing = field(step, GROUP_ROUTING)
    n_experts, n_used, n = field(routing, N_EXPERTS), field(routing, N_USED), field(batch, N_TOKENS)
    groups = field(routing, GROUPS)
    next_row = groups + 8 * (1 + GROUP_FIELDS * n_experts)
    for expert in range(n_experts):
        store_i64(next_row + 8 * expert, 0)
    for t in range(n):
        for i in range(n_used):
            count = next_row + 8 * field(_choice(routing, t, i), EXPERT)
            store_i64(count, field(count, 0) + 1)
    row, n_groups = 0, 0
    for expert in range(n_experts):
        count = field(next_row, expert)
        store_i64(next_row + 8 * expert, row)
        if count:
            group = groups + 8 * (1 + GROUP_FIELDS * n_groups)
            store_i64(group + 8 * GROUP_EXPERT, expert)
            store_i64(group + 8 * GROUP_ROW, row)
            store_i64(group + 8 * GROUP_COUNT, count)
            n_groups += 1
            row += (count + TOKEN_PAD - 1) // TOKEN_PAD * TOKEN_PAD
    store_i64(groups, n_groups)
    for t in range(n):
        for i in range(n_used):
            choice = _choice(routing, t, i)
            taken = next_row + 8 * field(choice, EXPERT)
            store_i64(choice + 8 * ROW, field(taken, 0))
            store_i64(taken, field(taken, 0) + 1)


GATHER_FROM, GATHER_TO, GATHER_STRIDE, GATHER_ROUTING = range(P0, P0 + 4)
"""Parameters of gather_rows: rows of tokens, rows of pairs, the stride of both (whole vectors), the routing record."""


@kernel
def gather_rows(step, batch, first, last, thread):
    """Copy each token's row to the rows of its pairs."""
    stride, routing = field(step, GATHER_STRIDE), field(step, GATHER_ROUTING)
    for t in range(first, last):
        source = field(step, GATHER_FROM) + t * stride
        for i in range(field(routing, N_USED)):
            target = field(step, GATHER_TO) + field(_choice(routing, t, i), ROW) * stride
            for at in range(0, stride, VECTOR):
                store_f32x16(target + at, load_f32x16(source + at))


WEIGHTS, N_BLOCKS, PANEL_BYTES, X, X_STRIDE, Y, Y_STRIDE, EXPERT_PANELS, PRODUCT_ROUTING = range(P0, P0 + 9)
"""Parameters of expert_product: as those of a matrix product, the panels of one expert, the routing record."""


def expert_product(name: str) -> Any:
    """The products of every group's rows with its expert's weights, of a GGUF type. Units: panels of one expert."""
    multiply = multiplier(panel_format(name))

    @kernel
    def product(step, batch, first, last, thread):
        panel_bytes, n_blocks = field(step, PANEL_BYTES), field(step, N_BLOCKS)
        x_stride, y_stride = field(step, X_STRIDE), field(step, Y_STRIDE)
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        groups = field(field(step, PRODUCT_ROUTING), GROUPS)
        for g in range(field(groups, 0)):
            group = groups + 8 * (1 + GROUP_FIELDS * g)
            weights = field(step, WEIGHTS) + field(group, GROUP_EXPERT) * field(step, EXPERT_PANELS) * panel_bytes
            n, row = field(group, GROUP_COUNT), field(group, GROUP_ROW)
            x, y = field(step, X) + row * x_stride, field(step, Y) + row * y_stride
            multiply(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch)

    return product


BIASED_ROWS, BIASED_STRIDE, BIASES, BIAS_VECTORS, BIAS_ROUTING = range(P0, P0 + 5)
"""Parameters of add_biases: rows of pairs and their stride, each expert's numbers (one after the other) and how many
vectors they are, the routing record."""


@kernel
def add_biases(step, batch, first, last, thread):
    """Add to each pair's row what its expert adds."""
    routing, vectors = field(step, BIAS_ROUTING), field(step, BIAS_VECTORS)
    for t in range(first, last):
        for i in range(field(routing, N_USED)):
            choice = _choice(routing, t, i)
            row = field(step, BIASED_ROWS) + field(choice, ROW) * field(step, BIASED_STRIDE)
            add_to_row(row, field(step, BIASES) + field(choice, EXPERT) * vectors * VECTOR, vectors)


WEIGHED_ROWS, WEIGHED_STRIDE, WEIGHED_VECTORS, WEIGHED_ROUTING = range(P0, P0 + 4)
"""Parameters of weigh_pairs: rows of pairs and their stride, their length in vectors, the routing record."""


@kernel
def weigh_pairs(step, batch, first, last, thread):
    """Multiply each pair's row by its share, which is 1 afterwards."""
    routing = field(step, WEIGHED_ROUTING)
    for t in range(first, last):
        for i in range(field(routing, N_USED)):
            choice = _choice(routing, t, i)
            row = field(step, WEIGHED_ROWS) + field(choice, ROW) * field(step, WEIGHED_STRIDE)
            share = lanes.splat(load_f32(choice + 8 * SHARE))
            for at in range(0, VECTOR * field(step, WEIGHED_VECTORS), VECTOR):
                store_f32x16(row + at, lanes.mul(load_f32x16(row + at), share))
            store_f32(choice + 8 * SHARE, np.float32(1.0))


(
    PAIR_GATE_UP,
    PAIR_STRIDE,
    PAIR_UP_AT,
    PAIR_HIDDEN,
    PAIR_H,
    PAIR_H_STRIDE,
    PAIR_QUANT,
    PAIR_QUANT_STRIDE,
) = range(P0, P0 + 8)
PAIR_ACTIVATION, PAIR_ROUTING = range(P0 + 8, P0 + 10)
"""Parameters of gate_pairs: as those of rows.gate, and the routing record."""


@kernel
def gate_pairs(step, batch, first, last, thread):
    """The gated unit of each pair's row."""
    width, routing = field(step, PAIR_HIDDEN), field(step, PAIR_ROUTING)
    activation, bound = field(step, PAIR_ACTIVATION) & ACTIVATION_MASK, load_f32(step + 8 * PAIR_ACTIVATION + 4)
    for t in range(first, last):
        for i in range(field(routing, N_USED)):
            row = field(_choice(routing, t, i), ROW)
            both = field(step, PAIR_GATE_UP) + row * field(step, PAIR_STRIDE)
            out = field(step, PAIR_H) + row * field(step, PAIR_H_STRIDE)
            up = both + 4 * field(step, PAIR_UP_AT) if field(step, PAIR_UP_AT) else 0
            gate_row(both, up, out, width, activation, bound)
            quant = field(step, PAIR_QUANT) + row * field(step, PAIR_QUANT_STRIDE)
            quantize_row(out, quant, (width + BLOCK - 1) // BLOCK)


PAIR_FLOATS, PAIR_FLOATS_STRIDE, PAIR_WORDS, PAIR_WORDS_STRIDE, PAIR_BLOCKS, WIDEN_ROUTING = range(P0, P0 + 6)
"""Parameters of widen_pairs: as those of rows.widen, and the routing record."""


@kernel
def widen_pairs(step, batch, first, last, thread):
    """Each pair's row as words."""
    routing = field(step, WIDEN_ROUTING)
    for t in range(first, last):
        for i in range(field(routing, N_USED)):
            row = field(_choice(routing, t, i), ROW)
            x = field(step, PAIR_FLOATS) + row * field(step, PAIR_FLOATS_STRIDE)
            words = field(step, PAIR_WORDS) + row * field(step, PAIR_WORDS_STRIDE)
            widen_row(x, words, field(step, PAIR_BLOCKS))


(
    SUM_FROM,
    SUM_FROM_STRIDE,
    SUM_TO,
    SUM_TO_STRIDE,
    SUM_WIDTH,
    SUM_ROUTING,
    SUM_BESIDE,
    SUM_GATES,
    SUM_GATES_STRIDE,
) = range(P0, P0 + 9)
"""Parameters of sum_pairs: rows of pairs, rows of tokens, their width, the routing record; whether rows of tokens hold
what the sums are added to, and a number for each row, its sigmoid being what that is multiplied by (0: nothing)."""


@kernel
def sum_pairs(step, batch, first, last, thread):
    """Each token's results, times their shares, added in the order of its choices."""
    routing, beside = field(step, SUM_ROUTING), field(step, SUM_BESIDE)
    for t in range(first, last):
        out = field(step, SUM_TO) + t * field(step, SUM_TO_STRIDE)
        gate = np.float32(1.0)
        if field(step, SUM_GATES):
            logit = load_f32(field(step, SUM_GATES) + t * field(step, SUM_GATES_STRIDE))
            gate = gate / (gate + lanes.largest(lanes.exp(lanes.splat(-logit))))
        for at in range(0, 4 * field(step, SUM_WIDTH), VECTOR):
            total = lanes.splat(np.float32(0.0))
            if beside:
                total = lanes.mul(load_f32x16(out + at), lanes.splat(gate))
            for i in range(field(routing, N_USED)):
                choice = _choice(routing, t, i)
                row = field(step, SUM_FROM) + field(choice, ROW) * field(step, SUM_FROM_STRIDE)
                total = lanes.fma(load_f32x16(row + at), lanes.splat(load_f32(choice + 8 * SHARE)), total)
            store_f32x16(out + at, total)
