"""How plain numbers lie in a panel: as they are, or as 16-bit integers with scales.

A panel is LANES rows of a matrix, interleaved so that one register holds the same columns of every row. It is a
sequence of blocks of 32 columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.static import Static

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

    @property
    def block_pitch(self) -> int:
        """Bytes from block to block, where they follow each other."""
        return self.block_bytes

    def panel_bytes(self, n_blocks: int) -> int:
        """Bytes of a panel of so many blocks."""
        return n_blocks * self.block_bytes


@dataclass(frozen=True)
class FloatFormat(PanelFormat):
    """Numbers stored as they are: LANES rows of a column side by side."""

    reads: ClassVar[Reads] = "floats"


class Words(FloatFormat):
    """Numbers as signed integers of 14 bits, with a scale for each row of a block: a power of two.

    With it, the largest weight has all its bits. Weights down to a quarter (F16) or a thirty-second (BF16) of it are
    exact, smaller ones are rounded to 2**-13 of it. Activations have 14 bits as well, so the sum of a block's 32
    products stays below 2**31.
    """

    reads: ClassVar[Reads] = "words"


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


@dataclass(frozen=True)
class WordTile(Words):
    """A block of words for the product of prompts: its words, then LANES float32 scales."""


WORD_TILE = WordTile("tile of words", (PAIRS + 1) * LINE)
F32 = FloatFormat("F32", LANES * BLOCK * 4)
F16 = PackedWordFormat("F16", LANES * BLOCK * WORD_BITS // 8)
BF16 = PackedWordFormat("BF16", LANES * BLOCK * WORD_BITS // 8)
