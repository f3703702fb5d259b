"""How keys and values lie in the cache, as words or bytes, and how one is stored.

Each layer's heads have theirs in ranges of RANGE positions, one after the other as attention reads them: a stream that
the processor fetches ahead of itself. A range is panels of keys, panels of values, scales of values. Keys are panels of
LANES positions, as if each position were a row of a matrix, with their scales inside. Values are panels of LANES
dimensions. Panels that are read together lie together: cache lines of two panels in turn (but for keys in bytes: one
panel after the other). Attention multiplies its weights by the scales of values: with words, a position's exponent, a
byte; with bytes, (blocks, RANGE) in half precision, as 32 dimensions share one in GGUF's Q8_0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from engine.kernels import lanes
from engine.kernels.emit import I1, I64, Emit
from engine.kernels.formats import STEPS
from engine.kernels.jit import StaticType, inner
from engine.kernels.kv_types import STEP_BYTES
from engine.kernels.memory import (
    field,
    load_f32,
    load_f32x16,
    load_i32,
    store_f16,
    store_f32x16,
    store_i32,
)
from engine.kernels.number_formats import LINE
from engine.kernels.records import (
    CACHE,
    CAPACITY,
    HEAD_DIM,
    HEAD_PAD,
    KEY_PAIR_BYTES,
    KV_HEADS,
    RANGE_BYTES,
    SCALE_AT,
    SCALES_AT,
    VALUE_DIM,
    VALUES_AT,
)
from engine.kernels.rows import VECTOR, quantize_row, widen_row
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES, RANGE
from engine.kernels.words import larger_size, store_column, store_exponent, store_row, word_exponent


@emitted(lambda kv: types.boolean(kv))
def holds_words(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Whether the cache holds words; known when the kernel is compiled."""
    return I1(int(args[0].value.words))


@emitted(lambda kv: StaticType(kv.value.keys)(kv))
def key_format(e: Emit, args: Any, _kv: ir.Value) -> None:
    """The format of panels of keys."""


@emitted(lambda kv: StaticType(kv.value.paired_values)(kv))
def paired_format(e: Emit, args: Any, _kv: ir.Value) -> None:
    """The format of values in two panels whose lines lie in turn."""


@emitted(lambda kv: StaticType(kv.value.single_values)(kv))
def single_format(e: Emit, args: Any, _kv: ir.Value) -> None:
    """The format of values in a last panel by itself."""


