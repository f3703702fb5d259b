"""Soft caps: numbers kept within ±cap by a tanh, in attention scores and in logits."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import N_OUT, P0
from engine.kernels.rows import VECTOR


@inner
def soften(x, vectors, cap):
    """Replace x by cap · tanh(x / cap), whole vectors of it. Source: Gemma 2 report (2024), section 2."""
    limit, twice = lanes.splat(cap), lanes.splat(np.float32(2.0) / cap)
    one, two = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(2.0))
    for i in range(vectors):
        power = lanes.exp(lanes.mul(load_f32x16(x + i * VECTOR), twice))
        tanh = lanes.sub(one, lanes.div(two, lanes.add(power, one)))
        store_f32x16(x + i * VECTOR, lanes.mul(tanh, limit))


LOGITS, LOGITS_STRIDE, CAP = range(P0, P0 + 3)
"""Parameters of cap_logits: rows of logits and their stride (bytes), the cap (float32 bits)."""


@kernel
def cap_logits(step, batch, first, last, thread):
    """Units: vectors of the vocabulary. Soften the logits of every output position, as far as they are finite.

    The tanh makes a number of anything; what is not finite has to be seen where a token is chosen.
    """
    cap = load_f32(step + 8 * CAP)
    for t in range(field(batch, N_OUT)):
        row = field(step, LOGITS) + t * field(step, LOGITS_STRIDE)
        for i in range(first, last):
            place = row + i * VECTOR
            before = load_f32x16(place)
            soften(place, 1, cap)
            nothing_or_nan = lanes.sub(before, before)
            store_f32x16(place, lanes.add(load_f32x16(place), nothing_or_nan))
