"""What happens to each token's row of activations between the matrix products.

Rows are padded with zeros to whole blocks of 32 columns, so every loop runs over whole vectors.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import (
    ACTIVATION_MASK,
    BIASED,
    BLOCK_BYTES,
    CENTRED,
    CLAMPED,
    GELU,
    LIMITED,
    N_OUT,
    N_TOKENS,
    NORM_PARTS_AT,
    OUTPUTS_ONLY,
    P0,
    RELU,
    SQUARED_RELU,
    WORD_BLOCK_BYTES,
)
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.words import widen_block

VECTOR = 4 * LANES
"""Bytes of one vector of floats."""


@inner
def quantize_row(x, out, n_blocks):
    """Blocks of float32 to quantised ones."""
    for block in range(n_blocks):
        lanes.quantize_block(x + block * 4 * BLOCK, out + block * BLOCK_BYTES)


@inner
def widen_row(x, out, n_blocks):
    """Blocks of float32 to words."""
    for block in range(n_blocks):
        widen_block(x + block * 4 * BLOCK, out + block * WORD_BLOCK_BYTES)


ADD_ROWS, ADD_STRIDE, ADDED, ADDED_VECTORS = range(P0, P0 + 4)
"""Parameters of add_vector: rows of float32 and their stride, what is added to each, and its length in vectors."""


@kernel
def add_vector(step, batch, first, last, thread):
    """Add the same numbers to each row."""
    for t in range(first, last):
        row = field(step, ADD_ROWS) + t * field(step, ADD_STRIDE)
        add_to_row(row, field(step, ADDED), field(step, ADDED_VECTORS))


@kernel
def multiply_vector(step, batch, first, last, thread):
    """Multiply each row by the same numbers. Parameters as add_vector's."""
    for t in range(first, last):
        row = field(step, ADD_ROWS) + t * field(step, ADD_STRIDE)
        for i in range(field(step, ADDED_VECTORS)):
            at = i * VECTOR
            store_f32x16(row + at, lanes.mul(load_f32x16(row + at), load_f32x16(field(step, ADDED) + at)))


@inner
def add_to_row(row, added, vectors):
    """Add some vectors to a row."""
    for i in range(vectors):
        at = i * VECTOR
        store_f32x16(row + at, lanes.add(load_f32x16(row + at), load_f32x16(added + at)))


SCALED_TO, SCALED_TO_STRIDE, SCALED, SCALED_STRIDE, SCALED_VECTORS, SCALED_BY = range(P0, P0 + 6)
"""Parameters of add_scaled: rows of float32, what is added to them, their length in vectors, and the factor (bits)."""


@kernel
def add_scaled(step, batch, first, last, thread):
    """Add to each row another one times a number."""
    factor = lanes.splat(load_f32(step + 8 * SCALED_BY))
    for t in range(first, last):
        row = field(step, SCALED_TO) + t * field(step, SCALED_TO_STRIDE)
        other = field(step, SCALED) + t * field(step, SCALED_STRIDE)
        for i in range(field(step, SCALED_VECTORS)):
            at = i * VECTOR
            store_f32x16(row + at, lanes.fma(factor, load_f32x16(other + at), load_f32x16(row + at)))


WORDS_FROM, WORDS_FROM_STRIDE, WORDS_TO, WORDS_TO_STRIDE, WORDS_BLOCKS = range(P0, P0 + 5)
"""Parameters of widen: rows of float32 and of words with their strides, blocks of a row."""


@kernel
def widen(step, batch, first, last, thread):
    """Each row's blocks of float32 to words."""
    for t in range(first, last):
        x = field(step, WORDS_FROM) + t * field(step, WORDS_FROM_STRIDE)
        out = field(step, WORDS_TO) + t * field(step, WORDS_TO_STRIDE)
        widen_row(x, out, field(step, WORDS_BLOCKS))


@inner
def scale_to_unit(out, x, weight, n, eps):
    """RMS norm of n float32, times weight; out may be x. Sizes in whole vectors; n is what the mean divides by.

    Source: Zhang & Sennrich 2019, section 4.
    """
    squares = lanes.splat(np.float32(0.0))
    vectors = (n + LANES - 1) // LANES
    for i in range(vectors):
        v = load_f32x16(x + i * VECTOR)
        squares = lanes.fma(v, v, squares)
    mean = lanes.total(squares) / np.float32(n)
    factor = lanes.splat(np.float32(1.0) / np.sqrt(mean + eps))
    for i in range(vectors):
        v = lanes.mul(load_f32x16(x + i * VECTOR), factor)
        store_f32x16(out + i * VECTOR, lanes.mul(v, load_f32x16(weight + i * VECTOR)))


