"""Gates for what attention gives, which come out of the same product as its queries. Source: Qwen3-Next (2025)."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32x16, store_f32x16
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


GATES, GATES_STRIDE, GATED, GATED_STRIDE, GATED_QUANT, GATED_QUANT_STRIDE, GATED_WIDTH = range(P0, P0 + 7)
"""Parameters of gate_heads: rows of gates, of attention's results, of those quantised; their width."""


@kernel
def gate_heads(step, batch, first, last, thread):
    """Attention's results times the sigmoids of their gates."""
    width, one, zero = field(step, GATED_WIDTH), lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    for t in range(first, last):
        gates = field(step, GATES) + t * field(step, GATES_STRIDE)
        row = field(step, GATED) + t * field(step, GATED_STRIDE)
        for at in range(0, 4 * width, VECTOR):
            share = lanes.add(one, lanes.exp(lanes.sub(zero, load_f32x16(gates + at))))
            store_f32x16(row + at, lanes.div(load_f32x16(row + at), share))
        quant = field(step, GATED_QUANT) + t * field(step, GATED_QUANT_STRIDE)
        quantize_row(row, quant, (width + BLOCK - 1) // BLOCK)
