"""What each layer gets of a token beside the residual stream: parts of a row, a part for each layer."""

from __future__ import annotations

from engine.kernels.jit import kernel
from engine.kernels.memory import field, load_f32
from engine.kernels.records import P0
from engine.kernels.rows import add_to_row, scale_to_unit
from engine.kernels.sizes import LANES

PARTS_TO, PARTS_TO_STRIDE, PARTS_FROM, PARTS_FROM_STRIDE, PARTS, PART_WIDTH, PART_WEIGHT, PART_EPS = range(P0, P0 + 8)
"""Parameters of add_normed_parts: rows and what is added to them, float32, with their strides; how many parts a row
has, and their width in whole vectors; the weight of the norm and its epsilon (float32 bits)."""


@kernel
def add_normed_parts(step, batch, first, last, thread):
    """Units: tokens. Norm each part of a row by itself, in place, and add it to the same part of another row."""
    width, weight, eps = field(step, PART_WIDTH), field(step, PART_WEIGHT), load_f32(step + 8 * PART_EPS)
    for t in range(first, last):
        to = field(step, PARTS_TO) + t * field(step, PARTS_TO_STRIDE)
        delta = field(step, PARTS_FROM) + t * field(step, PARTS_FROM_STRIDE)
        for part in range(field(step, PARTS)):
            at = 4 * part * width
            scale_to_unit(delta + at, delta + at, weight, width, eps)
            add_to_row(to + at, delta + at, width // LANES)
