"""Chooses the next token: what is wanted of the samplers goes to a kernel (`kernels/choose.py`), which does it all.

One call, and not a line of NumPy for each step: between two tokens everything waits for it, with cold caches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotFiniteError
from engine.kernels import choices
from engine.kernels.sizes import LOGITS_BLOCK
from engine.machine_code import function
from engine.protocol import Sampling

Floats = NDArray[np.float32]

_TOLD = Struct(f"={choices.GIVEN + 1}d")
"""What the kernel is told, from the first of its numbers on; cheaper than NumPy's assignment."""

CHOOSE = function("choose.choose", "int64", "int64", "int64", "int64", "int64")
FUNCTIONS = (CHOOSE,)

MIN_TEMPERATURE = 1e-6
"""Below this, but above 0, the division would overflow; nothing but the leading token has a chance long before."""

USED_SEED_BITS = 64
"""So much of a seed counts, whatever somebody gives."""


class RankedToken(NamedTuple):
    """One of the leading tokens of a distribution."""

    id: int
    logprob: float


class Chance(NamedTuple):
    """A leading token's probability in the model, and after the samplers (0 if they cut it off)."""

    id: int
    model_p: float
    sampler_p: float


class Choice(NamedTuple):
    """The chosen token, its log-probability in the model's raw distribution, and what was asked for beside it."""

    id: int
    logprob: float
    top: list[RankedToken]
    chances: list[Chance]


class Sampler:
    """Chooses tokens for one answer. One seed and the same logits give the same tokens; one draw is used per token.

    skip: how many tokens of this answer were chosen before; the draws go on where they stopped.
    """

    def __init__(self, vocab_size: int, seed: int, skip: int = 0) -> None:
        self._random = Random(seed % (1 << USED_SEED_BITS))
        for _ in range(skip):
            self._random.random()
        n_blocks = -(-vocab_size // LOGITS_BLOCK)
        self._numbers = np.zeros(choices.N_NUMBERS, np.float64)
        self._recent = np.empty(vocab_size, np.int32)
        self._ranked_ids = np.empty(vocab_size, np.int32)
        self._ranked_values = np.empty(vocab_size, np.float32)
        self._ranked_chances = np.empty(vocab_size, np.float64)
        self._buffers: dict[int, NDArray[Any]] = {
            choices.RECENT: self._recent,
            choices.PENALIZED: np.empty(vocab_size, np.float32),
            choices.MAXIMA: np.empty(n_blocks, np.float32),
            choices.SUMS: np.empty(n_blocks, np.float64),
            choices.IDS: np.empty(vocab_size, np.int32),
            choices.VALUES: np.empty(vocab_size, np.float32),
            choices.WEIGHTS: np.empty(max(vocab_size, LOGITS_BLOCK), np.float32),
            choices.RANKED_IDS: self._ranked_ids,
            choices.RANKED_VALUES: self._ranked_values,
            choices.RANKED_CHANCES: self._ranked_chances,
        }
        places = [_address(self._buffers[i]) if i in self._buffers else 0 for i in range(choices.N_PLACES)]
        self._places = np.array(places, np.int64)
        self._to_numbers, self._to_places = _address(self._numbers), _address(self._places)

    def choose(
        self,
        logits: Floats,
        recent: Sequence[int],
        sampling: Sampling,
        *,
        n_top: int = 0,
        n_chances: int = 0,
        given: int | None = None,
    ) -> Choice:
        """Choose the next token. Raises NotFiniteError.

        logits: (vocab,), left as they are. recent: ids so far, prompt included, the latest last. n_top, n_chances: how
        many leading tokens to report, by the model's raw distribution. given: somebody else's choice, which is taken;
        its chance is reported with the leading ones.
        """
        numbers = self._numbers
        n_ranked = min(max(n_top, n_chances), logits.size)
        temperature, min_p = sampling.temperature, sampling.min_p
        _TOLD.pack_into(
            numbers.data,
            0,
            1 / max(temperature, MIN_TEMPERATURE) if temperature > 0 else 0.0,
            sampling.top_k,
            sampling.top_p,
            math.log(min(min_p, 1.0)) if min_p > 0 else -math.inf,
            sampling.repeat_penalty,
            self._take_recent(recent, sampling),
            self._random.random(),
            n_ranked,
            -1 if given is None else given,
        )
        chosen = CHOOSE(_address(logits), logits.size, self._to_numbers, self._to_places)
        if chosen == choices.NOT_FINITE:
            raise NotFiniteError
        log_total = float(numbers[choices.TOP]) + math.log(numbers[choices.TOTAL])
        top, chances = self._ranked(n_ranked, log_total) if n_ranked else ([], [])
        top, chances = top[:n_top], chances[:n_chances]
        if given is not None:
            chosen = given
            if n_chances and all(chance.id != given for chance in chances):
                model_p = math.exp(float(logits[given]) - log_total)
                chances.append(Chance(given, model_p, float(numbers[choices.GIVEN_CHANCE])))
        return Choice(chosen, float(logits[chosen]) - log_total, top, chances)

    def _take_recent(self, recent: Sequence[int], sampling: Sampling) -> int:
        """Put the tokens that the penalty is for where the kernel looks; returns how many."""
        last_n = sampling.repeat_last_n
        if sampling.repeat_penalty == 1.0 or last_n == 0:
            return 0
        ids = set(recent[-last_n:])
        self._recent[: len(ids)] = list(ids)
        return len(ids)

    def _ranked(self, n: int, log_total: float) -> tuple[list[RankedToken], list[Chance]]:
        """The n leading tokens of the raw distribution in order, and their chances."""
        ids, chances = self._ranked_ids[:n].tolist(), self._ranked_chances[:n].tolist()
        logprobs = (self._ranked_values[:n].astype(np.float64) - log_total).tolist()
        return (
            [RankedToken(*each) for each in zip(ids, logprobs, strict=True)],
            [Chance(i, math.exp(p), chance) for i, p, chance in zip(ids, logprobs, chances, strict=True)],
        )


def _address(array: NDArray[Any]) -> int:
    """Where an array lies, one number after the other."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
