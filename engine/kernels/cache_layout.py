"""How keys and values lie in the cache, in half precision or 8 bits: where a head's begin, and how one is stored.

Keys are panels of LANES positions, as if each position were a row of a matrix; values are panels of LANES dimensions,
CAPACITY positions each. With 8 bits, blocks of 32 dimensions of a position share a scale, as in GGUF's Q8_0. Keys have
it in their panels; that of values is apart, half precision (blocks, CAPACITY) per head, so that attention can multiply
its weights by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from engine.kernels import lanes
from engine.kernels.emit import I1, Emit
from engine.kernels.formats import STEPS
from engine.kernels.jit import StaticType, inner
from engine.kernels.kv_types import STEP_BYTES
from engine.kernels.memory import (
    field,
    load_f32,
    load_f32x16,
    load_i32,
    store_f16,
    store_f16x16,
    store_f32,
    store_f32x16,
    store_i32,
)
from engine.kernels.records import (
    CAPACITY,
    HEAD_DIM,
    HEAD_PAD,
    KEYS,
    KV_HEADS,
    SCALE_AT,
    VALUE_SCALES,
    VALUES,
)
from engine.kernels.rows import VECTOR, quantize_row
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES


@emitted(lambda kv: types.boolean(kv))
def is_scaled(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Whether the cache holds bytes with scales; known when the kernel is compiled."""
    return I1(int(args[0].value.scaled))


@emitted(lambda kv: StaticType(kv.value.keys)(kv))
def key_format(e: Emit, args: Any, _kv: ir.Value) -> None:
    """The format of panels of keys."""


@emitted(lambda kv: StaticType(kv.value.values)(kv))
def value_format(e: Emit, args: Any, _kv: ir.Value) -> None:
    """The format of panels of values."""


@emitted(lambda kv: types.int64(kv))
def key_block_bytes(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Bytes of a block of a panel of keys."""
    return ir.IntType(64)(args[0].value.keys.block_bytes)


@emitted(lambda kv: types.int64(kv))
def value_bytes(e: Emit, args: Any, _kv: ir.Value) -> ir.Value:
    """Bytes of LANES values of one position."""
    return ir.IntType(64)(args[0].value.value_bytes)


@inner
def head_keys(kv, shape, layer, head):
    """Where one head's keys begin in a layer's cache."""
    panel = field(shape, HEAD_PAD) // BLOCK * key_block_bytes(kv)
    index = layer * field(shape, KV_HEADS) + head
    return field(shape, KEYS) + index * (field(shape, CAPACITY) // LANES) * panel


@inner
def head_values(kv, shape, layer, head):
    """Where one head's values begin in a layer's cache."""
    panels = (field(shape, HEAD_DIM) + LANES - 1) // LANES
    index = (layer * field(shape, KV_HEADS) + head) * panels
    return field(shape, VALUES) + index * field(shape, CAPACITY) * value_bytes(kv)


@inner
def head_value_scales(shape, layer, head):
    """Where the scales of one head's values begin, if there are any."""
    index = (layer * field(shape, KV_HEADS) + head) * (field(shape, HEAD_PAD) // BLOCK)
    return field(shape, VALUE_SCALES) + index * field(shape, CAPACITY) * 2


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
    if is_scaled(kv):
        _copy_padded(x, scratch, dim, pad, scale)
        quantize_row(scratch, out, pad // BLOCK)
    else:
        for i in range(dim):
            store_f32(out + 4 * i, load_f32(x + 4 * i) * scale)


@inner
def store_key(kv, k, keys, pos, dim, pad, scratch):
    """One position's key to its lane of a panel."""
    lane = pos % LANES
    panel = keys + pos // LANES * (pad // BLOCK * key_block_bytes(kv))
    if is_scaled(kv):
        _copy_padded(k, scratch, dim, pad, np.float32(1.0))
        quants = scratch + 4 * pad
        for block in range(pad // BLOCK):
            lanes.quantize_block(scratch + block * 4 * BLOCK, quants)
            out = panel + block * key_block_bytes(kv)
            store_f16(out + 2 * lane, load_f32(quants + SCALE_AT))
            for step in range(STEPS):
                four = load_i32(quants + 4 * step) ^ np.int32(-0x7F7F7F80)
                store_i32(out + 2 * LANES + step * STEP_BYTES + 4 * lane, np.int32(four))
    else:
        for i in range(dim):
            store_f16(panel + (i * LANES + lane) * 2, load_f32(k + 4 * i))


@inner
def store_value(kv, v, shape, layer, head, pos, scratch):
    """One position's value to its place in every panel."""
    dim, pad, capacity = field(shape, HEAD_DIM), field(shape, HEAD_PAD), field(shape, CAPACITY)
    out = head_values(kv, shape, layer, head) + pos * value_bytes(kv)
    panel_bytes = capacity * value_bytes(kv)
    panels = (dim + LANES - 1) // LANES
    if is_scaled(kv):
        scales = head_value_scales(shape, layer, head) + pos * 2
        _copy_padded(v, scratch, dim, pad, np.float32(1.0))
        quants = scratch + 4 * pad
        for panel in range(panels):
            if panel % 2 == 0:
                lanes.quantize_block(scratch + panel * VECTOR, quants)
                store_f16(scales + panel // 2 * capacity * 2, load_f32(quants + SCALE_AT))
            for i in range(0, LANES, 4):
                store_i32(out + panel * panel_bytes + i, load_i32(quants + panel % 2 * LANES + i))
    else:
        whole = dim // LANES
        for i in range(whole):
            store_f16x16(out + i * panel_bytes, load_f32x16(v + i * VECTOR))
        for i in range(whole * LANES, dim):
            store_f16(out + whole * panel_bytes + (i - whole * LANES) * 2, load_f32(v + 4 * i))
