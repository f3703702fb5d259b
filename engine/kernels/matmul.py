"""Matrix products with weights in panels: one token, a few (guesses) or many (prompts), same sums in the same order.

Source of the layout: the interleaved rows of llama.cpp's repacked Q4_0, widened to 16 rows and to every type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import cpu
from engine.kernels.block_products import (
    PANELS_TOGETHER,
    TOKENS_TOGETHER,
    Together,
    add_block,
    load_sums,
    store_sums,
    zero_sums,
)
from engine.kernels.emit import F32, I32, I64, Emit
from engine.kernels.formats import QuantFormat, panel_format, tile_of
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_i64, store_f32
from engine.kernels.number_formats import LINE, PAIRS, FloatFormat, PanelFormat, Words
from engine.kernels.records import (
    FEW_TOKENS,
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
    SCRATCH,
    SCRATCH_BYTES,
    TOKENS,
    X_BLOCK_BYTES,
)
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES, TILE_BLOCKS

AHEAD = 8192
"""How far ahead of the block in work weights are fetched, in bytes."""


@emitted(lambda fmt, panel, block, tile, index: types.void(fmt, types.int64, types.int64, types.int64, types.int64))
def unpack_block(
    e: Emit, args: Any, _fmt: ir.Value, panel: ir.Value, block: ir.Value, tile: ir.Value, index: ir.Value
) -> None:
    """Write a block of a panel to place `index` of a tile: see tile_of."""
    fmt: PanelFormat = args[0].value
    at = tile_of(fmt).address(e, tile, index)
    if isinstance(fmt, QuantFormat):
        _unpack_quants(e, fmt, panel, block, at)
    elif isinstance(fmt, Words):
        for pair in range(PAIRS):
            e.store(fmt.pair(e, panel, block, pair), at, pair * 64)
        e.store(fmt.scale(e, panel, block), at, PAIRS * 64)
    else:
        _unpack_columns(e, fmt, panel, block, at)


@emitted(lambda fmt, panel, block, tile: types.void(fmt, types.int64, types.int64, types.int64))
def unpack_weights(e: Emit, args: Any, _fmt: ir.Value, panel: ir.Value, block: ir.Value, tile: ir.Value) -> None:
    """Write a block to a tile so that `tile_weight` can tell each weight: as a tile of quants, or as float columns."""
    fmt: PanelFormat = args[0].value
    if isinstance(fmt, QuantFormat):
        _unpack_quants(e, fmt, panel, block, tile)
    else:
        _unpack_columns(e, fmt, panel, block, tile)


def _unpack_columns(e: Emit, fmt: PanelFormat, panel: ir.Value, block: ir.Value, at: ir.Value) -> None:
    assert isinstance(fmt, FloatFormat)
    for column in range(BLOCK):
        e.store(fmt.column(e, panel, block, column), at, column * LANES * 4)


def _unpack_quants(e: Emit, fmt: QuantFormat, panel: ir.Value, block: ir.Value, at: ir.Value) -> None:
    for group in range(fmt.groups):
        for step, weights in fmt.quants(e, panel, block, group):
            e.store(weights, at, step * 64)
        for i, scale in enumerate(fmt.scales(e, panel, block, group)):
            if scale is not None:
                e.store(scale, at, 512 + (group * (1 + fmt.has_min) + i) * 64)


@emitted(lambda fmt, panel, block: types.void(fmt, types.int64, types.int64))
def fetch_ahead(e: Emit, args: Any, _fmt: ir.Value, panel: ir.Value, block: ir.Value) -> None:
    """Ask for the weights of a later block, where that pays."""
    if cpu.fetches_by_order():
        fmt: PanelFormat = args[0].value
        at = fmt.address(e, panel, block)
        for line in range(0, fmt.block_bytes, LINE):
            e.prefetch(at, AHEAD + line, Emit.SECOND_CACHE)


WEIGHTS, N_BLOCKS, PANEL_BYTES, X, X_STRIDE, Y, Y_STRIDE, ON_OUTPUTS = P0, P1, P2, P3, P4, P5, P6, P7
"""A matrix product's parameters: panels, blocks of a row, bytes of a panel, activations and their row stride, outputs
and theirs (bytes), and whether it runs on the output positions alone."""


@inner
def multiply_one(fmt, one, panel, panel_bytes, n_blocks, x, y, first, last):
    """Panels first to last times one token's activations: LANES float32 outputs a panel."""
    for p in range(first, last):
        at = panel + p * panel_bytes
        sums = zero_sums(one)
        for block in range(n_blocks):
            fetch_ahead(fmt, at, block)
            sums = add_block(fmt, sums, at, block, block, x, 0)
        store_sums(sums, y + p * 4 * LANES, 0)


@inner
def multiply_few(fmt, count, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last):
    """Panels first to last times a few tokens' activations, so many as go together at once."""
    for p in range(first, last):
        at = weights + p * panel_bytes
        sums = zero_sums(count)
        for block in range(n_blocks):
            fetch_ahead(fmt, at, block)
            sums = add_block(fmt, sums, at, block, block, x, x_stride)
        store_sums(sums, y + p * 4 * LANES, y_stride)


