"""How blocks are taken out of panels: what a format of `formats`, `number_formats` or `kv_types` is in machine code.

A quantised block gives, for each `step` of four columns, one vector of 64 unsigned bytes (byte 4r + j: row r, column
4·step + j), and per row a scale d and perhaps a minimum m:

    weight = d · (byte - offset) + m

The formats themselves are known without a compiler, since a model whose machine code is there needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from llvmlite import ir

from engine.kernels.emit import F32X16, I8, I8X16, I16X16, I16X32, I32X16, U8X64, Emit, splat_constant
from engine.kernels.formats import SIX, STEPS, BlockFormat, QuantFormat, TileFormat
from engine.kernels.kv_types import STEP_BYTES, Keys8, Values8, Values16
from engine.kernels.number_formats import (
    LINE,
    PAIRS,
    PIECES,
    SPARE_BITS,
    FloatFormat,
    PackedWordFormat,
    PanelFormat,
    WordFormat,
    Words,
    WordTile,
)
from engine.kernels.sizes import BLOCK, LANES

Scales = tuple[ir.Value, ir.Value | None]
"""D and m of a group as float32 lanes; m is None where the format has no minima."""


@singledispatch
def address(fmt: PanelFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
    """Where a block of a panel begins; of a quantised type, its own part."""
    return e.at(panel, e.b.mul(block, block.type(fmt.block_pitch)))


@address.register
def _(fmt: BlockFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
    at = e.at(_super_address(fmt, e, panel, block), fmt.head_bytes)
    if fmt.per_super == 1:
        return at
    index = e.b.srem(block, block.type(fmt.per_super))
    return e.at(at, e.b.mul(index, block.type(fmt.inner_bytes)))


@address.register
def _(fmt: WordFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
    b, kind = e.b, block.type
    exponent_lines = b.add(b.sdiv(block, kind(fmt.together)), kind(1))
    return _line(fmt, e, panel, b.add(b.mul(block, kind(fmt.lines)), exponent_lines))


def exponents(fmt: WordFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
    """Where a block's exponents lie."""
    b, together = e.b, block.type(fmt.together)
    line = b.mul(b.sdiv(block, together), block.type(fmt.together * fmt.lines + 1))
    return e.at(_line(fmt, e, panel, line), b.mul(b.srem(block, together), block.type(LANES)))


def _line(fmt: WordFormat, e: Emit, panel: ir.Value, index: ir.Value) -> ir.Value:
    return e.at(panel, e.b.mul(index, index.type(fmt.pitch)))