@inner
def take_mean_away(out, x, n):
    """Numbers less the mean of all n, zeros behind them. Source: Ba et al. 2016."""
    total = lanes.splat(np.float32(0.0))
    vectors = (n + LANES - 1) // LANES
    for i in range(vectors):
        total = lanes.add(total, load_f32x16(x + i * VECTOR))
    mean = lanes.splat(lanes.total(total) / np.float32(n))
    for i in range(vectors):
        less = lanes.sub(load_f32x16(x + i * VECTOR), mean)
        store_f32x16(out + i * VECTOR, lanes.first_lanes(less, n - i * LANES, np.float32(0.0)))


@inner
def norm_row(out, x, weight, n, eps, kind):
    """What norms the residual stream, or, without a weight, a copy. Behind a CENTRED or BIASED norm's is its bias.

    kind: its flags, and at NORM_PARTS_AT the vectors of a part, if parts are normed by themselves.
    """
    if kind & CENTRED:
        take_mean_away(out, x, n)
        scale_to_unit(out, out, weight, n, eps)
        add_to_row(out, weight + 4 * BLOCK * ((n + BLOCK - 1) // BLOCK), (n + LANES - 1) // LANES)
    elif weight:
        part = LANES * (kind >> NORM_PARTS_AT) or n
        for begin in range(0, n, part):
            at = 4 * begin
            scale_to_unit(out + at, x + at, weight + at, part, eps)
        if kind & BIASED:
            add_to_row(out, weight + 4 * BLOCK * ((n + BLOCK - 1) // BLOCK), (n + LANES - 1) // LANES)
    else:
        for i in range((n + LANES - 1) // LANES):
            store_f32x16(out + i * VECTOR, load_f32x16(x + i * VECTOR))


WIDTH_MASK = OUTPUTS_ONLY - 1
"""DIM holds the width and, as the flags OUTPUTS_ONLY, CENTRED and BIASED, whether the step runs on the output positions
alone, whether the mean is taken away first, and whether there is a bias where it is not."""

PARTS, PARTS_STRIDE, PART_WEIGHTS, PART_WIDTH, PART_EPS, PART_COUNT = range(P0, P0 + 6)
"""Parameters of norm_parts: where the first part begins in row 0, the rows' stride, the weights of all parts, a part's
width (whole vectors; CENTRED as in DIM), epsilon (float32 bits), and how many parts follow each other."""


@kernel
def norm_parts(step, batch, first, last, thread):
    """Norm parts of each row by themselves, in place, each with a weight of its own."""
    width, eps = field(step, PART_WIDTH) & WIDTH_MASK, load_f32(step + 8 * PART_EPS)
    for t in range(first, last):
        row = field(step, PARTS) + t * field(step, PARTS_STRIDE)
        for i in range(field(step, PART_COUNT)):
            part, weight = row + 4 * width * i, field(step, PART_WEIGHTS) + 4 * width * i
            if field(step, PART_WIDTH) & CENTRED:
                take_mean_away(part, part, width)
            scale_to_unit(part, part, weight, width, eps)


(
    NORM_X,
    NORM_X_STRIDE,
    DELTA,
    DELTA_STRIDE,
    POST_WEIGHT,
    NORM_WEIGHT,
    DIM,
    EPS,
    OUT,
    OUT_STRIDE,
    QUANT,
    QUANT_STRIDE,
) = range(P0, P0 + 12)
"""Parameters of residual_norm: the residual stream; what to add to it first (0: nothing), and the weight of a norm of
that (0: none); the norm's weight (0: none, the sum goes on as it is); width; epsilon and, in the upper half, what the
sum is multiplied by (float32 bits each); results as float32 (0: only add) and quantised (0: none)."""


@kernel
def residual_norm(step, batch, first, last, thread):
    """Add a block's result to the residual stream, then norm it for the next block."""
    dim = field(step, DIM) & WIDTH_MASK
    eps, scale = load_f32(step + 8 * EPS), lanes.splat(load_f32(step + 8 * EPS + 4))
    skip = 0
    if field(step, DIM) & OUTPUTS_ONLY:
        skip = field(batch, N_TOKENS) - field(batch, N_OUT)
    vectors = (dim + LANES - 1) // LANES
    n_blocks = (dim + BLOCK - 1) // BLOCK
    for t in range(first, last):
        x = field(step, NORM_X) + (t + skip) * field(step, NORM_X_STRIDE)
        if field(step, DELTA):
            delta = field(step, DELTA) + (t + skip) * field(step, DELTA_STRIDE)
            if field(step, POST_WEIGHT):
                scale_to_unit(delta, delta, field(step, POST_WEIGHT), dim, eps)
            for i in range(vectors):
                at = i * VECTOR
                total = lanes.add(load_f32x16(x + at), load_f32x16(delta + at))
                store_f32x16(x + at, lanes.mul(total, scale))
        if field(step, OUT):
            out = field(step, OUT) + t * field(step, OUT_STRIDE)
            norm_row(out, x, field(step, NORM_WEIGHT), dim, eps, field(step, DIM))
            if field(step, QUANT):
                quantize_row(out, field(step, QUANT) + t * field(step, QUANT_STRIDE), n_blocks)


GATE_UP, GATE_UP_STRIDE, UP_AT, HIDDEN, H_OUT, H_STRIDE, H_QUANT, H_QUANT_STRIDE, ACTIVATION = range(P0, P0 + 9)
"""Parameters of gate: gate and up side by side (UP_AT: floats from one to the other, 0: no up), width, results,
activation."""

_GELU_SLOPE, _GELU_CUBIC = np.float32(1.5957691216057308), np.float32(0.044715)
"""2·sqrt(2 / pi), and the cubic term's share: gelu(x) = x · sigmoid(slope · (x + cubic · x³))."""

_CLAMPED_SLOPE, _LIMIT = np.float32(1.702), np.float32(7.0)
"""Of CLAMPED: its slope, and what its gate may be at most and up in size."""


@inner
def gate_row(gate, up, out, width, activation, bound):
    """activation(gate) * up of one row, or without up (0); out is filled with zeros up to a whole vector.

    Source: Shazeer 2020 (SwiGLU, GEGLU); the GELU is the tanh form of Hendrycks & Gimpel 2016; CLAMPED is gpt-oss's
    (OpenAI 2025), SQUARED_RELU that of So et al. 2021. bound: of LIMITED.
    """
    one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    slope, cubic = lanes.splat(_GELU_SLOPE), lanes.splat(_GELU_CUBIC)
    limit = lanes.splat(_LIMIT)
    for i in range((width + LANES - 1) // LANES):
        g = load_f32x16(gate + i * VECTOR)
        u, z = load_f32x16(up + i * VECTOR) if up else one, g
        if activation == GELU:
            z = lanes.mul(lanes.mul(g, slope), lanes.fma(lanes.mul(g, g), cubic, one))
        if activation == CLAMPED:
            g = lanes.minimum(g, limit)
            z = lanes.mul(g, lanes.splat(_CLAMPED_SLOPE))
            u = lanes.add(lanes.maximum(lanes.minimum(u, limit), lanes.sub(zero, limit)), one)
        if activation == LIMITED:
            most = lanes.splat(bound)
            g = z = lanes.minimum(g, most)
            u = lanes.maximum(lanes.minimum(u, most), lanes.sub(zero, most))
        active = lanes.div(g, lanes.add(one, lanes.exp(lanes.sub(zero, z))))
        if activation == SQUARED_RELU:
            active = lanes.mul(lanes.maximum(g, zero), lanes.maximum(g, zero))
        if activation == RELU:
            active = lanes.maximum(g, zero)
        v = lanes.mul(active, u)
        store_f32x16(out + i * VECTOR, lanes.first_lanes(v, width - i * LANES, np.float32(0.0)))


@kernel
def gate(step, batch, first, last, thread):
    """The gated unit of each token's feed-forward layer."""
    width, activation = field(step, HIDDEN), field(step, ACTIVATION) & ACTIVATION_MASK
    bound = load_f32(step + 8 * ACTIVATION + 4)
    for t in range(first, last):
        row = field(step, GATE_UP) + t * field(step, GATE_UP_STRIDE)
        out = field(step, H_OUT) + t * field(step, H_STRIDE)
        up = row + 4 * field(step, UP_AT) if field(step, UP_AT) else 0
        gate_row(row, up, out, width, activation, bound)
        if field(step, H_QUANT):
            quantize_row(out, field(step, H_QUANT) + t * field(step, H_QUANT_STRIDE), (width + BLOCK - 1) // BLOCK)
