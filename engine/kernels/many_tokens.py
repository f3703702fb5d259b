"""The matrix product for many tokens: weights are unpacked to tiles, so that a tile serves every token."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import amx, cpu
from engine.kernels.block_products import (
    PANELS_TOGETHER,
    TOKENS_TOGETHER,
    Together,
    add_block,
    claim_outputs,
    load_sums,
    store_sums,
    zero_sums,
)
from engine.kernels.emit import I64, U8X64, Emit, splat_constant
from engine.kernels.formats import QuantFormat, tile_of
from engine.kernels.jit import inner
from engine.kernels.memory import fetch
from engine.kernels.number_formats import LINE, PAIRS, FloatFormat, PanelFormat, Words
from engine.kernels.records import X_BLOCK_BYTES
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES, TILE_BLOCKS
from engine.kernels.unpacking import address, float_column, quant_bytes, quant_scales, word_pair, word_scale


@emitted(
    lambda fmt, tiled, panel, block, tile, index: types.void(
        fmt, tiled, types.int64, types.int64, types.int64, types.int64
    )
)
def unpack_block(
    e: Emit,
    args: Any,
    _fmt: ir.Value,
    _tiled: ir.Value,
    panel: ir.Value,
    block: ir.Value,
    tile: ir.Value,
    index: ir.Value,
) -> None:
    """Write a block of a panel to place `index` of a tile, in the tile's format."""
    fmt: PanelFormat = args[0].value
    tiled: PanelFormat = args[1].value
    at = address(tiled, e, tile, index)
    if isinstance(fmt, QuantFormat):
        assert isinstance(tiled, QuantFormat)
        _unpack_quants(e, fmt, panel, block, at, fmt.offset - tiled.offset)
    elif isinstance(fmt, Words):
        for pair in range(PAIRS):
            e.store(word_pair(fmt, e, panel, block, pair), at, pair * 64)
        e.store(word_scale(fmt, e, panel, block), at, PAIRS * 64)
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
        e.store(float_column(fmt, e, panel, block, column), at, column * LANES * 4)


def _unpack_quants(e: Emit, fmt: QuantFormat, panel: ir.Value, block: ir.Value, at: ir.Value, less: int = 0) -> None:
    for group in range(fmt.groups):
        for step, weights in quant_bytes(fmt, e, panel, block, group):
            e.store(e.b.sub(weights, splat_constant(U8X64, less)) if less else weights, at, step * 64)
        for i, scale in enumerate(quant_scales(fmt, e, panel, block, group)):
            if scale is not None:
                e.store(scale, at, 512 + (group * (1 + fmt.has_min) + i) * 64)


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
                fmt, tiled, pair, panels, count, at, panel_bytes, n_blocks, start, blocks,
                x, x_stride, y, y_stride, n, p, tile,
            )  # fmt: skip
        for p in range(paired, last):
            at = weights + p * panel_bytes
            multiply_tile(
                fmt, tiled, few, 1, count, at, panel_bytes, n_blocks, start, blocks,
                x, x_stride, y, y_stride, n, p, tile,
            )  # fmt: skip


@inner
def multiply_tile(
    fmt, tiled, together, panels, count, weights, panel_bytes, n_blocks, start, blocks,
    x, x_stride, y, y_stride, n, p, tile,
):  # fmt: skip
    """Some blocks, from `start` on, of panels from p on, unpacked once for all tokens.

    With every few tokens, a share of the same blocks in the panels behind is fetched: unpacking would wait for all.
    """
    for i in range(panels):
        for block in range(blocks):
            unpack_block(fmt, tiled, weights + i * panel_bytes, start + block, tile, panels * block + i)
    block_bytes = panel_bytes // n_blocks
    behind = weights + panels * panel_bytes + start * block_bytes
    share = (blocks * block_bytes // LINE * count // n + 1) * LINE
    for t in range(0, n, count):
        row = x + t * x_stride + start * x_block_size(fmt)
        out = y + t * y_stride + p * 4 * LANES
        for i in range(panels):
            fetch(behind + i * panel_bytes, share)
        behind += share
        claim_outputs(together, out + count * y_stride, y_stride)
        sums = zero_sums(together)
        if start > 0:
            sums = load_sums(together, out, y_stride)
        for block in range(blocks):
            sums = add_block(tiled, sums, tile, panels * block, block, row, x_stride)
        store_sums(sums, out, y_stride)


@inner
def multiply_many_on_amx(fmt, tiled, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch):
    """The same with 16 tokens together, on the matrix unit."""
    amx.begin(tiled, scratch)
    tile, products = scratch + amx.TILE_AT, scratch + amx.PRODUCTS_AT
    parts = (n_blocks + amx.BLOCKS - 1) // amx.BLOCKS
    columns = (n_blocks + parts - 1) // parts
    for start in range(0, n_blocks, columns):
        blocks = min(columns, n_blocks - start)
        for p in range(first, last):
            for block in range(blocks):
                unpack_block(fmt, tiled, weights + p * panel_bytes, start + block, tile, block)
            for t in range(0, n, amx.TOKENS):
                row = x + t * x_stride + start * x_block_size(fmt)
                out = y + t * y_stride + p * 4 * LANES
                claim_outputs(amx.together, out, y_stride)
                sums = zero_sums(amx.together)
                if start > 0:
                    sums = load_sums(amx.together, out, y_stride)
                store_sums(amx.multiply_rows(tiled, tile, blocks, products, row, x_stride, sums), out, y_stride)
    amx.end()


@emitted(lambda fmt: types.int64(fmt))
def x_block_size(e: Emit, args: Any, _fmt: ir.Value) -> ir.Value:
    """Bytes of a block of activations, as this format wants them."""
    return I64(X_BLOCK_BYTES[args[0].value.reads])


def panels_together(fmt: PanelFormat) -> int:
    """How many panels go together with some tokens.

    Two share what is loaded of the activations. With 16 registers of 256 bits, sums then spill: that is worth it, but
    for minima, for dot products that need no registers of their own, and for 8 bits, whose signs need more (Q4_1: 108
    instead of 59 products a nanosecond with AVX2 alone, Q4_0 150 instead of 110 with AVX-VNNI; Q8_0 a twentieth more).
    """
    few_registers = not cpu.has_avx512_dot()
    alone = cpu.has_avx_vnni() or cpu.has_neon_dot()
    crowded = isinstance(fmt, QuantFormat) and (fmt.has_min or fmt.bits == 8 or alone)
    return 1 if few_registers and crowded else PANELS_TOGETHER


def for_many_tokens(fmt: PanelFormat) -> Any:
    """The product of this format for more than a few tokens, in the way that suits the processor.

    The function is called as that of `matmul.multiplier`.
    """
    if cpu.has_amx() and isinstance(fmt, QuantFormat):
        signed = amx.signed_tile_of(fmt)

        @inner
        def on_amx(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch):
            multiply_many_on_amx(
                fmt, signed, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch
            )

        return on_amx
    tiled, count, panels = tile_of(fmt), TOKENS_TOGETHER, panels_together(fmt)
    few, pair = Together(count), Together(count, panels)

    @inner
    def in_vectors(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch):
        multiply_many(
            fmt, tiled, few, pair, count, panels, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n,
            first, last, scratch,
        )  # fmt: skip

    return in_vectors
