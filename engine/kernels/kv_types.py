"""What the key-value cache may hold, and how it lies in panels: half precision, or 8 bits with scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from llvmlite import ir

from engine.kernels.emit import F32X16, U8X64, Emit
from engine.kernels.formats import STEPS, QuantFormat
from engine.kernels.number_formats import HALVES, I8X16, I16X16, FloatFormat, PanelFormat
from engine.kernels.records import BLOCK_BYTES
from engine.kernels.sizes import BLOCK, LANES, head_blocks
from engine.kernels.static import Static

STEP_BYTES = 64
"""Four columns of LANES rows, a byte each."""


@dataclass(frozen=True)
class Keys8(QuantFormat):
    """Keys in 8 bits: LANES scales, then bytes that exceed the signed value by 128."""

    def scales(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> tuple[ir.Value, ir.Value | None]:
        """The scales of a block, no minima."""
        return e.half_to_float(e.load(self.address(e, panel, block), I16X16)), None

    def quants(self, e: Emit, panel: ir.Value, block: ir.Value, group: int) -> Iterator[tuple[int, ir.Value]]:
        """Byte vectors in the order of their columns."""
        at = e.at(self.address(e, panel, block), 2 * LANES)
        for step in range(STEPS):
            yield step, e.load(at, U8X64, step * STEP_BYTES)


@dataclass(frozen=True)
class Values8(FloatFormat):
    """Values in 8 bits, without their scales: LANES signed bytes a position."""

    def column(self, e: Emit, panel: ir.Value, block: ir.Value, index: int) -> ir.Value:
        """A position's LANES dimensions as float32."""
        return e.b.sitofp(e.load(self.address(e, panel, block), I8X16, index * LANES), F32X16)


_KEYS_8 = Keys8("8-bit keys", LANES * (2 + BLOCK), 8, 128, False)
_VALUES_8 = Values8("8-bit values", LANES * BLOCK)


class KVType(Static):
    """What the cache holds, "f16" or "q8_0", as part of a kernel's type."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scaled = name == "q8_0"
        self.keys = _format_of_keys(name)
        self.values = _format_of_values(name)

    def __repr__(self) -> str:
        return f"{self.name} cache"

    def key_panel_bytes(self, head_dim: int) -> int:
        """Bytes of LANES positions' keys of one head."""
        return head_blocks(head_dim) * self.keys.block_bytes

    @property
    def value_bytes(self) -> int:
        """Bytes of LANES values of one position."""
        return self.values.block_bytes // BLOCK

    def query_bytes(self, head_dim: int) -> int:
        """Bytes of one head's query, in the form that the product with the keys wants."""
        return head_blocks(head_dim) * (BLOCK_BYTES if self.scaled else 4 * BLOCK)


def _format_of_keys(name: str) -> PanelFormat:
    return _KEYS_8 if name == "q8_0" else HALVES


def _format_of_values(name: str) -> PanelFormat:
    return _VALUES_8 if name == "q8_0" else HALVES


@cache
def kv_type(name: str) -> KVType:
    """The layout of that name."""
    return KVType(name)
