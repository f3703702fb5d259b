"""The activation of Apertus, which each layer has with numbers of its own. Source: Huang & Schlag 2024 (xIELU)."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import P0
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.sizes import BLOCK, LANES

UP, UP_STRIDE, UP_WIDTH, UP_OUT, UP_OUT_STRIDE, UP_QUANT, UP_QUANT_STRIDE, ABOVE, BELOW = range(P0, P0 + 9)
"""Parameters of activate: rows and their width, results as float32 and quantised. As float32 bits, what the
square counts above 0 and, in the upper half, the slope at 0; what the exponential counts below 0."""


@inner
def xielu_row(x, out, width, squared, slope, exponential):
    """For x > 0 squared · x² + slope · x, else exponential · (e^x - 1 - x) + slope · x."""
    zero, one = lanes.splat(np.float32(0.0)), lanes.splat(np.float32(1.0))
    for i in range((width + LANES - 1) // LANES):
        v = load_f32x16(x + i * VECTOR)
        above, below = lanes.maximum(v, zero), lanes.minimum(v, zero)
        curved = lanes.sub(lanes.sub(lanes.exp(below), one), below)
        total = lanes.mul(v, lanes.splat(slope))
        total = lanes.fma(lanes.mul(above, above), lanes.splat(squared), total)
        total = lanes.fma(curved, lanes.splat(exponential), total)
        store_f32x16(out + i * VECTOR, lanes.first_lanes(total, width - i * LANES, np.float32(0.0)))


@kernel
def activate(step, batch, first, last, thread):
    """The activation of each token's row."""
    width = field(step, UP_WIDTH)
    squared, slope = load_f32(step + 8 * ABOVE), load_f32(step + 8 * ABOVE + 4)
    exponential = load_f32(step + 8 * BELOW)
    for t in range(first, last):
        x = field(step, UP) + t * field(step, UP_STRIDE)
        out = field(step, UP_OUT) + t * field(step, UP_OUT_STRIDE)
        xielu_row(x, out, width, squared, slope, exponential)
        if field(step, UP_QUANT):
            quantize_row(out, field(step, UP_QUANT) + t * field(step, UP_QUANT_STRIDE), (width + BLOCK - 1) // BLOCK)
