"""All that a model keeps of the text that it has read, on its way to the disk and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from engine.kv_cache import KVCache
from engine.recurrent_state import RecurrentState


@dataclass(frozen=True, slots=True)
class TextMemory:
    """The cache of the layers that attend, and the state of those that do not, if there are any."""

    cache: KVCache
    state: RecurrentState | None

    @property
    def max_seq_len(self) -> int:
        """Positions that there may be."""
        return self.cache.max_seq_len

    @property
    def layout(self) -> str:
        """Names the order and type of what `save` writes."""
        return f"{self.cache.layout} {self.state.layout}" if self.state else self.cache.layout

    def saved_bytes(self, n_positions: int) -> int:
        """What `save` writes for so many positions."""
        return self.cache.saved_bytes(n_positions) + (self.state.saved_bytes if self.state else 0)

    def save(self, file: BinaryIO, ids: Sequence[int]) -> int:
        """Write what is kept of these tokens; returns the sum of the words that were written, modulo 2^64."""
        total = self.cache.save(file, len(ids))
        return (total + (self.state.save(file) if self.state else 0)) % (1 << 64)

    def restore(self, file: BinaryIO, offset: int, ids: Sequence[int]) -> int:
        """Take back what `save` wrote at an offset of an open file; returns the sum of its words."""
        total = self.cache.restore(file, offset, len(ids))
        if self.state is not None:
            total += self.state.restore(file, offset + self.cache.saved_bytes(len(ids)), ids)
        return total % (1 << 64)
