"""How plain numbers lie in a panel: as they are, or as 16-bit integers with scales.

A panel is LANES rows of a matrix, interleaved so that one register holds the same columns of every row. It is a
sequence of blocks of 32 columns.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from llvmlite import ir

from engine.kernels.emit import F32X16, I8, I16, I16X32, I32X16, Emit, splat_constant
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.static import Static

I8X16 = ir.VectorType(I8, LANES)
I16X16 = ir.VectorType(I16, LANES)

PAIRS = BLOCK // 2
"""Vectors of a block of words."""

LINE = 64
"""Bytes of a vector, which is a cache line."""

WORD_BITS = 14
SPARE_BITS = 16 - WORD_BITS
PIECES = WORD_BITS // SPARE_BITS
"""Bits of a word; what they leave of 16; how many of such pieces make a word."""

Reads = Literal["floats", "bytes", "words"]
"""What a product takes of the activations: float32, or blocks of 8-bit or of 16-bit integers."""


@dataclass(frozen=True)
class PanelFormat(Static):
    """A weight type in panels. block_bytes: of LANES rows by 32 columns. reads: what it is multiplied with."""

    name: str
    block_bytes: int

    reads: ClassVar[Reads] = "bytes"

    @property
    def layout(self) -> str:
        """What prepared files are told apart by."""
        return self.name

    def address(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where a block of a panel begins."""
        return e.at(panel, e.b.mul(block, block.type(self.block_bytes)))

    def panel_bytes(self, n_blocks: int) -> int:
        """Bytes of a panel of so many blocks."""
        return n_blocks * self.block_bytes


@dataclass(frozen=True)
class FloatFormat(PanelFormat):
    """Numbers stored as they are: LANES rows of a column side by side."""

    reads: ClassVar[Reads] = "floats"

    def column(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Column `index` of a block as float32 lanes."""
        return e.load(self.address(e, panel, block), F32X16, index * 4 * LANES)


class Words(FloatFormat):
    """Numbers as signed integers of 14 bits, with a scale for each row of a block: a power of two.

    With it, the largest weight has all its bits. Weights down to a quarter (F16) or a thirty-second (BF16) of it are
    exact, smaller ones are rounded to 2**-13 of it. Activations have 14 bits as well, so the sum of a block's 32
    products stays below 2**31.
    """

    reads: ClassVar[Reads] = "words"

    @abstractmethod
    def scale(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value | None:
        """What one step of the integers is worth, as float32 lanes; None for 1."""

    @abstractmethod
    def pair(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Columns 2·index and 2·index + 1, side by side in each row's lane."""

    def column(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Column `index` of a block as float32 lanes."""
        b, half = e.b, splat_constant(I32X16, 16)
        both = b.bitcast(self.pair(e, panel, block, index // 2), I32X16)
        word = b.ashr(both if index % 2 else b.shl(both, half), half)
        number, scale = b.sitofp(word, F32X16), self.scale(e, panel, block)
        return number if scale is None else b.fmul(number, scale)


@dataclass(frozen=True)
class WordFormat(Words):
    """Words in cache lines: for every four blocks a line of exponents, a byte for each row, then a line for each pair.

    pitch: bytes from line to line; with twice a line's, another panel's lines lie between.
    """

    pitch: int = LINE

    together: ClassVar[int] = 4

    @property
    def lines(self) -> int:
        """Cache lines of a block's words."""
        return self.block_bytes // LINE

    def panel_bytes(self, n_blocks: int) -> int:
        """Bytes of a panel of so many blocks; the last four may be less."""
        return n_blocks * self.block_bytes + -(-n_blocks // self.together) * LINE

    def address(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where a block's words begin."""
        b, kind = e.b, block.type
        exponents = b.add(b.sdiv(block, kind(self.together)), kind(1))
        return self._line(e, panel, b.add(b.mul(block, kind(self.lines)), exponents))

    def exponents(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where a block's exponents lie."""
        b, together = e.b, block.type(self.together)
        line = b.mul(b.sdiv(block, together), block.type(self.together * self.lines + 1))
        return e.at(self._line(e, panel, line), b.mul(b.srem(block, together), block.type(LANES)))

    def _line(self, e: Emit, panel: ir.Value, index: ir.Value) -> ir.Value:
        return e.at(panel, e.b.mul(index, index.type(self.pitch)))

    def scale(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """The exponents as powers of two."""
        exponents = e.b.zext(e.load(self.exponents(e, panel, block), I8X16), I32X16)
        return e.b.bitcast(e.b.shl(exponents, splat_constant(I32X16, 23)), F32X16)

    def pair(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Two columns of words."""
        return e.load(self.address(e, panel, block), I16X32, index * self.pitch)

    def in_lines(self, e: Emit, words: ir.Value) -> ir.Value:
        """A row's words, pair by pair, as its lanes of a block's lines have them."""
        return words


@dataclass(frozen=True)
class PackedWordFormat(WordFormat):
    """Words in 14 bits, so that fewer bytes are read than the file has.

    A 16-bit lane holds a word in its upper bits. Two bits are left below: those of the first seven lines hold the last
    pair but one, those of the others the last pair, from its lowest bits on.
    """

    @property
    def layout(self) -> str:
        """Before that, panels had the numbers as they are in the file."""
        return f"{self.name} in {WORD_BITS} bits"

    def pair(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Two columns of words."""
        b, at = e.b, self.address(e, panel, block)
        two = splat_constant(I16X32, SPARE_BITS)
        if index < self.lines:
            return b.ashr(e.load(at, I16X32, index * self.pitch), two)
        first = (index - self.lines) * PIECES
        word = splat_constant(I16X32, 0)
        for piece in range(PIECES):
            bit = SPARE_BITS * (piece + 1)
            moved = b.shl(e.load(at, I16X32, (first + piece) * self.pitch), splat_constant(I16X32, bit))
            word = b.or_(word, b.and_(moved, splat_constant(I16X32, 3 << bit)))
        return b.ashr(word, two)

    def in_lines(self, e: Emit, words: ir.Value) -> ir.Value:
        """Each word in its place, and a piece of the last two pairs below it."""
        b, kind = e.b, words.type
        pairs, none = b.bitcast(words, I32X16), ir.Constant(I32X16, ir.Undefined)
        last = [self.lines + min(line // PIECES, 1) for line in range(PAIRS)]
        spread = b.bitcast(b.shuffle_vector(pairs, none, ir.Constant(I32X16, last)), kind)
        by = [SPARE_BITS * (line % PIECES) for line in range(PAIRS) for _ in range(2)]
        pieces = b.and_(b.lshr(spread, ir.Constant(kind, by)), splat_constant(kind, 3))
        return b.or_(b.shl(words, splat_constant(kind, SPARE_BITS)), pieces)


@dataclass(frozen=True)
class WordTile(Words):
    """A block of words for the product of prompts: its words, then LANES float32 scales."""

    def scale(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value | None:
        """The scales as they were stored."""
        return e.load(self.address(e, panel, block), F32X16, PAIRS * LINE)

    def pair(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """The words as they were stored."""
        return e.load(self.address(e, panel, block), I16X32, index * LINE)


WORD_TILE = WordTile("tile of words", (PAIRS + 1) * LINE)
F32 = FloatFormat("F32", LANES * BLOCK * 4)
F16 = PackedWordFormat("F16", LANES * BLOCK * WORD_BITS // 8)
BF16 = PackedWordFormat("BF16", LANES * BLOCK * WORD_BITS // 8)