@inner
def multiply_many(
    fmt, tiled, few, pair, count, panels, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, tile
):
    """Panels first to last times n tokens' activations. Columns go by tiles, so that a tile serves every token.

    `pair`: `panels` panels together, as long as there are so many; then `few`: one. Both take `count` tokens at a time.
    """
    columns = TILE_BLOCKS // panels
    paired = first + (last - first) // panels * panels
    for start in range(0, n_blocks, columns):
        blocks = min(columns, n_blocks - start)
        for p in range(first, paired, panels):
            at = weights + p * panel_bytes
            multiply_tile(
                fmt, tiled, pair, panels, count, at, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
            )
        for p in range(paired, last):
            at = weights + p * panel_bytes
            multiply_tile(
                fmt, tiled, few, 1, count, at, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
            )


@inner
def multiply_tile(
    fmt, tiled, together, panels, count, weights, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
):
    """Some blocks, from `start` on, of panels from p on, unpacked once for all tokens."""
    for i in range(panels):
        for block in range(blocks):
            unpack_block(fmt, weights + i * panel_bytes, start + block, tile, panels * block + i)
    for t in range(0, n, count):
        row = x + t * x_stride + start * x_block_size(fmt)
        out = y + t * y_stride + p * 4 * LANES
        sums = zero_sums(together)
        if start > 0:
            sums = load_sums(together, out, y_stride)
        for block in range(blocks):
            sums = add_block(tiled, sums, tile, panels * block, block, row, x_stride)
        store_sums(sums, out, y_stride)


@emitted(lambda fmt: types.int64(fmt))
def x_block_size(e: Emit, args: Any, _fmt: ir.Value) -> ir.Value:
    """Bytes of a block of activations, as this format wants them."""
    return I64(X_BLOCK_BYTES[args[0].value.reads])


def matmul(name: str) -> Any:
    """The matrix product for weights of a GGUF type."""
    fmt = panel_format(name)
    tiled = tile_of(fmt)
    count, panels = TOKENS_TOGETHER, PANELS_TOGETHER
    one, few, most, pair = Together(1), Together(count), Together(FEW_TOKENS), Together(count, panels)

    @kernel
    def product(step, batch, first, last, thread):
        n = field(batch, N_OUT) if field(step, ON_OUTPUTS) else field(batch, N_TOKENS)
        weights, panel_bytes, n_blocks = field(step, WEIGHTS), field(step, PANEL_BYTES), field(step, N_BLOCKS)
        x, x_stride, y, y_stride = field(step, X), field(step, X_STRIDE), field(step, Y), field(step, Y_STRIDE)
        if n == 1:
            multiply_one(fmt, one, weights, panel_bytes, n_blocks, x, y, first, last)
        elif n <= count:
            multiply_few(fmt, few, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last)
        elif n <= FEW_TOKENS:
            multiply_few(fmt, most, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last)
        else:
            tile = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
            multiply_many(
                fmt, tiled, few, pair, count, panels, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n,
                first, last, tile,
            )  # fmt: skip

    return product


EMBED_WEIGHTS, EMBED_BLOCKS, EMBED_PANEL_BYTES, EMBED_X, EMBED_STRIDE, EMBED_SCALE = P0, P1, P2, P3, P4, P5


@emitted(lambda fmt, tile, lane, column: types.float32(fmt, types.int64, types.int64, types.int64))
def tile_weight(e: Emit, args: Any, _fmt: ir.Value, tile: ir.Value, lane: ir.Value, column: ir.Value) -> ir.Value:
    """One weight of an unpacked block as float32."""
    fmt: PanelFormat = args[0].value
    if not isinstance(fmt, QuantFormat):
        place = e.b.add(e.b.mul(column, I64(LANES)), lane)
        return e.load(tile, F32, e.b.mul(place, I64(4)))
    b = e.b
    byte = b.add(b.mul(b.lshr(column, I64(2)), I64(64)), b.add(b.mul(lane, I64(4)), b.and_(column, I64(3))))
    quant = b.sub(b.zext(e.load(tile, ir.IntType(8), byte), I32), I32(fmt.offset))
    group = b.lshr(column, I64(4)) if fmt.groups == 2 else I64(0)
    scale = b.add(I64(512), b.add(b.mul(group, I64(64 * (1 + fmt.has_min))), b.mul(lane, I64(4))))
    weight = b.fmul(b.sitofp(quant, F32), e.load(tile, F32, scale))
    return b.fadd(weight, e.load(tile, F32, b.add(scale, I64(64)))) if fmt.has_min else weight


def embed(name: str) -> Any:
    """Token embeddings: a row of a panelled matrix per token, as float32, times a factor."""
    fmt = panel_format(name)

    @kernel
    def embedding(step, batch, first, last, thread):
        tile = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        scale = load_f32(step + 8 * EMBED_SCALE)
        for t in range(first, last):
            token = load_i64(field(batch, TOKENS) + 8 * t)
            panel = field(step, EMBED_WEIGHTS) + token // LANES * field(step, EMBED_PANEL_BYTES)
            out = field(step, EMBED_X) + t * field(step, EMBED_STRIDE)
            for block in range(field(step, EMBED_BLOCKS)):
                unpack_weights(fmt, panel, block, tile)
                for column in range(BLOCK):
                    value = tile_weight(fmt, tile, token % LANES, column)
                    store_f32(out + 4 * (block * BLOCK + column), value * scale)

    return embedding
