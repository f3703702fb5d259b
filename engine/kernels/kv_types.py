"""What the key-value cache may hold, and how it lies in panels: 16-bit words, or 8 bits, both with scales."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from engine.kernels.formats import QuantFormat
from engine.kernels.number_formats import LINE, PAIRS, FloatFormat, PanelFormat, WordFormat, Words
from engine.kernels.records import X_BLOCK_BYTES
from engine.kernels.sizes import BLOCK, LANES, RANGE, head_blocks, value_panels_of
from engine.kernels.static import Static

STEP_BYTES = 64
"""Four columns of LANES rows, a byte each."""


@dataclass(frozen=True)
class Keys8(QuantFormat):
    """Keys in 8 bits: LANES scales, then bytes that exceed the signed value by 128."""


@dataclass(frozen=True)
class Values8(FloatFormat):
    """Values in 8 bits, without their scales: LANES signed bytes a position. pitch: bytes from line to line."""

    pitch: int

    @property
    def block_pitch(self) -> int:
        """Bytes from block to block; other panels' lines lie between."""
        return self.block_bytes // LINE * self.pitch


@dataclass(frozen=True)
class Values16(Words):
    """Values as words, without their scales: a lane holds two positions of a dimension. pitch: as above."""

    pitch: int

    @property
    def block_pitch(self) -> int:
        """Bytes from block to block; other panels' lines lie between."""
        return PAIRS * self.pitch


_KEYS = {
    "f16": WordFormat("16-bit keys", LANES * BLOCK * 2, 2 * LINE),
    "q8_0": Keys8("8-bit keys", LANES * (2 + BLOCK), 8, 128, False),
}


def _values(name: str, panels: int) -> FloatFormat:
    """The format of values where lines of so many panels lie in turn."""
    if name == "f16":
        return Values16("16-bit values", LANES * BLOCK * 2, panels * LINE)
    return Values8("8-bit values", LANES * BLOCK, panels * LINE)


class KVType(Static):
    """What the cache holds, "f16" or "q8_0", as part of a kernel's type.

    words: whether that is words, a position's values with one scale: the exponent of a power of two, a byte. Of bytes,
    every block of a position has a scale in half precision.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.words = name == "f16"
        self.keys: PanelFormat = _KEYS[name]
        self.paired_values, self.single_values = _values(name, 2), _values(name, 1)

    def __repr__(self) -> str:
        return f"{self.name} cache"

    def key_panel_bytes(self, head_dim: int) -> int:
        """Bytes of LANES positions' keys of one head."""
        return self.keys.panel_bytes(head_blocks(head_dim))

    @property
    def value_bytes(self) -> int:
        """Bytes of LANES values of one position."""
        return self.single_values.block_bytes // BLOCK

    def range_parts(self, head_dim: int, value_dim: int) -> tuple[int, int, int]:
        """Bytes of keys, of values and of their scales in a range of one head."""
        scales = self.scales_of(value_dim) * self.scale_bytes
        values = value_panels_of(value_dim) * self.value_bytes
        return RANGE // LANES * self.key_panel_bytes(head_dim), RANGE * values, RANGE * scales

    @property
    def scale_bytes(self) -> int:
        """Bytes of a scale of values."""
        return 1 if self.words else 2

    def scales_of(self, value_dim: int) -> int:
        """Scales of a position's values of one head."""
        return 1 if self.words else head_blocks(value_dim)

    def query_bytes(self, head_dim: int) -> int:
        """Bytes of one head's query, in the form that the product with the keys wants."""
        return head_blocks(head_dim) * X_BLOCK_BYTES[self.keys.reads]


@cache
def kv_type(name: str) -> KVType:
    """The layout of that name."""
    return KVType(name)
