"""What layers without attention remember of a text: a state of fixed size, and how far back a text can go on from it.

Attention's cache can be cut anywhere; a state only goes forward. Behind a batch of a few tokens it can still begin at
any of them (see kernels/delta_net.py), as the verification of guesses needs it. For what goes back further, copies are
kept of a few places: where a prompt left what was there, at its end, and on the way through an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.architecture.config import ModelConfig
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.recurrence import n_copies
from engine.architecture.selective import SelectiveScan
from engine.architecture.state_space import StateSpace
from engine.forward.kv_cache import sum_of_words
from engine.forward.program import aligned_zeros, float_bits
from engine.forward.weights import ModelWeights, RecurrentWeights
from engine.kernels import recurrence as records
from engine.kernels.records import FEW_TOKENS
from engine.machine_code import address_of
from engine.shared_prefix import LEAST_GAIN_TOKENS, common_prefix_length

MOST_SAVED = 2
"""States of a text that go to the disk."""

SAVED_BYTES_PER_TOKEN = 512 << 10
"""What a saved state may take for each token that it spares."""

PLACE_BYTES = 16
"""Of a saved state: the first position that it can go on from and the last one, int64 each."""


@dataclass(eq=False, slots=True)
class Copy:
    """A state as it was: after ids, a text which it can go on from at `first` or anything behind it.

    is_passing: it was made on the way through an answer. n_shared: so many ids, or more, begin the text in the cache.
    """

    ids: list[int]
    first: int
    memory: NDArray[np.uint8]
    is_passing: bool
    n_shared: int


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
        self._begun_at = 0
        layer_bytes = config.recurrence.layer_bytes
        self._memory = aligned_zeros(len(layers) * layer_bytes).reshape(len(layers), layer_bytes)
        self._layers = layers
        self.records = {
            layer: _record(config, weights, self._progress, memory)
            for (layer, weights), memory in zip(layers.items(), self._memory, strict=True)
        }

    def reach(self, n: int) -> int:
        """The last position up to n from which the tokens of the cache can be followed by others, or read again."""
        if self._first <= n <= self._n_read:
            return n
        live = self._n_read if self._first <= n else 0
        return max(live, self._copied(n))

    def go_to(self, pos: int) -> None:
        """Be where the token at a position can be read; `reach` must have said that this can be.

        What the cache holds from there on is about to go.
        """
        first, is_here = self._first, self._first <= pos <= self._n_read
        if pos == 0:
            first = 0
            self._memory[:] = 0
        elif not is_here:
            copy = self._used(pos)
            self._memory[:], first = copy.memory, copy.first
        self._set(first, pos)
        # Behind many tokens, a prompt is being read.
        if is_here and first < pos and self._gain(pos) >= LEAST_GAIN_TOKENS:
            self._remember(is_passing=True)
        for copy in self._copies:
            copy.n_shared = min(copy.n_shared, pos)

    def step_back(self, pos: int) -> int:
        """Get ready to read a token in the cache again; returns from where, so that some before it can be next."""
        if self._first <= pos <= self._n_read:
            return self._first
        self.begin_again(pos)
        return pos

    def went_on(self, pos: int, n: int) -> None:
        """A batch of n tokens was read from a position on."""
        self._set(pos if n <= FEW_TOKENS else pos + n, pos + n)

    def begin(self, pos: int) -> None:
        """A text goes on from a position: keep what is there for others that do, if no copy spares nearly as much."""
        self._begun_at = pos
        lasting = [copy for copy in self._copies if not copy.is_passing]
        spared = max((self._place(copy, pos) for copy in lasting), default=0)
        if self._first <= pos <= self._n_read and pos - spared >= LEAST_GAIN_TOKENS:
            self.remember()

    def begin_again(self, pos: int) -> None:
        """The text in the cache will be read again from a position: keep what is at its end, to go on from there."""
        if pos and not self._first <= pos <= self._n_read:
            self._used(pos)
        if self._n_read == len(self._ids) and self._gain(self._n_read):
            self.remember()

    def remember(self) -> None:
        """Keep a copy of the state as it is now; another one gives way to it. Without memory for it there is none."""
        self._remember(is_passing=False)

    def forget(self) -> None:
        """Know no text any more."""
        self._copies.clear()
        self._set(0, 0)

    def leave(self) -> None:
        """The cache is empty."""
        self._set(0, 0)
        for copy in self._copies:
            copy.n_shared = 0

    def saved_bytes(self, n_states: int) -> int:
        """What `save` writes of so many states."""
        return n_states * (PLACE_BYTES + int(self._memory.nbytes))

    @property
    def layout(self) -> str:
        """Names the order of what `save` writes."""
        return f"recurrent 2 {self._memory.shape} {FEW_TOKENS}"

    def worth_saving(self) -> list[Copy]:
        """What the next texts need that begin as the one in the cache does, in order, each if it spares enough.

        They go on from where the last one did, from its end, or from the end of its answer.
        """
        n = len(self._ids)
        live = Copy(self._ids[: self._n_read], self._first, self._memory, False, self._n_read)
        found = sorted((c for c in [*self._copies, live] if self._place(c, n)), key=lambda c: self._place(c, n))
        behind = self._copied(self._begun_at)
        least = max(LEAST_GAIN_TOKENS, self._memory.nbytes // SAVED_BYTES_PER_TOKEN)
        kept: list[Copy] = []
        for copy in found:
            before = kept[-1].n_shared if kept else 0
            if copy.n_shared >= behind and copy.n_shared - before >= least and not copy.is_passing:
                kept.append(copy)
        return [*kept[: MOST_SAVED - 1], *kept[MOST_SAVED - 1 :][-1:]]

    def save(self, file: BinaryIO, states: Sequence[Copy]) -> int:
        """Write states that `worth_saving` told; returns the sum of the words."""
        places = np.array([(each.first, each.n_shared) for each in states], np.int64).reshape(-1).view(np.uint8)
        total = 0
        for part in (places, *(each.memory for each in states)):
            file.write(part.data)
            total += sum_of_words(part)
        return total

    def saved_reach(self, file: BinaryIO, offset: int, n_states: int, n: int) -> int:
        """As `reach`, of what `save` wrote at an offset of a file; it stays where it is read."""
        file.seek(offset)
        places = np.frombuffer(file.read(n_states * PLACE_BYTES), np.int64).reshape(-1, 2).tolist()
        return max((min(n, last) for first, last in places if first <= n), default=0)

    def read_saved(self, file: BinaryIO, offset: int, n_states: int) -> NDArray[np.uint8]:
        """What `save` wrote at an offset of an open file."""
        return np.memmap(file, np.uint8, "r", offset, (self.saved_bytes(n_states),))

    def restore(self, saved: NDArray[np.uint8], n_states: int, ids: Sequence[int]) -> bool:
        """Take back what `save` wrote for a cache of these tokens, if it can be of such a one."""
        places = saved[: n_states * PLACE_BYTES].copy().view(np.int64).reshape(-1, 2).tolist()
        memories = saved[n_states * PLACE_BYTES :].reshape(n_states, *self._memory.shape)
        if not all(0 <= first <= last <= len(ids) and last - first <= FEW_TOKENS for first, last in places):
            return False
        for (first, last), memory in zip(places[:-1], memories, strict=False):
            self._keep(Copy(list(ids[:last]), first, memory, False, 0))
        self._memory[:] = memories[-1]
        self._set(*places[-1])
        self._begun_at = places[0][1]
        return True

    @property
    def _first(self) -> int:
        """The first position that the state can go on from; the last one is _n_read."""
        return int(self._progress[0])

    def _set(self, first: int, n_read: int) -> None:
        self._progress[0], self._n_read = first, n_read

    def _remember(self, *, is_passing: bool) -> None:
        self._keep(Copy(self._ids[: self._n_read], self._first, self._memory, is_passing, self._n_read))

    def _used(self, pos: int) -> Copy:
        """The copy that a position is gone on from; who is used is the last to give way."""
        copy = next(c for c in reversed(self._copies) if self._place(c, pos) == pos)
        self._copies.remove(copy)
        self._copies.append(copy)
        return copy

    def _keep(self, new: Copy) -> None:
        """Have a copy of its own memory among the others of its kind. A third of all may be made in passing.

        One that gives way leaves its memory, since new memory takes long to come.
        """
        gone = next((copy for copy in self._copies if copy.ids == new.ids), None)
        copies = [copy for copy in self._copies if copy is not gone]
        most = n_copies(self._memory.nbytes)
        most = most // 3 if new.is_passing else most - most // 3
        alike = [copy for copy in copies if copy.is_passing == new.is_passing]
        if len(alike) >= most:
            useless = (copy for copy in alike if not self._place(copy, len(self._ids)))
            gone = next(useless, alike[0])
            copies.remove(gone)
        with contextlib.suppress(MemoryError):
            memory = gone.memory if gone else np.empty_like(self._memory)
            memory[:] = new.memory
            new.memory = memory
            copies.append(new)
        self._copies = copies

    def _copied(self, n: int) -> int:
        """As `reach`, of the copies alone."""
        return max((self._place(copy, n) for copy in self._copies), default=0)

    def _gain(self, n: int) -> int:
        """How many tokens a copy of position n would spare that others do not."""
        return n - self._copied(n)

    def _place(self, copy: Copy, n: int) -> int:
        """The last position up to n that a copy can go on from in the text of the cache; 0: none."""
        at, most = copy.n_shared, min(len(copy.ids), len(self._ids))
        if at < min(n, most) and self._ids[at] == copy.ids[at]:
            copy.n_shared += common_prefix_length(self._ids[at:most], copy.ids[at:most])
        place = min(n, copy.n_shared)
        return place if place >= copy.first else 0


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
    record[records.TIME_BIAS] = address_of(weights.time_bias)
    record[records.TIME_SCALE] = address_of(weights.time_scale)
    record[records.HEAD_NORM] = address_of(weights.head_norm)
    record[records.NORM_EPS] = float_bits(config.norm_eps)
    if isinstance(r, StateSpace):
        record[records.HEAD_DIM] = r.head_dim
        record[records.TAP_BIAS], record[records.SKIPS] = address_of(weights.tap_bias), address_of(weights.skips)
    if isinstance(r, KimiDelta):
        record[records.DECAYS_AT] = 4 * records.decays_at(r.key_heads, r.value_heads, r.state_dim)
        record[records.SIGMOID_GATES] = 1
    if isinstance(r, SelectiveScan) and (selective := weights.selective) is not None:
        record[records.WRITTEN_AT], record[records.STEP_AT], record[records.STEP_DIM] = (
            r.written_at,
            r.step_at,
            r.step_dim,
        )
        record[records.WRITTEN_NORM] = address_of(selective.written_norm)
        record[records.READ_NORM] = address_of(selective.read_norm)
        record[records.STEP_NORM] = address_of(selective.step_norm)
    return record
