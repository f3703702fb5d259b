"""The transformer: the program of its forward pass, and the state that a conversation leaves in its cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.architecture.config import ModelConfig
from engine.errors import ContextFullError
from engine.forward.buffers import MAX_OUTPUTS
from engine.forward.forward_pass import forward
from engine.forward.kv_cache import KVCache
from engine.forward.program import Program
from engine.forward.recurrent_state import recurrent_state
from engine.forward.team import Team
from engine.forward.weights import ModelWeights
from engine.kernels.records import FEW_TOKENS
from engine.kernels.sizes import TILE_BYTES, attention_scratch_bytes
from engine.reports import ReportKernels
from engine.shared_prefix import LEAST_GAIN_TOKENS


class Transformer:
    """Weights, cache and program of one model; `evaluate` is all there is to do with it.

    batch_size: tokens that go through together. cached_ids: the tokens whose keys and values the cache holds.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: ModelWeights,
        max_seq_len: int,
        batch_size: int,
        threads: int,
        kv_name: str = "f16",
        report: ReportKernels = lambda done, total, name: None,
    ) -> None:
        self.config, self.weights = config, weights
        self.max_seq_len, self.batch_size = max_seq_len, batch_size
        self.cached_ids: list[int] = []
        self.state = recurrent_state(config, weights, self.cached_ids)
        self.cache = KVCache(config, batch_size, max_seq_len, kv_name)
        program = Program(batch_size)
        logits = forward(program, config, weights, self.cache, self.state)
        self._logits = [logits.row(i, config.vocab_size) for i in range(min(batch_size, MAX_OUTPUTS))]
        self._program = program
        head_dim = max((shape.head_dim for shape in config.shapes), default=0)
        self._team = Team(program.compile(report), threads, max(TILE_BYTES, attention_scratch_bytes(head_dim)))

    def expect(self, n_positions: int) -> None:
        """Make room in the cache for a text of so many tokens at once, rather than double it again and again."""
        self.cache.reserve(min(n_positions, self.max_seq_len), keep=bool(self.cached_ids))

    def reach(self, n: int) -> int:
        """The last position up to n from which the tokens in the cache can be followed by others, or read again."""
        return n if self.state is None else self.state.reach(n)

    def step_back(self, pos: int) -> int:
        """Get ready to read a token in the cache again; returns from where, so that some before it can be next.

        What comes behind it can still be gone on from.
        """
        return pos if self.state is None else self.state.step_back(pos)

    def parts(self, start: int, end: int, shared: int, *, again: bool = False) -> Iterator[tuple[int, int]]:
        """The batches in which positions start…end are best read; whoever takes one reads it before the next.

        shared: how many tokens the cache had in common with the text. Where a model cannot go back to any position, the
        state is kept there, if that spares enough, since other texts may have the same beginning; and at the end, with
        a last batch so short that any place in it can be come back to: a next text may differ from where an answer's
        header begins. again: the text in the cache stays, a part of it is read again; the state at its end is kept.
        """
        places = set()
        if self.state is not None and again:
            self.state.begin_again(start)
        elif self.state is not None:
            self.state.begin(start)
            places = {end}
            if start + LEAST_GAIN_TOKENS <= shared < end - FEW_TOKENS:
                places.add(shared)
        stops = places if self.state is None else {*places, end - FEW_TOKENS}
        while start < end:
            stop = min([start + self.batch_size, end, *(place for place in stops if place > start)])
            yield start, stop
            if self.state is not None and stop in places:
                self.state.remember()
            start = stop

    def evaluate(self, ids: Sequence[int], pos: int) -> NDArray[np.float32]:
        """Read tokens at positions pos…, forgetting what the cache held from there on.

        Returns the last one's logits (vocab_size,): a view, valid until the next call.
        """
        return self.evaluate_last(ids, pos, 1)[0]

    def evaluate_last(self, ids: Sequence[int], pos: int, n_out: int) -> list[NDArray[np.float32]]:
        """As evaluate, with the logits of each of the last n_out tokens, at most MAX_OUTPUTS."""
        self._check(ids, pos, n_out)
        if self.state is not None:
            self.state.go_to(pos)
        # What goes is forgotten first: room that cannot be had may cost all that was in the cache.
        del self.cached_ids[pos:]
        self.cache.reserve(pos + len(ids), keep=pos > 0)
        tokens = np.array(ids, np.int64)
        last = max(n_out, (len(ids) - 1) % self.batch_size + 1)
        start = 0
        while start < len(ids):
            rest = len(ids) - start
            end = start + (rest if rest == last else min(self.batch_size, rest - last))
            self._team.run(tokens[start:end], pos + start, n_out if rest == last else 1)
            if self.state is not None:
                self.state.went_on(pos + start, end - start)
            self.cached_ids.extend(ids[start:end])
            start = end
        return self._logits[:n_out]

    def _check(self, ids: Sequence[int], pos: int, n_out: int) -> None:
        """Kernels trust what they get, so nothing out of range goes there."""
        if not 0 <= pos <= len(self.cached_ids):
            raise ValueError(f"position {pos} does not follow the {len(self.cached_ids)} tokens in the cache")
        if (reach := self.reach(pos)) != pos:
            raise ValueError(f"the state of position {pos} is not there any more, that of {reach} is")
        if pos + len(ids) > self.max_seq_len:
            raise ContextFullError(pos + len(ids), self.max_seq_len)
        if not 1 <= n_out <= min(len(ids), MAX_OUTPUTS, self.batch_size):
            raise ValueError(f"{n_out} outputs asked of {len(ids)} tokens")
        if min(ids) < 0 or max(ids) >= self.config.vocab_size:
            raise ValueError(f"token ids go from 0 to {self.config.vocab_size - 1}")

    def close(self) -> None:
        """End the threads and give the memory back."""
        self._team.close()
        self.weights.close()
