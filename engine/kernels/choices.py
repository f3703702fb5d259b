"""What `engine.answers.sampling` and the kernel that chooses a token tell each other. Nothing here needs Numba."""

from __future__ import annotations

N_NUMBERS = 16
(
    SCALE,
    TOP_K,
    TOP_P,
    LOG_MIN_P,
    PENALTY,
    N_RECENT,
    UNIFORM,
    N_RANKED,
    GIVEN,
    TOP,
    TOTAL,
    GIVEN_CHANCE,
) = range(12)
"""float64. What is wanted: 1 / temperature (0: the leading token), the other samplers' settings, how many recent ids
the penalty is for (0: none), a number drawn from [0, 1), how many leading tokens to report (at most the vocabulary),
and a token whose chance is reported too (-1: none). What is answered: the largest logit, the sum of
e^(logit - largest), and the chance of the given token after the samplers."""

N_PLACES = 16
(
    RECENT,
    PENALIZED,
    MAXIMA,
    SUMS,
    IDS,
    VALUES,
    WEIGHTS,
    RANKED_IDS,
    RANKED_VALUES,
    RANKED_CHANCES,
) = range(10)
"""int64: addresses. Recent ids (int32); the logits with a penalty (float32 (vocab,)); every block's largest logit
(float32) and sum (float64); what is left of the vocabulary and scratch beside it (int32, float32 and float32, (vocab,)
each); the leading tokens' ids (int32), logits (float32) and chances after the samplers (float64)."""

NOT_FINITE = -1
"""Answered instead of a token where a logit is infinite or no number."""