@emitted(lambda kv: types.int64(kv))
def key_block_bytes(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Bytes of a block of a panel of keys."""
    return I64(args[0].value.keys.block_bytes)


@emitted(lambda kv: types.int64(kv))
def value_bytes(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Bytes of LANES values of one position."""
    return I64(args[0].value.value_bytes)


@inner
def head_range(shape, layer, head, pos):
    """Where the range begins that holds one head's position pos in a layer's cache."""
    index = (layer * field(shape, KV_HEADS) + head) * (field(shape, CAPACITY) // RANGE) + pos // RANGE
    return field(shape, CACHE) + index * field(shape, RANGE_BYTES)


@inner
def key_panel(kv, shape, begin, panel):
    """Where a panel of keys begins in a range; that of the next one of a pair: keys_apart further."""
    return begin + panel // 2 * field(shape, KEY_PAIR_BYTES) + panel % 2 * keys_apart(kv, shape)


@inner
def keys_apart(kv, shape):
    """How far a pair's panels of keys lie from each other."""
    return LINE if holds_words(kv) else field(shape, KEY_PAIR_BYTES) // 2


@inner
def value_panel(kv, shape, begin, panel):
    """Where a panel of values begins in a range."""
    return begin + field(shape, VALUES_AT) + panel // 2 * 2 * RANGE * value_bytes(kv) + panel % 2 * LINE


@inner
def value_panels(shape):
    """Panels of LANES dimensions of a head's values."""
    return (field(shape, VALUE_DIM) + LANES - 1) // LANES


@inner
def value_pad(shape):
    """The width of a value, padded to whole blocks."""
    return (field(shape, VALUE_DIM) + BLOCK - 1) // BLOCK * BLOCK


@inner
def _copy_padded(x, out, dim, pad, scale):
    """A head's numbers times scale, then zeros up to whole blocks."""
    factor = lanes.splat(scale)
    for i in range(pad // LANES):
        v = lanes.mul(load_f32x16(x + i * VECTOR), factor)
        store_f32x16(out + i * VECTOR, lanes.first_lanes(v, dim - i * LANES, np.float32(0.0)))


@inner
def store_query(kv, x, out, dim, pad, scale, scratch):
    """One head's query, times scale, to a query row."""
    _copy_padded(x, scratch, dim, pad, scale)
    if holds_words(kv):
        widen_row(scratch, out, pad // BLOCK)
    else:
        quantize_row(scratch, out, pad // BLOCK)


@inner
def store_key(kv, k, shape, layer, head, pos, scratch):
    """One position's key to its lane of a panel."""
    dim, pad, lane = field(shape, HEAD_DIM), field(shape, HEAD_PAD), pos % LANES
    panel = key_panel(kv, shape, head_range(shape, layer, head, pos), pos % RANGE // LANES)
    _copy_padded(k, scratch, dim, pad, np.float32(1.0))
    for block in range(pad // BLOCK):
        if holds_words(kv):
            store_row(key_format(kv), scratch + block * 4 * BLOCK, panel, block, lane)
        else:
            quants = scratch + 4 * pad
            lanes.quantize_block(scratch + block * 4 * BLOCK, quants)
            out = panel + block * key_block_bytes(kv)
            store_f16(out + 2 * lane, load_f32(quants + SCALE_AT))
            for step in range(STEPS):
                four = load_i32(quants + 4 * step) ^ np.int32(-0x7F7F7F80)
                store_i32(out + 2 * LANES + step * STEP_BYTES + 4 * lane, np.int32(four))


@inner
def store_value(kv, v, shape, layer, head, pos, scratch):
    """One position's value to its place in every panel."""
    dim, pad = field(shape, VALUE_DIM), value_pad(shape)
    _copy_padded(v, scratch, dim, pad, np.float32(1.0))
    begin = head_range(shape, layer, head, pos)
    if holds_words(kv):
        _store_words(kv, shape, begin, pos % RANGE, scratch)
    else:
        _store_bytes(kv, shape, begin, pos % RANGE, scratch, scratch + 4 * pad)


@inner
def _value_line(kv, shape, begin, panel, pos):
    """Where the cache line of a panel begins that has position pos of a range."""
    alone = panel % 2 == 0 and panel + 1 == value_panels(shape)
    pitch = LINE if alone else 2 * LINE
    return value_panel(kv, shape, begin, panel) + pos * value_bytes(kv) // LINE * pitch


@inner
def _store_words(kv, shape, begin, pos, numbers):
    """One position's padded value as words."""
    sizes = lanes.splat(np.float32(0.0))
    for i in range(value_pad(shape) // LANES):
        sizes = larger_size(load_f32x16(numbers + i * VECTOR), sizes)
    exponent = word_exponent(sizes)
    store_exponent(exponent, begin + field(shape, SCALES_AT) + pos)
    for panel in range(value_panels(shape)):
        store_column(numbers + panel * VECTOR, exponent, _value_line(kv, shape, begin, panel, pos) + pos % 2 * 2)


@inner
def _store_bytes(kv, shape, begin, pos, numbers, quants):
    """One position's padded value as bytes; quants: room for a block of them."""
    for panel in range(value_panels(shape)):
        if panel % 2 == 0:
            lanes.quantize_block(numbers + panel * VECTOR, quants)
            scale = begin + field(shape, SCALES_AT) + (panel // 2 * RANGE + pos) * 2
            store_f16(scale, load_f32(quants + SCALE_AT))
        at = _value_line(kv, shape, begin, panel, pos) + pos * value_bytes(kv) % LINE
        for i in range(0, LANES, 4):
            store_i32(at + i, load_i32(quants + panel % 2 * LANES + i))
