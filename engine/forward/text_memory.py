"""All that a model keeps of the text that it has read, on its way to the disk and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from engine.forward.kv_cache import KVCache, sum_of_words
from engine.forward.recurrent_state import Copy, RecurrentState


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

    def saved_bytes(self, n_positions: int, n_states: int) -> int:
        """What `save` writes for so many positions and states."""
        return self.cache.saved_bytes(n_positions) + (self.state.saved_bytes(n_states) if self.state else 0)

    def reach(self, n: int) -> int:
        """The last position up to n from which the tokens in the cache can be followed by others."""
        return n if self.state is None else self.state.reach(n)

    def saved_reach(self, file: BinaryIO, offset: int, n_positions: int, n_states: int, n: int) -> int:
        """As `reach`, of what `save` wrote at an offset of an open file; it stays where it is read."""
        if self.state is None:
            return n
        return self.state.saved_reach(file, offset + self.cache.saved_bytes(n_positions), n_states, n)

    def worth_saving(self) -> list[Copy] | None:
        """The states that spare enough of the text in the cache; None if it could not be used without any."""
        states = [] if self.state is None else self.state.worth_saving()
        return None if self.state is not None and not states else states

    def save(self, file: BinaryIO, n_positions: int, states: Sequence[Copy]) -> int:
        """Write what is kept of so many positions; returns the sum of the words that were written, modulo 2^64."""
        total = self.cache.save(file, n_positions)
        return (total + (self.state.save(file, states) if self.state else 0)) % (1 << 64)

    def restore(self, file: BinaryIO, offset: int, ids: Sequence[int], n_states: int, total: int) -> bool:
        """Take back what `save` wrote at an offset of an open file, if the sum of its words is right.

        The cache has to be empty, and is if it is not right. Then no text is known any more.
        """
        if self.state is None:
            return self.cache.restore(file, offset, len(ids)) == total
        self.state.leave()
        saved = self.state.read_saved(file, offset + self.cache.saved_bytes(len(ids)), n_states)
        found = (self.cache.restore(file, offset, len(ids)) + sum_of_words(saved)) % (1 << 64)
        is_right = found == total and self.state.restore(saved, n_states, ids)
        if not is_right:
            self.state.forget()
        return is_right
