"""How each weight type lies in a panel; number_formats has those of plain numbers, `unpacking` takes blocks out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.kernels.number_formats import BF16, F16, F32, WORD_TILE, PanelFormat, Words
from engine.kernels.sizes import BLOCK, LANES

STEPS = BLOCK // 4
"""Byte vectors of a block."""

SIX = 6
"""Bits of a scale of Q4_K and Q5_K."""


@dataclass(frozen=True)
class QuantFormat(PanelFormat):
    """Small integers with scales. bits: of the unsigned byte; offset: what it exceeds the signed value by.

    groups: parts of a block that have scales of their own, 1 or 2.
    """

    bits: int
    offset: int
    has_min: bool
    groups: int = 1


@dataclass(frozen=True)
class BlockFormat(QuantFormat):
    """A quantised GGUF type: in a panel, a sequence of super-blocks of per_super blocks.

    halves: vectors of LANES half-precision numbers (d, then m), once a super-block; then a block at a time:
    scale_bytes: vectors of LANES bytes that scale the halves, as `scale_kind` says; high and low: bits of each weight,
    low ones in pairs of nibbles or fours of two bits, high ones apart. codebook: weights are indices into it.

    With scale_kind "exponents" there are no halves, and a block's byte is the exponent of a power of two.

    With scale_kind "sixes" all scales of a super-block come right behind its halves, six bits each: a vector of bytes
    for each block (its scale, and above it the two lowest bits of its minimum), then one for every two blocks (a nibble
    each: the rest of their minima).
    """

    per_super: int = 1
    halves: int = 1
    scale_bytes: int = 0
    scale_kind: str = "none"
    high: int = 0
    low: int = 4
    codebook: tuple[int, ...] = ()

    @property
    def layout(self) -> str:
        """Before they had six bits, scales had eight."""
        return f"{self.name} with scales in {SIX} bits" if self.scale_kind == "sixes" else self.name

    @property
    def head_bytes(self) -> int:
        """Bytes of what a super-block's blocks share."""
        sixes = self.per_super + self.per_super // 2 if self.scale_kind == "sixes" else 0
        return LANES * (2 * self.halves + sixes)

    @property
    def inner_bytes(self) -> int:
        """Bytes of a block without its part of the super-block's head."""
        return LANES * (self.scale_bytes + BLOCK * (self.high + self.low) // 8)

    def panel_bytes(self, n_blocks: int) -> int:
        """Bytes of a panel of so many blocks, which are whole super-blocks."""
        return n_blocks // self.per_super * self.super_bytes

    @property
    def super_bytes(self) -> int:
        """Bytes of a super-block."""
        return self.head_bytes + self.per_super * self.inner_bytes

    def steps(self, group: int) -> list[int]:
        """A group's fours of columns; both nibbles of a byte one after the other."""
        if self.groups > 1:
            return list(range(group * STEPS // 2, (group + 1) * STEPS // 2))
        if self.low == 4:
            return [step for i in range(STEPS // 2) for step in (i, i + STEPS // 2)]
        return list(range(STEPS))


@dataclass(frozen=True)
class TileFormat(QuantFormat):
    """A block of any quantised type, unpacked: what the matrix product for prompts reads from the cache."""


def tile_of(fmt: PanelFormat) -> PanelFormat:
    """The unpacked form of a format."""
    if isinstance(fmt, Words):
        return WORD_TILE
    if not isinstance(fmt, QuantFormat):
        return F32
    size = STEPS * 64 + 64 * fmt.groups * (1 + fmt.has_min)
    return TileFormat(f"tile of {fmt.name}", size, fmt.bits, fmt.offset, fmt.has_min, fmt.groups)


IQ4_CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""The values of the 4-bit non-linear types. Source: llama.cpp's kvalues_iq4nl."""

FP4_CODEBOOK = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Twice the values of a floating-point number of four bits. Source: OCP Microscaling Formats 1.0, table 5 (E2M1)."""


def _simple(name: str, bits: int, offset: int, **parts: Any) -> BlockFormat:
    """A type with half-precision scales (and minima) for every 32 weights."""
    halves = 2 if parts.get("has_min") else 1
    has_min = bool(parts.pop("has_min", False))
    size = LANES * (2 * halves + BLOCK * (parts.get("low", 4) + parts.get("high", 0)) // 8)
    return BlockFormat(name, size, bits, offset, has_min, halves=halves, **parts)


def _super(name: str, bits: int, offset: int, halves: int, scale_bytes: int, **parts: Any) -> BlockFormat:
    """A type with super-blocks of 256 weights, whose blocks have small scales of their own."""
    size = LANES * (scale_bytes + BLOCK * (parts.get("low", 4) + parts.get("high", 0)) // 8)
    has_min = halves == 2
    return BlockFormat(name, size, bits, offset, has_min, per_super=8, halves=halves, scale_bytes=scale_bytes, **parts)


def _mx(name: str, bits: int, offset: int, **parts: Any) -> BlockFormat:
    """A type with a power of two for every 32 weights."""
    size = LANES * (1 + BLOCK * parts.get("low", 4) // 8)
    return BlockFormat(name, size, bits, offset, False, halves=0, scale_bytes=1, scale_kind="exponents", **parts)


FORMATS: dict[str, PanelFormat] = {
    f.name: f
    for f in (
        F32,
        F16,
        BF16,
        _simple("Q4_0", 4, 8),
        _simple("Q4_1", 4, 0, has_min=True),
        _simple("Q5_0", 5, 16, high=1),
        _simple("Q5_1", 5, 0, has_min=True, high=1),
        _simple("Q8_0", 8, 128, low=8),
        _super("Q2_K", 2, 0, 2, 2, scale_kind="nibbles", groups=2, low=2),
        _super("Q3_K", 3, 4, 1, 2, scale_kind="signed", groups=2, low=2, high=1),
        _super("Q4_K", 4, 0, 2, 0, scale_kind="sixes"),
        _super("Q5_K", 5, 0, 2, 0, scale_kind="sixes", high=1),
        _super("Q6_K", 6, 32, 1, 2, scale_kind="signed", groups=2, high=2),
        _simple("IQ4_NL", 8, 128, codebook=IQ4_CODEBOOK),
        _super("IQ4_XS", 8, 128, 1, 1, scale_kind="signed", codebook=IQ4_CODEBOOK),
        _mx("MXFP4", 5, 12, codebook=FP4_CODEBOOK),
        _super("TQ1_0", 2, 1, 1, 0, low=2),
        _super("TQ2_0", 2, 1, 1, 0, low=2),
    )
}
"""Every weight type that has panels, by its GGUF name. TQ1_0, digits of base 3 in files, has two bits too."""


def panel_format(name: str) -> PanelFormat:
    """The panel format of a GGUF type."""
    return FORMATS[name]
