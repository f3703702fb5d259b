"""What layers without attention remember of a text: a state of fixed size, and how far back a text can go on from it.

Attention's cache can be cut anywhere; a state only goes forward. Behind a batch of a few tokens it can still begin at
any of them (see kernels/delta_net.py), as the verification of guesses needs it. For what goes back further, copies are
kept of a few places: at the end of a prompt, and where one left another that it shares its beginning with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.kernels import recurrence as records
from engine.kernels.records import FEW_TOKENS
from engine.program import float_bits, zeros_in_lines
from engine.recurrence import n_copies
from engine.recurrent_weights import RecurrentWeights, Vector
from engine.weights import ModelWeights

HEAD_BYTES = 16
"""Of a saved state: its position and what follows it, int64 each."""


@dataclass(frozen=True)
class Copy:
    """A state as it was: after n_tokens of a text, which it can go on from at `first` or anything behind it."""

    ids: tuple[int, ...]
    first: int
    memory: NDArray[np.uint8]

    @property
    def n_tokens(self) -> int:
        """How many tokens were read."""
        return len(self.ids)


class RecurrentState:
    """The state of all layers without attention, and copies of it.

    ids: the tokens that the cache of the other layers holds, changed by their owner: what the state can go on from is
    always the beginning of them. layers: by their number in the model.
    """

    def __init__(self, config: ModelConfig, layers: dict[int, RecurrentWeights], ids: list[int]) -> None:
        assert config.recurrence is not None
        self._ids = ids
        self._copies: list[Copy] = []
        self._progress = np.zeros(1, np.int64)
        self._n_read = 0
        layer_bytes = config.recurrence.layer_bytes
        self._memory = zeros_in_lines(len(layers) * layer_bytes).reshape(len(layers), layer_bytes)
        self._layers = layers
        self.records = {
            layer: _record(config, weights, self._progress, memory)
            for (layer, weights), memory in zip(layers.items(), self._memory, strict=True)
        }

    def reach(self, n: int) -> int:
        """The last position up to n from which the tokens of the cache can be followed by others, or read again."""
        places = [0, *(min(n, copy.n_tokens) for copy in self._copies if self._is_of_this_text(copy, n))]
        if self._first <= n:
            places.append(min(n, self._n_read))
        return max(places)

    def go_to(self, pos: int) -> None:
        """Be where the token at a position can be read; `reach` must have said that this can be."""
        if pos == 0:
            self._memory[:] = 0
            self._set(0, 0)
        elif not self._first <= pos <= self._n_read:
            copy = next(c for c in reversed(self._copies) if pos <= c.n_tokens and self._is_of_this_text(c, pos))
            self._memory[:] = copy.memory
            self._set(copy.first, copy.n_tokens)
            # Who is used is the last to go.
            self._copies.remove(copy)
            self._copies.append(copy)

    def went_on(self, pos: int, n: int) -> None:
        """A batch of n tokens was read from a position on."""
        self._set(pos if n <= FEW_TOKENS else pos + n, pos + n)

    def remember(self) -> None:
        """Keep a copy of the state as it is now; another one gives way to it."""
        ids = tuple(self._ids[: self._n_read])
        self._copies = [c for c in self._copies if c.ids != ids]
        if len(self._copies) >= n_copies(self._memory.nbytes):
            useless = (c for c in self._copies if not self._is_of_this_text(c, len(self._ids)))
            self._copies.remove(next(useless, self._copies[0]))
        self._copies.append(Copy(ids, self._first, self._memory.copy()))

    @property
    def saved_bytes(self) -> int:
        """What `save` writes."""
        return 2 * (HEAD_BYTES + int(self._memory.nbytes))

    @property
    def layout(self) -> str:
        """Names the order of what `save` writes."""
        return f"recurrent {self._memory.shape} {FEW_TOKENS}"

    def save(self, file: BinaryIO) -> int:
        """Write the state and the copy of this text that was used or made last; returns the sum of the words."""
        live = Copy(tuple(self._ids[: self._n_read]), self._first, self._memory)
        copy = next((c for c in reversed(self._copies) if self._is_of_this_text(c, len(self._ids))), live)
        total = 0
        for each in (copy, live):
            for part in (np.array([each.first, each.n_tokens], np.int64).view(np.uint8), each.memory):
                file.write(part.data)
                total += _sum(part)
        return total

    def restore(self, file: BinaryIO, offset: int, ids: Sequence[int]) -> int:
        """Take back what `save` wrote for a cache of these tokens; returns the sum of the words."""
        saved = np.memmap(file, np.uint8, "r", offset, (self.saved_bytes,))
        self._copies.clear()
        for part in saved.reshape(2, -1):
            first, n_read = (int(value) for value in part[:HEAD_BYTES].view(np.int64))
            if not (0 <= first <= n_read <= len(ids) and n_read - first <= FEW_TOKENS):
                first = n_read = 0
            self._memory[:] = part[HEAD_BYTES:].reshape(self._memory.shape)
            self._set(first, n_read)
            if not self._copies:
                self._copies.append(Copy(tuple(ids[:n_read]), first, self._memory.copy()))
        return _sum(saved)

    @property
    def _first(self) -> int:
        """The first position that the state can go on from; the last one is _n_read."""
        return int(self._progress[0])

    def _set(self, first: int, n_read: int) -> None:
        self._progress[0], self._n_read = first, n_read

    def _is_of_this_text(self, copy: Copy, n: int) -> bool:
        """Whether a copy can go on from some of the first n tokens in the cache."""
        shared = min(n, copy.n_tokens)
        return copy.first <= n and tuple(self._ids[:shared]) == copy.ids[:shared]


def recurrent_state(config: ModelConfig, weights: ModelWeights, ids: list[int]) -> RecurrentState | None:
    """The state of a model with these weights; None where all layers attend. ids: as RecurrentState has them."""
    layers = {i: layer.recurrent for i, layer in enumerate(weights.layers) if layer.recurrent is not None}
    return RecurrentState(config, layers, ids) if layers else None


def _record(
    config: ModelConfig, weights: RecurrentWeights, progress: NDArray[np.int64], memory: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """The record of a layer, int64 (RECURRENCE_FIELDS,), whose part of the state is at `memory`."""
    assert config.recurrence is not None
    r, at = config.recurrence, int(memory.ctypes.data)
    record = np.zeros(records.RECURRENCE_FIELDS, np.int64)
    record[records.PROGRESS] = progress.ctypes.data
    record[records.TAPS], record[records.TAP_WEIGHTS] = r.taps, weights.taps.ctypes.data
    record[records.CHANNELS] = r.channels
    record[records.SOURCE_AT], record[records.FACTOR_AT] = r.source_at, r.factor_at
    record[records.HISTORY], record[records.HISTORY_STRIDE] = at + r.history_at, r.history_stride
    record[records.HISTORY_ROWS] = records.history_rows(r.taps)
    record[records.KEY_HEADS], record[records.VALUE_HEADS] = r.key_heads, r.value_heads
    record[records.STATE_DIM], record[records.KEYS_IN_TURN] = r.state_dim, r.keys_in_turn
    record[records.STATES] = at
    record[records.PENDING], record[records.PENDING_STRIDE] = at + r.pending_at, r.pending_stride
    record[records.TIME_BIAS] = _address(weights.time_bias)
    record[records.TIME_SCALE] = _address(weights.time_scale)
    record[records.HEAD_NORM] = _address(weights.head_norm)
    record[records.NORM_EPS] = float_bits(config.norm_eps)
    return record


def _address(vector: Vector | None) -> int:
    return 0 if vector is None else int(vector.ctypes.data)


def _sum(values: NDArray[np.uint8]) -> int:
    """The sum of 64-bit words."""
    return int(values.reshape(-1).view(np.uint64).sum(dtype=np.uint64))
