"""Speculation by prompt lookup: text that repeats itself is verified several tokens at a time.

What may follow (lookup.py) goes through the model in one batch. Whatever comes of it, the answer is the one that would
have been written token by token: a batch gives the same bits as single tokens, every token is chosen by the sampler
from its own logits, and guesses that differ from the choice are dropped. How many tokens are guessed follows from how
often such guesses came true, evaluated or not, and from what batches took.

Source: Saxena 2023, prompt lookup decoding; Leviathan et al. 2023.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.answers.lookup import LONG_COPY, Guess, Lookup
from engine.answers.sampling import Floats
from engine.kernels.records import FEW_TOKENS

if TYPE_CHECKING:
    from engine.model import LanguageModel

MOST_GUESSES = FEW_TOKENS - 1
"""Guesses in one batch; larger ones would go through the model as prompts do."""

FIRST_CHANCES = {0: 0.5, 1: 0.2, 2: 0.4, 3: 0.55, 4: 0.65, 5: 0.75, LONG_COPY: 0.9}
"""How often a guess comes true by the length of its match, before there is experience."""

FIRST_COSTS = (1.0, 1.05, 1.1, 1.15, 1.3, 1.35, 1.5, 1.55)
"""What batches of one to FEW_TOKENS tokens take, in single tokens, before they were measured: rather too little, so
that they will be."""

NO_GUESS = Guess([], 0)

LEARN, FORGET = 0.1, 0.01
"""Weight of what was just seen in the running averages, and of what was thought first in those that were not."""

WORTH = 1.04
"""What guessing has to promise, in tokens for the time of one: less than that is lost between the estimates."""

LONGEST_S = 4.0
"""A batch that took more single tokens than that met another program, and says little."""


class Chances:
    """How often guesses come true, by the length of their match."""

    def __init__(self) -> None:
        self._chances = dict(FIRST_CHANCES)

    def of(self, guess: Guess, index: int) -> float:
        """The chance of a guess's token if those before it come true."""
        return self._chances[self._level(guess, index)]

    def seen(self, guess: Guess, followed: Sequence[int]) -> int:
        """Learn from what followed in place of a guess; returns how many of its tokens came true."""
        for index, (guessed, real) in enumerate(zip(guess.ids, followed, strict=False)):
            level = self._level(guess, index)
            self._chances[level] += LEARN * ((guessed == real) - self._chances[level])
            if guessed != real:
                return index
        return min(len(guess.ids), len(followed))

    @staticmethod
    def _level(guess: Guess, index: int) -> int:
        """Tokens that come true make the match longer; behind a change, the copy goes on."""
        match = guess.match + index if guess.match else index * LONG_COPY
        return max(level for level in FIRST_CHANCES if level <= match)


class Costs:
    """What batches take, in the time of a single token."""

    def __init__(self) -> None:
        self._single_s = 0.0
        self._costs = list(FIRST_COSTS)

    @property
    def known(self) -> bool:
        """Whether a single token was measured."""
        return self._single_s > 0

    def of(self, n_tokens: int) -> float:
        """What so many tokens in a batch take."""
        return self._costs[n_tokens - 1]

    def took(self, n_tokens: int, batch_s: float) -> None:
        """Learn from a batch. What was not measured for long is tried again at last."""
        if n_tokens == 1:
            kept = self._single_s or batch_s
            self._single_s = kept + LEARN * (min(batch_s, LONGEST_S * kept) - kept)
            return
        for i, first in enumerate(FIRST_COSTS[1:], start=1):
            weight, value = FORGET, first
            if i == n_tokens - 1:
                weight, value = 2 * LEARN, min(batch_s / self._single_s, LONGEST_S)
            self._costs[i] += weight * (value - self._costs[i])


class Lookahead:
    """Gives the logits after a growing sequence, evaluating guesses along with it where that pays.

    n_guessed, n_right: guesses that were evaluated, and those that came true. batch_s: what the last batch took.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._lookup, self._chances, self._costs = Lookup(), Chances(), Costs()
        self._guess, self._guessed_at = NO_GUESS, 0
        self._guesses: list[int] = []
        self._rows: list[Floats] = []
        self._used = 0
        self.n_guessed = self.n_right = 0
        self.batch_s = 0.0

    def logits_after(self, ids: Sequence[int], room: int) -> Floats:
        """Logits after the last of ids, whose others were evaluated before; a view, valid until the next call.

        room: tokens that may still follow; no guess goes beyond them.
        """
        if self._used < len(self._guesses) and self._guesses[self._used] == ids[-1]:
            self._used += 1
            self.n_right += 1
            return self._rows[self._used]
        self._chances.seen(self._guess, ids[self._guessed_at :])
        most = min(MOST_GUESSES, self._model.batch_size - 1, room)
        self._guess = self._lookup.guess(ids, most) if most else NO_GUESS
        self._guessed_at = len(ids)
        return self._evaluate(ids, self._guess.ids[: self._how_many()])

    def _how_many(self) -> int:
        """How many of the guesses are worth evaluating: most tokens for the time they take."""
        if not self._costs.known:
            return 0
        best, n_best = WORTH, 0
        chance = expected = 1.0
        for index in range(len(self._guess.ids)):
            chance *= self._chances.of(self._guess, index)
            expected += chance
            worth = expected / self._costs.of(index + 2)
            if worth > best:
                best, n_best = worth, index + 1
        return n_best

    def _evaluate(self, ids: Sequence[int], guesses: list[int]) -> Floats:
        started_s = time.perf_counter()
        self._rows = self._model.evaluate_each([ids[-1], *guesses], len(ids) - 1)
        self.batch_s = time.perf_counter() - started_s
        self._costs.took(1 + len(guesses), self.batch_s)
        self._guesses, self._used = guesses, 0
        self.n_guessed += len(guesses)
        return self._rows[0]
