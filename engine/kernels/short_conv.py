"""A short causal convolution over positions, channel by channel, and the gated layer that LFM2 makes of it.

A layer's latest inputs are kept in a ring of rows (see recurrence.py), so that a text can go on from any position
that the ring still reaches back from. Sums go from the oldest position to the newest, whatever the batch.

Source: Liquid AI's LFM2 (2025).
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32x16, store_f32x16
from engine.kernels.records import FEW_TOKENS, N_TOKENS, P0, POS
from engine.kernels.recurrence import (
    CHANNELS,
    FACTOR_AT,
    HISTORY,
    HISTORY_ROWS,
    HISTORY_STRIDE,
    SOURCE_AT,
    TAP_WEIGHTS,
    TAPS,
)
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.sizes import BLOCK, LANES


@inner
def _history_row(layer, pos):
    """Where the input of a position lies; those before the first one are zeros."""
    n_rows = field(layer, HISTORY_ROWS)
    return field(layer, HISTORY) + (pos + n_rows) % n_rows * field(layer, HISTORY_STRIDE)


@inner
def _add_tap(out, weight, source, factor, vectors):
    """Add source · weight to out, or source · factor · weight if there is a factor (0: none)."""
    if factor:
        for at in range(0, vectors * VECTOR, VECTOR):
            v = lanes.mul(load_f32x16(source + at), load_f32x16(factor + at))
            store_f32x16(out + at, lanes.fma(v, load_f32x16(weight + at), load_f32x16(out + at)))
    else:
        for at in range(0, vectors * VECTOR, VECTOR):
            v = load_f32x16(source + at)
            store_f32x16(out + at, lanes.fma(v, load_f32x16(weight + at), load_f32x16(out + at)))


@inner
def convolve(layer, pos, rows, stride, t, channel, n, out):
    """Put n channels' sums of a token into out. pos: of the batch's first token, t: the token's index in it."""
    zero = lanes.splat(np.float32(0.0))
    taps, channels = field(layer, TAPS), field(layer, CHANNELS)
    vectors = n // LANES
    for at in range(0, vectors * VECTOR, VECTOR):
        store_f32x16(out + at, zero)
    for tap in range(taps):
        weight = field(layer, TAP_WEIGHTS) + 4 * (tap * channels + channel)
        earlier = t - (taps - 1) + tap
        if earlier < 0:
            _add_tap(out, weight, _history_row(layer, pos + earlier) + 4 * channel, 0, vectors)
        else:
            row, factor = rows + earlier * stride, 0
            if field(layer, FACTOR_AT) >= 0:
                factor = row + field(layer, FACTOR_AT) + 4 * channel
            _add_tap(out, weight, row + field(layer, SOURCE_AT) + 4 * channel, factor, vectors)


@inner
def keep_input(layer, pos, row):
    """Keep the convolution's input at a position."""
    out = _history_row(layer, pos)
    for at in range(0, 4 * field(layer, CHANNELS), VECTOR):
        v = load_f32x16(row + field(layer, SOURCE_AT) + at)
        if field(layer, FACTOR_AT) >= 0:
            v = lanes.mul(v, load_f32x16(row + field(layer, FACTOR_AT) + at))
        store_f32x16(out + at, v)


KEPT_ROWS, KEPT_STRIDE, KEPT_LAYER = range(P0, P0 + 3)
"""Parameters of keep_inputs: the products' rows and their stride, the layer's record."""


@kernel
def keep_inputs(step, batch, first, last, thread):
    """Keep the last inputs of a batch of many tokens, when no token needs earlier ones any more. One unit of work.

    Those of a few tokens are kept at once: they leave the rows alone that the others read.
    """
    n, layer = field(batch, N_TOKENS), field(step, KEPT_LAYER)
    if n > FEW_TOKENS:
        for t in range(max(0, n - (field(layer, TAPS) - 1)), n):
            keep_input(layer, field(batch, POS) + t, field(step, KEPT_ROWS) + t * field(step, KEPT_STRIDE))


(
    CONV_ROWS,
    CONV_STRIDE,
    CONV_LAYER,
    GATE_AT,
    CONV_OUT,
    CONV_OUT_STRIDE,
    CONV_QUANT,
    CONV_QUANT_STRIDE,
) = range(P0, P0 + 8)
"""Parameters of gated_convolution: the products' rows, the layer's record, the byte of a row at which what the sums
are multiplied by begins, and where results go."""


@kernel
def gated_convolution(step, batch, first, last, thread):
    """The convolution's sums of each token, times their gates."""
    rows, stride, layer = field(step, CONV_ROWS), field(step, CONV_STRIDE), field(step, CONV_LAYER)
    pos, channels = field(batch, POS), field(layer, CHANNELS)
    for t in range(first, last):
        row = rows + t * stride
        out = field(step, CONV_OUT) + t * field(step, CONV_OUT_STRIDE)
        convolve(layer, pos, rows, stride, t, 0, channels, out)
        if field(batch, N_TOKENS) <= FEW_TOKENS:
            keep_input(layer, pos + t, row)
        for at in range(0, 4 * channels, VECTOR):
            gated = lanes.mul(load_f32x16(out + at), load_f32x16(row + field(step, GATE_AT) + at))
            store_f32x16(out + at, gated)
        quantize_row(out, field(step, CONV_QUANT) + t * field(step, CONV_QUANT_STRIDE), channels // BLOCK)
