"""Gates for what attention gives, which come out of the same product as its queries.

Source: Qwen3-Next (2025); those that are no shares, poolside's Laguna (2026).
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import P0
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.sizes import BLOCK


@inner
def _copy(source, target, n):
    """Copy n numbers, in whole vectors, from the first on."""
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(target + at, load_f32x16(source + at))


SPLIT_ROWS, SPLIT_STRIDE, GATES_TO, GATES_TO_STRIDE, SPLIT_HEADS, SPLIT_DIM, SPLIT_REST = range(P0, P0 + 7)
"""Parameters of split_gates: the product's rows, rows of gates, heads, their width, and what follows them."""


@kernel
def split_gates(step, batch, first, last, thread):
    """Take the gates out of each row, in which every head's are behind its query, and close the gaps."""
    heads, dim = field(step, SPLIT_HEADS), field(step, SPLIT_DIM)
    for t in range(first, last):
        row = field(step, SPLIT_ROWS) + t * field(step, SPLIT_STRIDE)
        gates = field(step, GATES_TO) + t * field(step, GATES_TO_STRIDE)
        for head in range(heads):
            query = row + 4 * 2 * head * dim
            _copy(query + 4 * dim, gates + 4 * head * dim, dim)
            _copy(query, row + 4 * head * dim, dim)
        _copy(row + 4 * 2 * heads * dim, row + 4 * heads * dim, field(step, SPLIT_REST))


@inner
def _softplus(x, beta):
    """ln(1 + exp(beta · x)) / beta of each lane.

    The logarithm of 1 + y, y being at most 1, is twice the area hyperbolic tangent of y / (2 + y), at most a third:
    seven terms of its series leave less than half of a float32's last bit.
    """
    zero, z = lanes.splat(np.float32(0.0)), lanes.mul(x, lanes.splat(beta))
    above = lanes.maximum(z, zero)
    y = lanes.exp(lanes.sub(z, lanes.add(above, above)))
    s = lanes.div(y, lanes.add(y, lanes.splat(np.float32(2.0))))
    square = lanes.mul(s, s)
    series = lanes.splat(np.float32(2.0 / 15.0))
    for odd in (13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = lanes.fma(series, square, lanes.splat(np.float32(2.0) / np.float32(odd)))
    return lanes.div(lanes.fma(series, s, above), lanes.splat(beta))


@inner
def _gated(row, gate, beta):
    """A vector of results by its gates: times their softplus with this beta, or their sigmoids where it is 0."""
    if beta > 0.0:
        store_f32x16(row, lanes.mul(load_f32x16(row), _softplus(gate, beta)))
    else:
        one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
        share = lanes.add(one, lanes.exp(lanes.sub(zero, gate)))
        store_f32x16(row, lanes.div(load_f32x16(row), share))


GATES, GATES_STRIDE, GATED, GATED_STRIDE, GATED_QUANT, GATED_QUANT_STRIDE = range(P0, P0 + 6)
GATED_HEADS, GATED_DIM, GATED_BY_ONE, GATED_BETA = range(P0 + 6, P0 + 10)
"""Parameters of gate_heads: rows of gates, of attention's results, of those quantised; heads and their width; whether
each has one gate; the beta of their softplus (float32 bits), 0 for sigmoids."""


@kernel
def gate_heads(step, batch, first, last, thread):
    """Attention's results times what becomes of their gates."""
    heads, dim, beta = field(step, GATED_HEADS), field(step, GATED_DIM), load_f32(step + 8 * GATED_BETA)
    for t in range(first, last):
        gates = field(step, GATES) + t * field(step, GATES_STRIDE)
        row = field(step, GATED) + t * field(step, GATED_STRIDE)
        if field(step, GATED_BY_ONE):
            for head in range(heads):
                gate = lanes.splat(load_f32(gates + 4 * head))
                for at in range(4 * head * dim, 4 * (head + 1) * dim, VECTOR):
                    _gated(row + at, gate, beta)
        else:
            for at in range(0, 4 * heads * dim, VECTOR):
                _gated(row + at, load_f32x16(gates + at), beta)
        quant = field(step, GATED_QUANT) + t * field(step, GATED_QUANT_STRIDE)
        quantize_row(row, quant, (heads * dim + BLOCK - 1) // BLOCK)
