"""The sizes of a state space, as Mamba-2 has it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.architecture.recurrence import Recurrence, in_lines
from engine.kernels.recurrence import scan_floats


@dataclass(frozen=True, slots=True)
class StateSpace(Recurrence):
    """A convolution of values, of what is written and of what is read; then a state for each head.

    value_heads: its heads, all together `dim` wide. key_heads: groups of them, neighbours, that write and read by the
    same numbers, state_dim of each. beside_attention: it is in layers that attend as well; results may be without norms
    then, elsewhere each group's are normed.
    Source: Dao & Gu 2024, Transformers are SSMs.
    """

    beside_attention: bool = False

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.value_heads

    @property
    def channels(self) -> int:
        """Width of what is convolved."""
        return self.dim + 2 * self.key_heads * self.state_dim

    @property
    def rows(self) -> int:
        """What the layer makes of a position at first: gates, what is convolved, a time step for each head."""
        return self.dim + self.channels + self.value_heads

    @property
    def source_at(self) -> int:
        """The byte of those at which the convolution's input begins."""
        return 4 * self.dim

    @property
    def gate_at(self) -> int:
        """The byte at which begins what the results are multiplied by."""
        return 0

    @property
    def time_at(self) -> int:
        """The byte at which time steps begin."""
        return 4 * (self.dim + self.channels)

    @property
    def pending_stride(self) -> int:
        """Bytes from one row of what the state does not hold yet to the next."""
        return in_lines(4 * scan_floats(self.key_heads, self.value_heads, self.head_dim, self.state_dim))

    @property
    def history_at(self) -> int:
        """The byte of a layer's part of the state at which the convolution's latest inputs begin."""
        return in_lines(4 * self.dim * self.state_dim)
