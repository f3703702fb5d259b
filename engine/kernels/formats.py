"""How each weight type lies in a panel, and how a block of it is unpacked; number_formats has those of plain numbers.

A quantised block gives, for each `step` of four columns, one vector of 64 unsigned bytes (byte 4r + j: row r, column
4·step + j), and per row a scale d and perhaps a minimum m:

    weight = d · (byte - offset) + m
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from engine.kernels.emit import F32X16, I8, U8X64, Emit, splat_constant
from engine.kernels.number_formats import BF16, F16, F32, I8X16, I16X16, WORD_TILE, PanelFormat, Words
from engine.kernels.sizes import BLOCK, LANES

STEPS = BLOCK // 4
"""Byte vectors of a block."""

SIX = 6
"""Bits of a scale of Q4_K and Q5_K."""


@dataclass(frozen=True)
class QuantFormat(PanelFormat, ABC):
    """Small integers with scales. bits: of the unsigned byte; offset: what it exceeds the signed value by.

    groups: parts of a block that have scales of their own, 1 or 2.
    """

    bits: int
    offset: int
    has_min: bool
    groups: int = 1

    @abstractmethod
    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """D and m of a group as float32 lanes; m is None without has_min."""

    @abstractmethod
    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """The (step, byte vector) pairs of a group, in any order."""


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

    def super_address(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where the super-block of a block begins."""
        if self.per_super == 1:
            return e.at(panel, e.b.mul(block, block.type(self.super_bytes)))
        index = e.b.sdiv(block, block.type(self.per_super))
        return e.at(panel, e.b.mul(index, block.type(self.super_bytes)))

    def address(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where a block's own part begins."""
        at = e.at(self.super_address(e, panel, block), self.head_bytes)
        if self.per_super == 1:
            return at
        index = e.b.srem(block, block.type(self.per_super))
        return e.at(at, e.b.mul(index, block.type(self.inner_bytes)))

    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """The halves, times the block's scale bytes."""
        if self.scale_kind == "exponents":
            return e.half_power_of_two(e.load(self.address(e, panel, block), I8X16)), None
        top = self.super_address(e, panel, block)
        halves = [e.half_to_float(e.load(top, I16X16, i * 2 * LANES)) for i in range(self.halves)]
        d, m = halves[0], halves[1] if self.halves > 1 else None
        if self.scale_kind == "none":
            return d, m
        if self.scale_kind == "sixes":
            assert m is not None
            scale, least = (e.b.uitofp(six, F32X16) for six in self._sixes(e, top, block))
            return e.b.fmul(d, scale), e.b.fneg(e.b.fmul(m, least))
        at = self.address(e, panel, block)
        if self.scale_kind == "signed":
            raw = e.load(at, I8X16, group * LANES if self.groups > 1 else 0)
            return e.b.fmul(d, e.b.sitofp(raw, F32X16)), None
        assert m is not None
        raw = e.load(at, I8X16, group * LANES)
        parts = [e.b.and_(raw, splat_constant(I8X16, 15)), e.b.lshr(raw, splat_constant(I8X16, 4))]
        scale, least = (e.b.uitofp(part, F32X16) for part in parts)
        return e.b.fmul(d, scale), e.b.fneg(e.b.fmul(m, least))

    def _sixes(self, e: Emit, top: ir.Value, block: ir.Value) -> tuple[ir.Value, ir.Value]:
        """A block's scale and minimum."""
        b, kind = e.b, block.type
        index = b.srem(block, kind(self.per_super))
        at = e.at(top, 2 * LANES * self.halves)
        own = e.load(at, I8X16, b.mul(index, kind(LANES)))
        shared = e.load(at, I8X16, b.mul(b.add(kind(self.per_super), b.sdiv(index, kind(2))), kind(LANES)))
        by = e.splat(b.trunc(b.mul(b.srem(index, kind(2)), kind(4)), I8))
        rest = b.and_(b.lshr(shared, by), splat_constant(I8X16, 15))
        least = b.or_(b.lshr(own, splat_constant(I8X16, SIX)), b.shl(rest, splat_constant(I8X16, 8 - SIX)))
        return b.and_(own, splat_constant(I8X16, 63)), least

    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """Low and high bits put together, or looked up in the codebook."""
        high_at = e.at(self.address(e, panel, block), self.scale_bytes * LANES)
        low_at = e.at(high_at, BLOCK * self.high // 8 * LANES)
        for step in self._steps(group):
            weights = self._low_bits(e, low_at, step)
            if self.high:
                weights = e.b.or_(weights, self._high_bits(e, high_at, step))
            if self.codebook:
                weights = e.lookup(weights, [value + self.offset for value in self.codebook])
            yield step, weights

    def _steps(self, group: int) -> list[int]:
        """A group's steps; both nibbles of a byte one after the other."""
        if self.groups > 1:
            return list(range(group * STEPS // 2, (group + 1) * STEPS // 2))
        if self.low == 4:
            return [step for i in range(STEPS // 2) for step in (i, i + STEPS // 2)]
        return list(range(STEPS))

    def _low_bits(self, e: Emit, at: ir.Value, step: int) -> ir.Value:
        if self.low == 8:
            return e.b.xor(e.load(at, U8X64, step * 64), splat_constant(U8X64, 0x80))
        if self.low == 4:
            packed = e.load(at, U8X64, step % 4 * 64)
            return e.shifted_bits(packed, 4 if step >= STEPS // 2 else 0, 0, 15)
        return e.shifted_bits(e.load(at, U8X64, step // 4 * 64), 2 * (step % 4), 0, 3)

    def _high_bits(self, e: Emit, at: ir.Value, step: int) -> ir.Value:
        if self.high == 1:
            return e.shifted_bits(e.load(at, U8X64), step, self.low, 1)
        return e.shifted_bits(e.load(at, U8X64, step // 4 * 64), 2 * (step % 4), self.low, 3)


@dataclass(frozen=True)
class TileFormat(QuantFormat):
    """A block of any quantised type, unpacked: what the matrix product for prompts reads from the cache."""

    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """D and m, stored as float32 lanes behind the bytes."""
        at = self.address(e, panel, block)
        offset = STEPS * 64 + group * 64 * (1 + self.has_min)
        return e.load(at, F32X16, offset), e.load(at, F32X16, offset + 64) if self.has_min else None

    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """Byte vectors in the order of their columns."""
        at = self.address(e, panel, block)
        each = STEPS // self.groups
        for step in range(group * each, (group + 1) * each):
            yield step, e.load(at, U8X64, step * 64)


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
    )
}
"""Every weight type that has panels, by its GGUF name."""


def panel_format(name: str) -> PanelFormat:
    """The panel format of a GGUF type."""
    return FORMATS[name]
