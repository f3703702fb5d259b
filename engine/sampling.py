"""Chooses the next token: repeat penalty, top-k, top-p, min-p, temperature, and one draw, in llama.cpp's order.

Every sampler keeps a leading part of the tokens (the larger logit first, of equals the lower id), so nothing is ever
sorted in full: a threshold that is certainly low enough picks a few, and quickselect finds the border among those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.kernels.sizes import LOGITS_BLOCK
from engine.machine_code import function
from engine.protocol import Sampling

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

BLOCK_MAXIMA = function("select.block_maxima", "void", "int64", "int64", "int64")
EXP_SUMS = function("select.exp_sums", "float64", "int64", "int64", "float32", "float32", "int64")
GATHER = function("select.gather", "int64", "int64", "int64", "int64", "float32", "int64", "int64")
LEADING = function("select.leading", "int64", "int64", "int64", "int64", "int64", "float64")
DRAW = function("select.draw", "int64", "int64", "int64", "float32", "float32", "int64", "float64")
FUNCTIONS = (BLOCK_MAXIMA, EXP_SUMS, GATHER, LEADING, DRAW)
"""The kernels of `engine.kernels.select`."""

MIN_TEMPERATURE = 1e-6
"""Below this, but above 0, the division would overflow; nothing but the leading token has a chance long before."""

NUCLEUS_DISTANCES = (4.0, 7.0, 9.0, 11.0, 13.0, 16.0, 20.0)
"""How far below the largest logit top-p looks for its share of the probability, before it looks at everything."""

SEED_BITS = 64


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
        bits = np.random.PCG64(seed % (1 << SEED_BITS))
        bits.advance(skip)
        self._random = np.random.Generator(bits)
        n_blocks = -(-vocab_size // LOGITS_BLOCK)
        self._penalized = np.empty(vocab_size, np.float32)
        self._chances = np.zeros(vocab_size, np.float64)
        self._maxima = np.empty(n_blocks, np.float32)
        self._sums = np.empty(n_blocks, np.float64)
        self._ids = np.empty(vocab_size, np.int32)
        self._values = np.empty(vocab_size, np.float32)
        self._to_maxima, self._to_sums = _address(self._maxima), _address(self._sums)
        self._to_ids, self._to_values = _address(self._ids), _address(self._values)

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
        """Choose the next token.

        logits: (vocab,), left as they are. recent: ids so far, prompt included, the latest last. n_top, n_chances: how
        many leading tokens to report, by the model's raw distribution. given: somebody else's choice, which is taken;
        its chance is reported with the leading ones.
        """
        raw_top = check_finite(logits)
        raw_total = self._exp_sums(logits, raw_top, 1.0)
        log_total = raw_top + math.log(raw_total)
        ranked = self._ranked(logits, log_total, max(n_top, n_chances)) if n_top or n_chances else []
        x = self._with_penalty(logits, recent, sampling)
        uniform = self._random.random()
        if sampling.temperature <= 0:
            chosen = int(x.argmax())
            self._chances[chosen] = 1.0
            touched: Ids | None = np.array([chosen], np.int32)
        else:
            total = raw_total if x is logits else None
            chosen, touched = self._draw(x, total, sampling, uniform, fill_chances=bool(n_chances))
        leading = ranked[:n_chances]
        if given is not None:
            chosen = given
            if n_chances and all(token.id != given for token in leading):
                leading.append(RankedToken(given, float(logits[given]) - log_total))
        chances = [Chance(i, math.exp(p), float(self._chances[i])) for i, p in leading]
        self._chances[slice(None) if touched is None else touched] = 0.0
        return Choice(chosen, float(logits[chosen]) - log_total, ranked[:n_top], chances)

    def _ranked(self, logits: Floats, log_total: float, n: int) -> list[RankedToken]:
        """The n leading tokens of the raw distribution, in order."""
        self._find_maxima(logits)
        n_found = self._gather(logits, self._floor_of(n))
        values = self._values[:n_found]
        order = np.argsort(-values, kind="stable")[:n]
        return [RankedToken(int(self._ids[i]), float(values[i]) - log_total) for i in order]

    def _floor_of(self, n: int) -> float:
        """A logit that at least n others reach: the n-th largest maximum of a block."""
        if n >= self._maxima.size:
            return -math.inf
        return float(np.partition(self._maxima, -n)[-n])

    def _with_penalty(self, logits: Floats, recent: Sequence[int], sampling: Sampling) -> Floats:
        """The logits with those of recent tokens lowered (or, below a penalty of 1, raised)."""
        penalty, last_n = sampling.repeat_penalty, sampling.repeat_last_n
        if penalty == 1.0 or last_n == 0 or not recent:
            return logits
        ids = np.array(list(set(recent[-last_n:])), np.int64)
        np.copyto(self._penalized, logits)
        values = self._penalized[ids]
        self._penalized[ids] = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
        return self._penalized

    def _draw(
        self, x: Floats, total: float | None, sampling: Sampling, uniform: float, *, fill_chances: bool
    ) -> tuple[int, Ids | None]:
        """Draw a token; returns it and the ids whose place in `_chances` was filled, None for all of them.

        total: the sum of e^(x - its largest), if it is known.
        """
        scale = 1.0 / max(sampling.temperature, MIN_TEMPERATURE)
        self._find_maxima(x)
        top = float(self._maxima.max())
        n = self._cut(x, top, total, sampling)
        if n is None:
            total = self._exp_sums(x, top, scale)
            if fill_chances:
                np.exp((x.astype(np.float64) - top) * scale, out=self._chances)
                self._chances /= total
            return DRAW(_address(x), x.size, top, scale, self._to_sums, uniform * total), None
        ids = self._ids[:n]
        running = np.cumsum(np.exp((self._values[:n].astype(np.float64) - top) * scale))
        place = min(int(running.searchsorted(uniform * running[-1], side="right")), n - 1)
        if fill_chances:
            self._chances[ids] = np.diff(running, prepend=0.0) / running[-1]
        return int(ids[place]), ids

    def _cut(self, x: Floats, top: float, total: float | None, sampling: Sampling) -> int | None:
        """Put the tokens that the samplers keep into `_ids` and `_values`; returns how many, None for all there are."""
        lowest = top + math.log(sampling.min_p) if 0 < sampling.min_p < 1 else top if sampling.min_p >= 1 else -math.inf
        if 0 < sampling.top_k < x.size:
            n = self._top_k(x, sampling.top_k)
            if sampling.top_p < 1:
                weights, total = self._weights(n, top)
                n = self._leading(n, weights, sampling.top_p * total)
            return self._at_least(n, lowest)
        if sampling.top_p < 1:
            if total is None:
                total = self._exp_sums(x, top, 1.0)
            return self._nucleus(x, top, lowest, sampling.top_p * total)
        if lowest > -math.inf:
            return self._gather(x, lowest)
        return None

    def _top_k(self, x: Floats, k: int) -> int:
        n = self._gather(x, self._floor_of(k))
        return n if n <= k else self._leading(n, np.ones(n, np.float32), k)

    def _nucleus(self, x: Floats, top: float, lowest: float, target: float) -> int:
        """Top-p and min-p over the whole vocabulary: search a part that grows until its weight reaches target."""
        for floor in (*(max(top - distance, lowest) for distance in NUCLEUS_DISTANCES), lowest):
            n = self._gather(x, floor)
            weights, found = self._weights(n, top)
            if found >= target:
                return self._leading(n, weights, target)
            if floor == lowest:
                break
        return int(n)

    def _weights(self, n: int, top: float) -> tuple[Floats, float]:
        """e^(value - top) of the first n, and the sum."""
        weights = np.exp(self._values[:n] - np.float32(top))
        return weights, float(weights.sum(dtype=np.float64))

    def _leading(self, n: int, weights: Floats, target: float) -> int:
        return int(LEADING(self._to_values, self._to_ids, _address(weights), n, target))

    def _find_maxima(self, x: Floats) -> None:
        """Every block's largest logit to `_maxima`."""
        BLOCK_MAXIMA(_address(x), x.size, self._to_maxima)

    def _exp_sums(self, x: Floats, top: float, scale: float) -> float:
        """The sum of e^((x - top) * scale); every block's goes to `_sums`."""
        return float(EXP_SUMS(_address(x), x.size, top, scale, self._to_sums))

    def _gather(self, x: Floats, threshold: float) -> int:
        """Logits from `threshold` on to `_values` and their ids to `_ids`; returns how many. Needs `_maxima`."""
        return int(GATHER(_address(x), x.size, self._to_maxima, threshold, self._to_ids, self._to_values))

    def _at_least(self, n: int, lowest: float) -> int:
        """Of the first n, keep those whose logit is at least `lowest`."""
        if lowest == -math.inf:
            return n
        keep = self._values[:n] >= np.float32(lowest)
        n_kept = int(np.count_nonzero(keep))
        self._ids[:n_kept] = self._ids[:n][keep]
        self._values[:n_kept] = self._values[:n][keep]
        return n_kept


def check_finite(logits: Floats) -> float:
    """The largest logit; EngineError if any is not a number or not finite."""
    top, bottom = float(logits.max()), float(logits.min())
    if not (math.isfinite(top) and math.isfinite(bottom)):
        raise EngineError(
            "The model computed something that is not a number.",
            "The model file may be damaged; verify it, or fetch it again.",
        )
    return top


def log_softmax_top(logits: Floats, n: int) -> list[RankedToken]:
    """The n most likely tokens, most likely first, with the natural log of their probability."""
    sampler = Sampler(logits.size, 0)
    top = check_finite(logits)
    total = sampler._exp_sums(logits, top, 1.0)
    return sampler._ranked(logits, top + math.log(total), min(n, logits.size)) if n > 0 else []


def _address(array: NDArray[Any]) -> int:
    """Where an array lies, one number after the other."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
