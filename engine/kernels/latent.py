"""Keys and values of all heads as one latent vector, which the cache keeps in their place.

A position's key is its latent vector, then what is turned; its value is the latent vector. A query has been multiplied
by its head's keys before it gets here, so that it reads the latent vector itself.

Source: DeepSeek-V2 (2024), multi-head latent attention, with the matrices of keys and values taken out of the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.kernels.cache_layout import store_key, store_query, store_value
from engine.kernels.jit import inner, kernel
from engine.kernels.kv_types import kv_type
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import (
    HALF_APART,
    HEAD_DIM,
    HEAD_PAD,
    HEADS,
    P0,
    POS,
    Q_ROW_BYTES,
    Q_SCALE,
    ROTARY_PAIRS,
    SCRATCH,
    SCRATCH_BYTES,
    VALUE_DIM,
)
from engine.kernels.rotary import rotate
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.sizes import BLOCK

QUANTIZED, QUANTIZED_STRIDE, QUANTS, QUANTS_STRIDE, QUANTIZED_BLOCKS = range(P0, P0 + 5)
"""Parameters of quantize_rows: rows of float32 and of quantised blocks with their strides, blocks of a row."""


@kernel
def quantize_rows(step, batch, first, last, thread):
    """Each row's blocks of float32 to quantised ones."""
    for t in range(first, last):
        row = field(step, QUANTIZED) + t * field(step, QUANTIZED_STRIDE)
        quantize_row(row, field(step, QUANTS) + t * field(step, QUANTS_STRIDE), field(step, QUANTIZED_BLOCKS))


@inner
def _copy(source, target, n):
    """Copy n numbers, in whole vectors."""
    for at in range(0, 4 * n, VECTOR):
        store_f32x16(target + at, load_f32x16(source + at))


(
    SPLIT,
    SPLIT_STRIDE,
    PLAIN,
    PLAIN_STRIDE,
    PLAIN_QUANTS,
    PLAIN_QUANTS_STRIDE,
    TURNED,
    TURNED_STRIDE,
    SPLIT_HEADS,
    PLAIN_DIM,
    TURNED_DIM,
    TURNED_AT,
) = range(P0, P0 + 12)
"""Parameters of split_queries: rows of queries; rows of their plain parts, as float32 and quantised; rows of queries
for the cache; heads, the width of a head's plain part (whole blocks) and of the one that is turned, and where the
latter begins in a query for the cache."""


@kernel
def split_queries(step, batch, first, last, thread):
    """Put the plain parts of each row's queries side by side, and what is turned where it goes to the cache from.

    Where that is no whole number of vectors, what follows it is to be written afterwards.
    """
    heads, plain_dim, turned_dim = field(step, SPLIT_HEADS), field(step, PLAIN_DIM), field(step, TURNED_DIM)
    at = field(step, TURNED_AT)
    for t in range(first, last):
        row = field(step, SPLIT) + t * field(step, SPLIT_STRIDE)
        plain = field(step, PLAIN) + t * field(step, PLAIN_STRIDE)
        turned = field(step, TURNED) + t * field(step, TURNED_STRIDE) + 4 * at
        for h in range(heads):
            query = row + 4 * h * (plain_dim + turned_dim)
            _copy(query, plain + 4 * h * plain_dim, plain_dim)
            _copy(query + 4 * plain_dim, turned + 4 * h * (at + turned_dim), turned_dim)
        quants = field(step, PLAIN_QUANTS) + t * field(step, PLAIN_QUANTS_STRIDE)
        quantize_row(plain, quants, heads * plain_dim // BLOCK)


LATENT, LATENT_STRIDE, QUERIES, QUERIES_STRIDE, ROTARY, SHAPE, LAYER, Q_ROWS, Q_GROWTH, Q_GROWTH_SPAN = range(
    P0, P0 + 10
)
"""Parameters of rotate_and_store: rows of latent vectors, each followed by what is turned; rows of queries, of each
head likewise; the rotary table; the shape record; the layer in its cache; query rows; by how much queries grow with
the logarithm of their position (float32 bits), counted in such spans."""


def rotate_and_store(kv_name: str) -> Any:
    """The step for a cache of that type."""
    kv = kv_type(kv_name)

    @kernel
    def rotate_store(step, batch, first, last, thread):
        """Turn the ends of queries and keys by their position; queries go to rows, the rest to the cache."""
        shape, layer = field(step, SHAPE), field(step, LAYER)
        heads, dim, pad, rank = (
            field(shape, HEADS),
            field(shape, HEAD_DIM),
            field(shape, HEAD_PAD),
            field(shape, VALUE_DIM),
        )
        pairs, apart = field(shape, ROTARY_PAIRS), field(shape, HALF_APART)
        scale, growth = load_f32(shape + 8 * Q_SCALE), load_f32(step + 8 * Q_GROWTH)
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        for t in range(first, last):
            latent = field(step, LATENT) + t * field(step, LATENT_STRIDE)
            table = field(step, ROTARY) + t * pairs * 8
            pos = field(batch, POS) + t
            larger = np.float32(1.0 + growth * np.log(1.0 + pos // field(step, Q_GROWTH_SPAN)))
            for h in range(heads):
                query = field(step, QUERIES) + t * field(step, QUERIES_STRIDE) + 4 * h * dim
                rotate(query + 4 * rank, table, pairs, apart)
                out = field(step, Q_ROWS) + (t * heads + h) * field(shape, Q_ROW_BYTES)
                store_query(kv, query, out, dim, pad, scale * larger, scratch)
            rotate(latent + 4 * rank, table, pairs, apart)
            store_value(kv, latent, shape, layer, 0, pos, scratch)
            store_key(kv, latent, shape, layer, 0, pos, scratch)

    return rotate_store
