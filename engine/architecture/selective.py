"""The sizes of a selective scan, as Mamba-1 has it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from engine.architecture.recurrence import in_lines
from engine.architecture.state_space import StateSpace
from engine.kernels.recurrence import channel_floats, scan_floats

Norms = Literal["none", "unit", "weights"]


@dataclass(frozen=True, slots=True)
class SelectiveScan(StateSpace):
    """A convolution of values; what is written, what is read and time steps are made of its results.

    value_heads: as many as the layer is wide, since each channel has a state of its own, state_dim numbers that decay
    each at its own pace. All write and read by the same numbers. step_dim: width of what time steps are made of.
    norms: whether these three parts are normed, with weights or without. by_head: there are value_heads, as in
    Mamba-2, whose states decay as wholes; time steps' part is behind the two others.
    Source: Gu & Dao 2023, Mamba; the norms are Falcon Mamba's and Jamba's; by heads, it is PLaMo 2's (PFN 2025).
    """

    _: KW_ONLY
    step_dim: int
    norms: Norms = "none"
    by_head: bool = False

    @property
    def channels(self) -> int:
        """Width of what is convolved."""
        return self.dim

    @property
    def rows(self) -> int:
        """What the layer makes of a position at first: what is convolved, gates."""
        return 2 * self.dim

    @property
    def source_at(self) -> int:
        """The byte of those at which the convolution's input begins."""
        return 0

    @property
    def gate_at(self) -> int:
        """The byte at which begins what the results are multiplied by."""
        return 4 * self.dim

    @property
    def small_rows(self) -> int:
        """What is made of the convolution's results: time steps' part, what is written, what is read behind that."""
        return self.step_dim + 2 * self.state_dim

    @property
    def step_at(self) -> int:
        """The byte of that at which what time steps are made of begins."""
        return 4 * 2 * self.state_dim if self.by_head else 0

    @property
    def written_at(self) -> int:
        """The byte at which what is written begins."""
        return 0 if self.by_head else 4 * self.step_dim

    @property
    def pending_stride(self) -> int:
        """Bytes from one row of what the state does not hold yet to the next."""
        if self.by_head:
            return in_lines(4 * scan_floats(1, self.value_heads, self.head_dim, self.state_dim))
        return in_lines(4 * channel_floats(self.dim, self.state_dim))
