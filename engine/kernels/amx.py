"""Products of many tokens on AMX, the matrix unit of Xeons since Sapphire Rapids.

Its registers hold 16 rows of up to 64 bytes. One takes 16 tokens' activations as they lie in their rows, another a
block of an unpacked panel (four columns of all 16 rows to a line, as everywhere), a third their products: 16 tokens by
16 rows of int32. Those are whole numbers, so what is made of them has the same bits as without AMX.

Registers go through memory: a block's products are stored while those of the block before are scaled and added. While
AMX is at work, only one port takes floats, so scaling is what takes the time: a block of Q4_0 takes 70 cycles, 48 of
them for that, and 140 without AMX.
Source: Intel's Architecture Instruction Set Extensions Programming Reference, chapter 3.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels.block_products import Together, add_scaled_quants
from engine.kernels.emit import I8, I32X16, I64, U8X64, Emit
from engine.kernels.formats import QuantFormat, TileFormat, tile_of
from engine.kernels.jit import inner
from engine.kernels.number_formats import LINE
from engine.kernels.records import X_BLOCK_BYTES
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES, TOKEN_PAD
from engine.kernels.unpacking import address

TOKENS = TOKEN_PAD
"""Tokens that go together: as many as a register has rows, and buffers have whole groups of."""

BLOCKS = 20
"""The most blocks of a panel that are unpacked at a time: with 16 tokens' activations they stay in the L1 cache."""

PRODUCTS_BYTES = TOKENS * LINE
"""One register of products."""

SHAPES_AT, PRODUCTS_AT, TILE_AT = 0, LINE, LINE + 2 * 2 * PRODUCTS_BYTES
"""A thread's scratch: the registers' shapes, products of two blocks (either may have two groups), unpacked blocks."""

together = Together(TOKENS)


def signed_tile_of(fmt: QuantFormat) -> TileFormat:
    """A block unpacked to signed bytes, scales behind them."""
    tile = tile_of(fmt)
    assert isinstance(tile, TileFormat)
    return TileFormat(f"signed {tile.name}", tile.block_bytes, 8, 0, tile.has_min, tile.groups)


def _registers(group: int) -> tuple[int, int, int]:
    """The registers of a group of a block: products, activations, weights."""
    return group, 2 + 2 * group, 3 + 2 * group


@emitted(lambda tiled, scratch: types.void(tiled, types.int64))
def begin(e: Emit, args: Any, _tiled: ir.Value, scratch: ir.Value) -> None:
    """Give the registers their shapes. Every `begin` needs an `end`."""
    tiled: TileFormat = args[0].value
    columns = BLOCK // tiled.groups
    shapes = bytearray(LINE)
    shapes[0] = 1  # the only palette there is
    for group in range(tiled.groups):
        rows_and_bytes = (TOKENS, LINE), (TOKENS, columns), (columns // 4, LINE)
        for register, (rows, row_bytes) in zip(_registers(group), rows_and_bytes, strict=True):
            shapes[16 + 2 * register], shapes[48 + register] = row_bytes, rows
    e.store(ir.Constant(U8X64, list(shapes)), scratch, SHAPES_AT)
    e.call("llvm.x86.ldtilecfg", ir.VoidType(), [_pointer(e, e.at(scratch, SHAPES_AT))])


@emitted(lambda: types.void())
def end(e: Emit, _args: Any) -> None:
    """Clear the registers, so that nobody has to save them."""
    e.call("llvm.x86.tilerelease", ir.VoidType(), [])


@emitted(lambda tiled, tile, products, block, x, stride: types.void(tiled, *(types.int64,) * 5))
def multiply_block(
    e: Emit,
    args: Any,
    _tiled: ir.Value,
    tile: ir.Value,
    products: ir.Value,
    block: ir.Value,
    x: ir.Value,
    stride: ir.Value,
) -> None:
    """Multiply a block of a tile with that of each token, rows `stride` bytes apart, and store the products."""
    tiled: TileFormat = args[0].value
    at, weights_at = e.at(x, e.b.mul(block, I64(X_BLOCK_BYTES[tiled.reads]))), address(tiled, e, tile, block)
    target = _products(e, tiled, products, block)
    columns = BLOCK // tiled.groups
    for group in range(tiled.groups):
        result, activations, weights = _registers(group)
        numbers = [I8(register) for register in (result, activations, weights)]
        _move(e, "tileloadd64", activations, e.at(at, group * columns), stride)
        _move(e, "tileloadd64", weights, e.at(weights_at, group * columns * LANES), I64(LINE))
        e.call("llvm.x86.tilezero", ir.VoidType(), numbers[:1])
        e.call("llvm.x86.tdpbssd", ir.VoidType(), numbers)
        _move(e, "tilestored64", result, e.at(target, group * PRODUCTS_BYTES), I64(LINE))


@emitted(lambda tiled, sums, tile, products, block, x, stride: sums(tiled, sums, *(types.int64,) * 5))
def add_products(
    e: Emit,
    args: Any,
    _tiled: ir.Value,
    sums: ir.Value,
    tile: ir.Value,
    products: ir.Value,
    block: ir.Value,
    x: ir.Value,
    stride: ir.Value,
) -> ir.Value:
    """Scale a block's products, and add them to the tokens' sums."""
    tiled: TileFormat = args[0].value
    at = e.at(x, e.b.mul(block, I64(X_BLOCK_BYTES[tiled.reads])))
    rows = [e.at(at, e.b.mul(stride, I64(t))) for t in range(TOKENS)]
    source = _products(e, tiled, products, block)

    def totals(group: int, _sums: list[ir.Value]) -> list[ir.Value]:
        return [e.load(source, I32X16, (group * TOKENS + t) * LINE) for t in range(TOKENS)]

    return add_scaled_quants(e, tiled, sums, [(tile, block)], rows, totals)


def _products(e: Emit, tiled: TileFormat, products: ir.Value, block: ir.Value) -> ir.Value:
    """Where a block's products lie, those of the block before beside them."""
    return e.at(products, e.b.mul(e.b.and_(block, I64(1)), I64(tiled.groups * PRODUCTS_BYTES)))


def _move(e: Emit, name: str, register: int, address: ir.Value, stride: ir.Value) -> None:
    e.call(f"llvm.x86.{name}", ir.VoidType(), [I8(register), _pointer(e, address), stride])


def _pointer(e: Emit, address: ir.Value) -> ir.Value:
    return e.b.inttoptr(address, I8.as_pointer())


@inner
def multiply_rows(tiled, tile, blocks, products, x, x_stride, sums):
    """The unpacked blocks of a panel times 16 tokens' activations, added to their sums."""
    multiply_block(tiled, tile, products, 0, x, x_stride)
    for block in range(1, blocks):
        multiply_block(tiled, tile, products, block, x, x_stride)
        sums = add_products(tiled, sums, tile, products, block - 1, x, x_stride)
    return add_products(tiled, sums, tile, products, blocks - 1, x, x_stride)
