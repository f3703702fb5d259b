"""How each weight type lies in a panel, and how a block of it is unpacked.

A panel is LANES rows of a matrix, interleaved so that one register holds the same columns of every row. It is a
sequence of blocks of 32 columns. A quantised block gives, for each `step` of four columns, one vector of 64 unsigned
bytes (byte 4r + j: row r, column 4·step + j), and per row a scale d and perhaps a minimum m:

    weight = d · (byte - offset) + m
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llvmlite import ir

from engine.kernels.jit import Static
from engine.kernels.simd import F32X16, I16, LANES, U8X64, Emit, splat_constant

BLOCK = 32
"""Columns of a block, of weights as of quantised activations."""

STEPS = BLOCK // 4
"""Byte vectors of a block."""

I16X16 = ir.VectorType(I16, LANES)
NIBBLE = splat_constant(U8X64, 15)


@dataclass(frozen=True)
class PanelFormat(Static):
    """A weight type in panels. block_bytes: of LANES rows by 32 columns."""

    name: str
    block_bytes: int

    is_float = False

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return panel_format, (self.name,)

    def address(self, e: Emit, panel: ir.Value, block: ir.Value) -> ir.Value:
        """Where a block of a panel begins."""
        return e.at(panel, e.b.mul(block, block.type(self.block_bytes)))


@dataclass(frozen=True)
class QuantFormat(PanelFormat):
    """Small integers with scales. bits: of the unsigned byte; offset: what it exceeds the signed value by.

    groups: parts of a block that have scales of their own, 1 or 2.
    """

    bits: int
    offset: int
    has_min: bool
    groups: int = 1

    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """D and m of a group as float32 lanes; m is None without has_min."""
        raise NotImplementedError

    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """The (step, byte vector) pairs of a group, in any order."""
        raise NotImplementedError


def _half_scales(e: Emit, at: ir.Value, count: int) -> list[ir.Value]:
    """`count` vectors of LANES half-precision numbers at the start of a block."""
    return [e.half_to_float(e.load(at, I16X16, i * 2 * LANES)) for i in range(count)]


def _nibbles(e: Emit, at: ir.Value) -> Iterator[tuple[int, ir.Value]]:
    """Four vectors of bytes: low nibbles are steps 0 to 3, high nibbles steps 4 to 7."""
    for i in range(STEPS // 2):
        packed = e.load(at, U8X64, i * 64)
        yield i, e.b.and_(packed, NIBBLE)
        yield i + STEPS // 2, e.b.lshr(packed, splat_constant(U8X64, 4))


@dataclass(frozen=True)
class SimpleFormat(QuantFormat):
    """A block of half-precision scales (and minima), then the quants: Q4_0, Q4_1, Q8_0."""

    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """D (and m), stored as half-precision lanes."""
        found = _half_scales(e, self.address(e, panel, block), 1 + self.has_min)
        return found[0], found[1] if self.has_min else None

    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """Nibbles, or signed bytes made unsigned."""
        at = e.at(self.address(e, panel, block), 2 * LANES * (1 + self.has_min))
        if self.bits == 4:
            yield from _nibbles(e, at)
            return
        for step in range(STEPS):
            yield step, e.b.xor(e.load(at, U8X64, step * 64), splat_constant(U8X64, 0x80))


@dataclass(frozen=True)
class FloatFormat(PanelFormat):
    """Numbers stored as they are: LANES rows of a column side by side."""

    is_float = True

    def column(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """Column `index` of a block as float32 lanes."""
        at = self.address(e, panel, block)
        if self.name == "F32":
            return e.load(at, F32X16, index * 4 * LANES)
        bits = e.load(at, I16X16, index * 2 * LANES)
        if self.name == "F16":
            return e.half_to_float(bits)
        wide = ir.VectorType(ir.IntType(32), LANES)
        return e.b.bitcast(e.b.shl(e.b.zext(bits, wide), splat_constant(wide, 16)), F32X16)


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


def tile_of(fmt: QuantFormat) -> TileFormat:
    """The unpacked form of a quantised format."""
    size = STEPS * 64 + 64 * fmt.groups * (1 + fmt.has_min)
    return TileFormat(f"tile of {fmt.name}", size, fmt.bits, fmt.offset, fmt.has_min, fmt.groups)


def simple(name: str, bits: int, offset: int, has_min: bool) -> SimpleFormat:
    """A format of half-precision scales and packed quants."""
    return SimpleFormat(name, LANES * (2 * (1 + has_min) + BLOCK * bits // 8), bits, offset, has_min)


FORMATS: dict[str, PanelFormat] = {
    f.name: f
    for f in (
        FloatFormat("F32", LANES * BLOCK * 4),
        FloatFormat("F16", LANES * BLOCK * 2),
        FloatFormat("BF16", LANES * BLOCK * 2),
        simple("Q4_0", 4, 8, False),
        simple("Q4_1", 4, 0, True),
        simple("Q8_0", 8, 128, False),
    )
}
"""Every weight type that has panels, by its GGUF name."""


def panel_format(name: str) -> PanelFormat:
    """The panel format of a GGUF type, or the tile of one."""
    if name.startswith("tile of "):
        fmt = FORMATS[name.removeprefix("tile of ")]
        assert isinstance(fmt, QuantFormat)
        return tile_of(fmt)
    return FORMATS[name]
