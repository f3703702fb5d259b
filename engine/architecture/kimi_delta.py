"""The sizes of Kimi Delta Attention: a delta net whose keys' numbers have a decay each."""

from __future__ import annotations

from dataclasses import dataclass

from engine.architecture.recurrence import Recurrence, in_lines
from engine.kernels.recurrence import decays_at
from engine.kernels.sizes import LANES


@dataclass(frozen=True, slots=True)
class KimiDelta(Recurrence):
    """Queries, keys and values of as many heads; decays and gates are made of vectors as wide as one head.

    What the layer makes of a position at first is followed by what is made of those two: decays, then gates.
    Source: Kimi Linear (Moonshot AI 2025).
    """

    @property
    def low_at(self) -> int:
        """Where the vector that decays are made of begins, in float32; that of gates is behind it."""
        return self.channels

    @property
    def beta_at(self) -> int:
        """The byte at which the shares begin that heads take in of what is new."""
        return 4 * (self.low_at + 2 * self.state_dim)

    @property
    def made_at(self) -> int:
        """Where decays begin, in float32, behind whole vectors."""
        return -(-(self.low_at + 2 * self.state_dim + self.value_heads) // LANES) * LANES

    @property
    def gate_at(self) -> int:
        """The byte at which begins what the results are multiplied by."""
        return 4 * (self.made_at + self.dim)

    @property
    def rows(self) -> int:
        """All that."""
        return self.made_at + 2 * self.dim

    @property
    def pending_stride(self) -> int:
        """Bytes from one row of what a delta net's state does not hold yet to the next."""
        return in_lines(4 * (decays_at(self.key_heads, self.value_heads, self.state_dim) + self.dim))
