"""Speculation by prompt lookup: text that repeats itself is verified several tokens at a time.

The tokens that followed an earlier occurrence of the latest few are guessed to follow again, and go through the model
in one batch. Whatever comes of it, the answer is the one that would have been written token by token: a batch gives the
same bits as single tokens, every token is chosen by the sampler from its own logits, and guesses that differ from the
choice are dropped. Source: Saxena 2023, prompt lookup decoding; Leviathan et al. 2023.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.kernels.records import FEW_TOKENS
from engine.sampling import Floats

if TYPE_CHECKING:
    from engine.model import LanguageModel

GRAM = 3
"""Tokens that must occur again before what followed them is guessed: two match by chance too often."""

LONG_COPY, LONG_CHANGE = 8, 2
"""Guesses that came true in a row before it counts as a copy, and tokens that may differ without its end."""

FEW_GUESSES, MOST_GUESSES = 3, FEW_TOKENS - 1
"""Guesses in one batch: a few, which cost next to nothing where reading the weights takes the time; the most as long as
all of them come true."""

FORGET = 0.8
"""Weight of the past in the running averages: a change shows after about five batches."""

FIRST_REST, LONGEST_REST = 16, 512
"""Tokens without guesses after a loss; doubled with each loss that follows, so that unsuitable text costs nothing."""


class Lookup:
    """Finds what followed the latest occurrence of a sequence's last GRAM tokens.

    In a long copy, a token that differs is taken for a change in its place: the copy is looked at behind it, where no
    GRAM tokens have occurred before.
    """

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        self._n_indexed = 0
        self._offset = self._copied = self._checked = 0

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow ids; ids must begin as at the last call."""
        for end in range(max(self._n_indexed, GRAM), len(ids)):
            self._after[tuple(ids[end - GRAM : end])] = end
        self._n_indexed = len(ids)
        start = self._after.get(tuple(ids[-GRAM:]))
        if start is None:
            if self._copied < LONG_COPY or len(ids) - self._checked > LONG_CHANGE:
                return []
            start = len(ids) + self._offset
        if start - len(ids) != self._offset:
            self._offset, self._copied = start - len(ids), 0
        return list(ids[start : start + most])

    def came_true(self, n_right: int, n_ids: int) -> None:
        """So many of the last guesses did, and the sequence has n_ids tokens since."""
        self._copied = self._copied + n_right if n_right else self._copied // 2
        self._checked = n_ids


class Pace:
    """Says whether guessing pays here, from what batches with and without guesses took and brought."""

    def __init__(self) -> None:
        self._single_s = 0.0
        self._per_token_s = 0.0
        self._rest, self._next_rest = 0, FIRST_REST

    def may_guess(self) -> bool:
        """Whether to guess now; counts down a rest."""
        if self._rest > 0:
            self._rest -= 1
        return self._rest == 0 and self._single_s > 0

    def single(self, seconds: float) -> None:
        """A token went through by itself."""
        self._single_s = _average(self._single_s, seconds)

    def batch(self, seconds: float, n_tokens: int) -> None:
        """A batch with guesses brought so many tokens, at least one."""
        self._per_token_s = _average(self._per_token_s, seconds / n_tokens)
        if self._per_token_s > self._single_s:
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST_REST)
            self._per_token_s = 0.0
        elif n_tokens > 1:
            self._next_rest = FIRST_REST


def _average(old: float, new: float) -> float:
    return FORGET * old + (1 - FORGET) * new if old else new


class Lookahead:
    """Gives the logits after a growing sequence, evaluating guesses along with it where that pays.

    n_guessed, n_right: guesses that were evaluated, and those that came true.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._lookup, self._pace = Lookup(), Pace()
        self._guesses: list[int] = []
        self._rows: list[Floats] = []
        self._used = 0
        self._most = FEW_GUESSES
        self._seconds = 0.0
        self.n_guessed = self.n_right = 0

    def logits_after(self, ids: Sequence[int], room: int) -> Floats:
        """Logits after the last of ids, whose others were evaluated before; a view, valid until the next call.

        room: tokens that may still follow; no guess goes beyond them.
        """
        if self._used < len(self._guesses) and self._guesses[self._used] == ids[-1]:
            self._used += 1
            self.n_right += 1
            return self._rows[self._used]
        self._settle(len(ids))
        guesses: list[int] = []
        if self._pace.may_guess():
            guesses = self._lookup.guess(ids, min(self._most, self._model.batch_size - 1, room))
        return self._evaluate(ids, guesses)

    def _evaluate(self, ids: Sequence[int], guesses: list[int]) -> Floats:
        started_s = time.perf_counter()
        self._rows = self._model.evaluate_each([ids[-1], *guesses], len(ids) - 1)
        self._seconds = time.perf_counter() - started_s
        self._guesses, self._used = guesses, 0
        self.n_guessed += len(guesses)
        if not guesses:
            self._pace.single(self._seconds)
        return self._rows[0]

    def _settle(self, n_ids: int) -> None:
        """Count what the last batch brought."""
        if self._guesses:
            self._lookup.came_true(self._used, n_ids)
            self._pace.batch(self._seconds, self._used + 1)
            self._most = MOST_GUESSES if self._used == len(self._guesses) else FEW_GUESSES
            self._guesses = []
