"""Products by head: each head's part of a row times a matrix of its own, the matrices one below the other."""

from __future__ import annotations

from typing import Any

from engine.kernels.formats import panel_format
from engine.kernels.jit import kernel
from engine.kernels.matmul import multiplier
from engine.kernels.memory import field
from engine.kernels.records import N_TOKENS, P0, SCRATCH, SCRATCH_BYTES

WEIGHTS, N_BLOCKS, PANEL_BYTES, X, X_STRIDE, Y, Y_STRIDE, HEAD_PANELS, X_HEAD, Y_HEAD = range(P0, P0 + 10)
"""Parameters of head_product: as those of a matrix product, the panels of one head, and the bytes from one head's part
of the activations to the next one's, and of the results."""


def head_product(name: str) -> Any:
    """The products of every head with its weights, of a GGUF type. Units: panels of all heads."""
    multiply = multiplier(panel_format(name))

    @kernel
    def product(step, batch, first, last, thread):
        panel_bytes, n_blocks, panels = field(step, PANEL_BYTES), field(step, N_BLOCKS), field(step, HEAD_PANELS)
        x_stride, y_stride, n = field(step, X_STRIDE), field(step, Y_STRIDE), field(batch, N_TOKENS)
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        for head in range(first // panels, (last + panels - 1) // panels):
            weights = field(step, WEIGHTS) + head * panels * panel_bytes
            x, y = field(step, X) + head * field(step, X_HEAD), field(step, Y) + head * field(step, Y_HEAD)
            begin, end = max(0, first - head * panels), min(panels, last - head * panels)
            multiply(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, begin, end, scratch)

    return product
