"""What happens to each token's row of activations between the matrix products.

Rows are padded with zeros to whole blocks of 32 columns, so every loop runs over whole vectors.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.formats import BLOCK
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import (
    field,
    load_f32,
    load_f32x16,
    load_f64,
    store_f16,
    store_f16x16,
    store_f32,
    store_f32x16,
)
from engine.kernels.records import (
    BLOCK_BYTES,
    N_OUT,
    N_TOKENS,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
    POS,
)
from engine.kernels.simd import LANES

VECTOR = 4 * LANES
"""Bytes of one vector of floats."""


@inner
def quantize_row(x, out, n_blocks):
    """Blocks of float32 to quantised ones."""
    for block in range(n_blocks):
        lanes.quantize_block(x + block * 4 * BLOCK, out + block * BLOCK_BYTES)


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


NORM_X, NORM_X_STRIDE, DELTA, DELTA_STRIDE, POST_WEIGHT, NORM_WEIGHT, DIM, EPS, OUT, OUT_STRIDE, QUANT, QUANT_STRIDE = (
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
)
"""Parameters of residual_norm: the residual stream; what to add to it first (0: nothing), and the weight of a norm of
that (0: none); the norm's weight (0: only add); width; epsilon (float32 bits); results as float32 and
quantised (0: none)."""

WIDTH_MASK, OUTPUTS_ONLY = (1 << 32) - 1, 1 << 32
"""DIM holds the width and, as a flag, whether the step runs on the output positions alone."""


@kernel
def residual_norm(step, batch, first, last, thread):
    """Add a block's result to the residual stream, then norm it for the next block."""
    dim = field(step, DIM) & WIDTH_MASK
    eps = load_f32(step + 8 * EPS)
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
                store_f32x16(x + i * VECTOR, lanes.add(load_f32x16(x + i * VECTOR), load_f32x16(delta + i * VECTOR)))
        if field(step, NORM_WEIGHT):
            out = field(step, OUT) + t * field(step, OUT_STRIDE)
            scale_to_unit(out, x, field(step, NORM_WEIGHT), dim, eps)
            if field(step, QUANT):
                quantize_row(out, field(step, QUANT) + t * field(step, QUANT_STRIDE), n_blocks)


GATE_UP, GATE_UP_STRIDE, UP_AT, HIDDEN, H_OUT, H_STRIDE, H_QUANT, H_QUANT_STRIDE, ACTIVATION = (
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
)
"""Parameters of gate: gate and up side by side (UP_AT: floats from one to the other), width, results, activation."""

SILU, GELU = 0, 1
"""Activations."""

_GELU_SLOPE, _GELU_CUBIC = np.float32(1.5957691216057308), np.float32(0.044715)
"""2·sqrt(2 / pi), and the cubic term's share: gelu(x) = x · sigmoid(slope · (x + cubic · x³))."""


