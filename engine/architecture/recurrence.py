"""The sizes of what stands in place of attention: a gated short convolution, or a gated delta net behind one."""

from __future__ import annotations

from dataclasses import dataclass

from engine.kernels.recurrence import PENDING_ROWS, history_rows, memory_floats

LINE_BYTES = 64
"""Parts of a state begin on cache lines."""

MOST_COPIES = 6
"""Places of a text to go back to."""

COPIES_BYTES = 128 << 20
"""All copies of a state together; three there are at least."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What layers without attention do; value_heads: 0 where they have a convolution alone.

    taps: positions that the convolution sees. dim: width of what the layer gives to its output matrix.
    key_heads: of keys, and of queries. state_dim: width of a head. keys_in_turn: value heads take key heads in turn;
    else as many neighbours as there are share one. gates_by_key_head: beta and decay of the value heads that share a
    key head are side by side in the product that makes them, not all betas and then all decays.
    Source: LFM2 (Liquid AI 2025); Yang et al. 2024, Gated Delta Networks, as Qwen3-Next has them.
    """

    taps: int
    dim: int
    key_heads: int = 0
    value_heads: int = 0
    state_dim: int = 0
    keys_in_turn: bool = True
    gates_by_key_head: bool = False

    @property
    def channels(self) -> int:
        """Width of what is convolved: all, or queries, keys and values."""
        return (2 * self.key_heads + self.value_heads) * self.state_dim or self.dim

    @property
    def rows(self) -> int:
        """What the layer makes of a position at first: two gates and values, or what is convolved, gates, two more."""
        return self.channels + self.dim + 2 * self.value_heads if self.value_heads else 3 * self.dim

    @property
    def factor_at(self) -> int:
        """The byte of those at which begins what the convolution's input is multiplied by; -1 if it is not."""
        return -1 if self.value_heads else 0

    @property
    def source_at(self) -> int:
        """The byte at which the convolution's input begins."""
        return 0 if self.value_heads else 2 * 4 * self.dim

    @property
    def gate_at(self) -> int:
        """The byte at which begins what the results are multiplied by."""
        return 4 * (self.channels if self.value_heads else self.dim)

    @property
    def history_stride(self) -> int:
        """Bytes from one row of the convolution's latest inputs to the next."""
        return in_lines(4 * self.channels)

    @property
    def pending_stride(self) -> int:
        """Bytes from one row of what a delta net's state does not hold yet to the next."""
        return in_lines(4 * memory_floats(self.key_heads, self.value_heads, self.state_dim))

    @property
    def history_at(self) -> int:
        """The byte of a layer's part of the state at which those inputs begin; before it is what a delta net knows."""
        return in_lines(4 * self.value_heads * self.state_dim**2)

    @property
    def pending_at(self) -> int:
        """The byte at which begins what is pending."""
        return self.history_at + history_rows(self.taps) * self.history_stride

    @property
    def layer_bytes(self) -> int:
        """What a layer keeps."""
        return self.pending_at + (PENDING_ROWS * self.pending_stride if self.value_heads else 0)


def n_copies(state_bytes: int) -> int:
    """How many copies of a state of that size are kept."""
    return max(3, min(MOST_COPIES, COPIES_BYTES // max(1, state_bytes)))


def bytes_with_copies(recurrence: Recurrence | None, n_layers: int) -> int:
    """What the state of so many layers takes, with as many copies as there may be."""
    n_bytes = n_layers * recurrence.layer_bytes if recurrence else 0
    return n_bytes * (1 + n_copies(n_bytes))


def in_lines(n_bytes: int) -> int:
    """So many bytes in whole cache lines."""
    return -(-n_bytes // LINE_BYTES) * LINE_BYTES
