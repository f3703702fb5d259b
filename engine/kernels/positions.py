"""What some older models do to rows: a vector for each position is added, or numbers are kept within limits."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import P0, POS
from engine.kernels.rows import VECTOR, add_to_row
from engine.kernels.sizes import LANES

PLACED, PLACED_STRIDE, VECTORS_AT, PLACED_WIDTH = range(P0, P0 + 4)
"""Parameters of add_positions: rows of float32, a vector for each position, and their width (whole vectors)."""


@kernel
def add_positions(step, batch, first, last, thread):
    """Add to each token's row the vector of its position."""
    width = field(step, PLACED_WIDTH)
    for t in range(first, last):
        row = field(step, PLACED) + t * field(step, PLACED_STRIDE)
        add_to_row(row, field(step, VECTORS_AT) + 4 * width * (field(batch, POS) + t), width // LANES)


CLAMPED_ROWS, CLAMPED_STRIDE, CLAMPED_VECTORS, LIMIT = range(P0, P0 + 4)
"""Parameters of clamp: rows of float32, their length in vectors, and the limit (float32 bits)."""


@kernel
def clamp(step, batch, first, last, thread):
    """Keep each row's numbers within ±limit."""
    limit = load_f32(step + 8 * LIMIT)
    low, high = lanes.splat(np.float32(0.0) - limit), lanes.splat(limit)
    for t in range(first, last):
        row = field(step, CLAMPED_ROWS) + t * field(step, CLAMPED_STRIDE)
        for at in range(0, field(step, CLAMPED_VECTORS) * VECTOR, VECTOR):
            store_f32x16(row + at, lanes.maximum(low, lanes.minimum(high, load_f32x16(row + at))))