@inner
def gate_row(gate, up, out, width, activation):
    """activation(gate) * up of one row; out is filled with zeros up to a whole vector.

    Source: Shazeer 2020 (SwiGLU, GEGLU); the GELU is the tanh form of Hendrycks & Gimpel 2016.
    """
    one, zero = lanes.splat(np.float32(1.0)), lanes.splat(np.float32(0.0))
    slope, cubic = lanes.splat(_GELU_SLOPE), lanes.splat(_GELU_CUBIC)
    for i in range((width + LANES - 1) // LANES):
        g = load_f32x16(gate + i * VECTOR)
        z = g
        if activation == GELU:
            z = lanes.mul(lanes.mul(g, slope), lanes.fma(lanes.mul(g, g), cubic, one))
        active = lanes.div(g, lanes.add(one, lanes.exp(lanes.sub(zero, z))))
        v = lanes.mul(active, load_f32x16(up + i * VECTOR))
        store_f32x16(out + i * VECTOR, lanes.first_lanes(v, width - i * LANES, np.float32(0.0)))


@kernel
def gate(step, batch, first, last, thread):
    """The gated unit of each token's feed-forward layer."""
    width, activation = field(step, HIDDEN), field(step, ACTIVATION)
    for t in range(first, last):
        row = field(step, GATE_UP) + t * field(step, GATE_UP_STRIDE)
        out = field(step, H_OUT) + t * field(step, H_STRIDE)
        gate_row(row, row + 4 * field(step, UP_AT), out, width, activation)
        if field(step, H_QUANT):
            quantize_row(out, field(step, H_QUANT) + t * field(step, H_QUANT_STRIDE), (width + BLOCK - 1) // BLOCK)


TABLE, FREQUENCIES, N_PAIRS, MAGNITUDE = P0, P1, P2, P3
"""Parameters of rotary_table: cosines and sines (pairs of float32, per token), float64 angles a position, their number,
and a factor (float32 bits)."""


@kernel
def rotary_table(step, batch, first, last, thread):
    """Cosine and sine of each token's rotary angles. Source: Su et al. 2021."""
    n = field(step, N_PAIRS)
    factor = load_f32(step + 8 * MAGNITUDE)
    for t in range(first, last):
        position = np.float64(field(batch, POS) + t)
        row = field(step, TABLE) + t * n * 8
        for i in range(n):
            angle = position * load_f64(field(step, FREQUENCIES) + 8 * i)
            store_f32(row + 8 * i, np.float32(np.cos(angle)) * factor)
            store_f32(row + 8 * i + 4, np.float32(np.sin(angle)) * factor)


QKV, QKV_STRIDE, ROTARY, SHAPE, LAYER, Q_ROWS, BIAS, Q_NORM, K_NORM, HEAD_EPS = P0, P1, P2, P3, P4, P5, P6, P7, P8, P9
"""Parameters of rotate_and_store: the product's rows; the rotary table; the shape record; the layer; query rows; the
bias of the product's rows (0: none); weights of the norms of a query head and a key head (0: none), and their epsilon
(float32 bits)."""

(
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    HEAD_PAD,
    ROTARY_PAIRS,
    HALF_APART,
    Q_HEAD_BYTES,
    Q_SCALE,
    CAPACITY,
    KEYS,
    VALUES,
    PARTIALS,
) = range(12)
"""The shape record of attention: heads; key-value heads; their width and the width padded to whole blocks; rotated
pairs, and whether a pair's parts lie half a head apart (NeoX) or side by side; bytes of a key-value head's part of the
query rows; the factor for queries (float32 bits). Then what changes when the cache grows: positions reserved, addresses
of keys, values and partial results."""

SHAPE_FIELDS = 16


@inner
def key_panels(shape, layer, head):
    """Where one head's keys begin in a layer's cache: panels of LANES positions."""
    index = layer * field(shape, KV_HEADS) + head
    return field(shape, KEYS) + index * field(shape, CAPACITY) * field(shape, HEAD_PAD) * 2


@inner
def value_panels(shape, layer, head):
    """Where one head's values begin in a layer's cache: panels of LANES dimensions, CAPACITY positions each."""
    panels = (field(shape, HEAD_DIM) + LANES - 1) // LANES
    index = (layer * field(shape, KV_HEADS) + head) * panels
    return field(shape, VALUES) + index * field(shape, CAPACITY) * LANES * 2


@inner
def rotate(x, table, pairs, half_apart):
    """Turn the first 2·pairs numbers of one head in place."""
    for i in range(pairs):
        a = x + 4 * (i if half_apart else 2 * i)
        b = a + 4 * (pairs if half_apart else 1)
        c, s = load_f32(table + 8 * i), load_f32(table + 8 * i + 4)
        u, v = load_f32(a), load_f32(b)
        store_f32(a, u * c - v * s)
        store_f32(b, u * s + v * c)


@inner
def norm_head(x, weight, dim, eps):
    """RMS norm of one head's dim numbers in place, times weight; what follows them is left alone."""
    squares = lanes.splat(np.float32(0.0))
    for i in range((dim + LANES - 1) // LANES):
        v = lanes.first_lanes(load_f32x16(x + i * VECTOR), dim - i * LANES, np.float32(0.0))
        squares = lanes.fma(v, v, squares)
    factor = np.float32(1.0) / np.sqrt(lanes.total(squares) / np.float32(dim) + eps)
    for i in range(dim):
        store_f32(x + 4 * i, load_f32(x + 4 * i) * factor * load_f32(weight + 4 * i))


@inner
def add_bias(x, bias, n):
    """Add n numbers to x, in whole vectors."""
    for i in range((n + LANES - 1) // LANES):
        store_f32x16(x + i * VECTOR, lanes.add(load_f32x16(x + i * VECTOR), load_f32x16(bias + i * VECTOR)))


@kernel
def rotate_and_store(step, batch, first, last, thread):
    """Rotate queries and keys by their position; queries go to rows by key-value head, keys and values to the cache.

    Before that, the bias is added and heads are normed where the model does so.
    """
    shape = field(step, SHAPE)
    heads, kv_heads = field(shape, HEADS), field(shape, KV_HEADS)
    dim, pad, pairs, apart = (
        field(shape, HEAD_DIM),
        field(shape, HEAD_PAD),
        field(shape, ROTARY_PAIRS),
        field(shape, HALF_APART),
    )
    group, layer = heads // kv_heads, field(step, LAYER)
    scale, eps = load_f32(shape + 8 * Q_SCALE), load_f32(step + 8 * HEAD_EPS)
    for t in range(first, last):
        row = field(step, QKV) + t * field(step, QKV_STRIDE)
        table = field(step, ROTARY) + t * pairs * 8
        pos = field(batch, POS) + t
        if field(step, BIAS):
            add_bias(row, field(step, BIAS), (heads + 2 * kv_heads) * dim)
        for h in range(heads):
            x = row + 4 * h * dim
            if field(step, Q_NORM):
                norm_head(x, field(step, Q_NORM), dim, eps)
            rotate(x, table, pairs, apart)
            out = field(step, Q_ROWS) + h // group * field(shape, Q_HEAD_BYTES) + (t * group + h % group) * pad * 4
            for i in range(dim):
                store_f32(out + 4 * i, load_f32(x + 4 * i) * scale)
        for h in range(kv_heads):
            k = row + 4 * (heads + h) * dim
            if field(step, K_NORM):
                norm_head(k, field(step, K_NORM), dim, eps)
            rotate(k, table, pairs, apart)
            panel = key_panels(shape, layer, h) + pos // LANES * pad * LANES * 2
            for i in range(dim):
                store_f16(panel + (i * LANES + pos % LANES) * 2, load_f32(k + 4 * i))
            v = row + 4 * (heads + kv_heads + h) * dim
            out = value_panels(shape, layer, h) + pos * LANES * 2
            _store_values(v, out, dim, field(shape, CAPACITY) * LANES * 2)


@inner
def _store_values(v, out, dim, panel_bytes):
    """One position's values to the value panels: whole vectors, then what is left one by one."""
    whole = dim // LANES
    for i in range(whole):
        store_f16x16(out + i * panel_bytes, load_f32x16(v + i * VECTOR))
    for i in range(whole * LANES, dim):
        store_f16(out + whole * panel_bytes + (i - whole * LANES) * 2, load_f32(v + 4 * i))