def _super_address(fmt: BlockFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
    """Where the super-block of a block begins."""
    if fmt.per_super == 1:
        return e.at(panel, e.b.mul(block, block.type(fmt.super_bytes)))
    index = e.b.sdiv(block, block.type(fmt.per_super))
    return e.at(panel, e.b.mul(index, block.type(fmt.super_bytes)))


@singledispatch
def float_column(fmt: FloatFormat, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    """Column `index` of a block of plain numbers as float32 lanes."""
    return e.load(address(fmt, e, panel, block), F32X16, index * 4 * LANES)


@float_column.register
def _(fmt: Values8, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    line, byte = divmod(index * LANES, LINE)
    return e.b.sitofp(e.load(address(fmt, e, panel, block), I8X16, line * fmt.pitch + byte), F32X16)


@float_column.register
def _(fmt: Words, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    b, half = e.b, splat_constant(I32X16, 16)
    both = b.bitcast(word_pair(fmt, e, panel, block, index // 2), I32X16)
    word = b.ashr(both if index % 2 else b.shl(both, half), half)
    number, scale = b.sitofp(word, F32X16), word_scale(fmt, e, panel, block)
    return number if scale is None else b.fmul(number, scale)


@singledispatch
def word_scale(fmt: Words, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value | None:
    """What one step of a block's words is worth, as float32 lanes; None for 1."""
    raise TypeError(fmt)


@word_scale.register
def _(_fmt: Values16, _e: Emit, _panel: ir.Value, _block: ir.Value) -> ir.Value | None:
    return None


@word_scale.register
def _(fmt: WordTile, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value | None:
    return e.load(address(fmt, e, panel, block), F32X16, PAIRS * LINE)


@word_scale.register
def _(fmt: WordFormat, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value | None:
    powers = e.b.zext(e.load(exponents(fmt, e, panel, block), I8X16), I32X16)
    return e.b.bitcast(e.b.shl(powers, splat_constant(I32X16, 23)), F32X16)


@singledispatch
def word_pair(fmt: Words, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    """Columns 2·index and 2·index + 1 of a block of words, side by side in each row's lane."""
    raise TypeError(fmt)


@word_pair.register
def _(fmt: WordTile, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    return e.load(address(fmt, e, panel, block), I16X32, index * LINE)


@word_pair.register(WordFormat)
@word_pair.register(Values16)
def _(fmt: WordFormat | Values16, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    return e.load(address(fmt, e, panel, block), I16X32, index * fmt.pitch)


@word_pair.register
def _(fmt: PackedWordFormat, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
    b, at = e.b, address(fmt, e, panel, block)
    two = splat_constant(I16X32, SPARE_BITS)
    if index < fmt.lines:
        return b.ashr(e.load(at, I16X32, index * fmt.pitch), two)
    first = (index - fmt.lines) * PIECES
    word = splat_constant(I16X32, 0)
    for piece in range(PIECES):
        bit = SPARE_BITS * (piece + 1)
        moved = b.shl(e.load(at, I16X32, (first + piece) * fmt.pitch), splat_constant(I16X32, bit))
        word = b.or_(word, b.and_(moved, splat_constant(I16X32, 3 << bit)))
    return b.ashr(word, two)


def fetch_pair(fmt: Words, e: Emit, panel: ir.Value, block: ir.Value, index: int, ahead: int) -> None:
    """Ask for what lies so many bytes behind a pair of columns."""
    if isinstance(fmt, WordFormat | Values16):
        e.prefetch(address(fmt, e, panel, block), index * fmt.pitch + ahead, into=Emit.SECOND_CACHE)


@singledispatch
def in_lines(_fmt: WordFormat, _e: Emit, words: ir.Value) -> ir.Value:
    """A row's words, pair by pair, as its lanes of a block's lines have them."""
    return words


@in_lines.register
def _(fmt: PackedWordFormat, e: Emit, words: ir.Value) -> ir.Value:
    """Each word in its place, and a piece of the last two pairs below it."""
    b, kind = e.b, words.type
    pairs, none = b.bitcast(words, I32X16), ir.Constant(I32X16, ir.Undefined)
    last = [fmt.lines + min(line // PIECES, 1) for line in range(PAIRS)]
    spread = b.bitcast(b.shuffle_vector(pairs, none, ir.Constant(I32X16, last)), kind)
    by = [SPARE_BITS * (line % PIECES) for line in range(PAIRS) for _ in range(2)]
    pieces = b.and_(b.lshr(spread, ir.Constant(kind, by)), splat_constant(kind, 3))
    return b.or_(b.shl(words, splat_constant(kind, SPARE_BITS)), pieces)


@singledispatch
def quant_scales(fmt: QuantFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Scales:
    """The scales of a group of a quantised block."""
    raise TypeError(fmt)


@quant_scales.register
def _(fmt: TileFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Scales:
    """They are stored as float32 lanes behind the bytes."""
    at = address(fmt, e, panel, block)
    offset = STEPS * 64 + group * 64 * (1 + fmt.has_min)
    return e.load(at, F32X16, offset), e.load(at, F32X16, offset + 64) if fmt.has_min else None


@quant_scales.register
def _(fmt: Keys8, e: Emit, panel: ir.Value, block: ir.Value, _group: int) -> Scales:
    return e.half_to_float(e.load(address(fmt, e, panel, block), I16X16)), None


@quant_scales.register
def _(fmt: BlockFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Scales:
    """The halves, times the block's scale bytes."""
    if fmt.scale_kind == "exponents":
        return e.half_power_of_two(e.load(address(fmt, e, panel, block), I8X16)), None
    top = _super_address(fmt, e, panel, block)
    halves = [e.half_to_float(e.load(top, I16X16, i * 2 * LANES)) for i in range(fmt.halves)]
    d, m = halves[0], halves[1] if fmt.halves > 1 else None
    if fmt.scale_kind == "none":
        return d, m
    if fmt.scale_kind == "sixes":
        assert m is not None
        scale, least = (e.b.uitofp(six, F32X16) for six in _sixes(fmt, e, top, block))
        return e.b.fmul(d, scale), e.b.fneg(e.b.fmul(m, least))
    at = address(fmt, e, panel, block)
    if fmt.scale_kind == "signed":
        raw = e.load(at, I8X16, group * LANES if fmt.groups > 1 else 0)
        return e.b.fmul(d, e.b.sitofp(raw, F32X16)), None
    assert m is not None
    raw = e.load(at, I8X16, group * LANES)
    parts = [e.b.and_(raw, splat_constant(I8X16, 15)), e.b.lshr(raw, splat_constant(I8X16, 4))]
    scale, least = (e.b.uitofp(part, F32X16) for part in parts)
    return e.b.fmul(d, scale), e.b.fneg(e.b.fmul(m, least))


def _sixes(fmt: BlockFormat, e: Emit, top: ir.Value, block: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A block's scale and minimum."""
    b, kind = e.b, block.type
    index = b.srem(block, kind(fmt.per_super))
    at = e.at(top, 2 * LANES * fmt.halves)
    own = e.load(at, I8X16, b.mul(index, kind(LANES)))
    shared = e.load(at, I8X16, b.mul(b.add(kind(fmt.per_super), b.sdiv(index, kind(2))), kind(LANES)))
    by = e.splat(b.trunc(b.mul(b.srem(index, kind(2)), kind(4)), I8))
    rest = b.and_(b.lshr(shared, by), splat_constant(I8X16, 15))
    least = b.or_(b.lshr(own, splat_constant(I8X16, SIX)), b.shl(rest, splat_constant(I8X16, 8 - SIX)))
    return b.and_(own, splat_constant(I8X16, 63)), least


@singledispatch
def quant_bytes(
    fmt: QuantFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int
) -> Iterator[tuple[int, ir.Value]]:
    """The (step, byte vector) pairs of a group of a quantised block, in any order."""
    raise TypeError(fmt)


@quant_bytes.register
def _(fmt: TileFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
    at = address(fmt, e, panel, block)
    each = STEPS // fmt.groups
    for step in range(group * each, (group + 1) * each):
        yield step, e.load(at, U8X64, step * 64)


@quant_bytes.register
def _(fmt: Keys8, e: Emit, panel: ir.Value, block: ir.Value, _group: int) -> Iterator[tuple[int, ir.Value]]:
    at = e.at(address(fmt, e, panel, block), 2 * LANES)
    for step in range(STEPS):
        yield step, e.load(at, U8X64, step * STEP_BYTES)


@quant_bytes.register
def _(fmt: BlockFormat, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
    """Low and high bits put together, or looked up in the codebook."""
    high_at = e.at(address(fmt, e, panel, block), fmt.scale_bytes * LANES)
    low_at = e.at(high_at, BLOCK * fmt.high // 8 * LANES)
    for step in fmt.steps(group):
        weights = _low_bits(fmt, e, low_at, step)
        if fmt.high:
            weights = e.b.or_(weights, _high_bits(fmt, e, high_at, step))
        if fmt.codebook:
            weights = e.lookup(weights, [value + fmt.offset for value in fmt.codebook])
        yield step, weights


def _low_bits(fmt: BlockFormat, e: Emit, at: ir.Value, step: int) -> ir.Value:
    if fmt.low == 8:
        return e.b.xor(e.load(at, U8X64, step * 64), splat_constant(U8X64, 0x80))
    if fmt.low == 4:
        packed = e.load(at, U8X64, step % 4 * 64)
        return e.shifted_bits(packed, 4 if step >= STEPS // 2 else 0, 0, 15)
    return e.shifted_bits(e.load(at, U8X64, step // 4 * 64), 2 * (step % 4), 0, 3)


def _high_bits(fmt: BlockFormat, e: Emit, at: ir.Value, step: int) -> ir.Value:
    if fmt.high == 1:
        return e.shifted_bits(e.load(at, U8X64), step, fmt.low, 1)
    return e.shifted_bits(e.load(at, U8X64, step // 4 * 64), 2 * (step % 4), fmt.low, 3)
