"""Chooses a token in one call: repeat penalty, top-k, top-p, min-p, temperature, one draw, in llama.cpp's order.

Every sampler keeps a leading part of the tokens (the larger logit first, of equals the lower id), so nothing is ever
sorted in full: a threshold that is certainly low enough picks a few, and quickselect finds the border among those.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.choices import (
    GIVEN,
    GIVEN_CHANCE,
    IDS,
    LOG_MIN_P,
    MAXIMA,
    N_RANKED,
    N_RECENT,
    NOT_FINITE,
    PENALIZED,
    PENALTY,
    RANKED_CHANCES,
    RANKED_IDS,
    RANKED_VALUES,
    RECENT,
    SCALE,
    SUMS,
    TOP,
    TOP_K,
    TOP_P,
    TOTAL,
    UNIFORM,
    VALUES,
    WEIGHTS,
)
from engine.kernels.jit import exported, inner
from engine.kernels.memory import doubles_at, field, floats_at, integers_at
from engine.kernels.select import (
    draw,
    exp_each,
    exp_of_negative,
    exp_sums,
    first_largest,
    floor_of,
    gather,
    leading,
    sort_leading_first,
    survey,
)
from engine.kernels.sizes import LOGITS_BLOCK

NUCLEUS_DISTANCES = (4.0, 7.0, 9.0, 11.0, 13.0, 16.0, 20.0)
"""How far below the largest logit top-p looks for its share of the probability, before it looks at everything."""

ALL = -1
"""How many are kept of a vocabulary that no sampler cuts."""

UNKNOWN = -1.0
"""A sum that was not needed so far."""


@exported
def choose(logits, vocab, numbers, places):
    """The next token's id, or NOT_FINITE. numbers, places: see `choices`; logits (float32 (vocab,)) are only read."""
    told = doubles_at(numbers)
    top = survey(logits, vocab, field(places, MAXIMA))
    if top - top != 0:
        return NOT_FINITE
    total = exp_sums(logits, vocab, top, np.float32(1.0), field(places, SUMS), field(places, WEIGHTS))
    told[TOP], told[TOTAL] = top, total
    if told[N_RANKED]:
        _rank(logits, vocab, places, np.int64(told[N_RANKED]))
    x = logits
    if told[N_RECENT]:
        x = field(places, PENALIZED)
        _penalize(logits, vocab, x, field(places, RECENT), np.int64(told[N_RECENT]), np.float32(told[PENALTY]))
        top, total = survey(x, vocab, field(places, MAXIMA)), UNKNOWN
        if top - top != 0:
            return NOT_FINITE
    if told[SCALE] == 0:
        return _take_leading(x, vocab, top, told, places)
    n = _cut(x, vocab, top, total, told, places)
    if n == ALL:
        return _draw_of_all(x, vocab, top, told, places)
    return _draw_of_kept(n, top, np.float32(told[SCALE]), told, places)


@inner
def _take_leading(x, vocab, top, told, places):
    integers_at(field(places, IDS))[0] = first_largest(x, vocab, field(places, MAXIMA), top)
    floats_at(field(places, VALUES))[0] = top
    return _draw_of_kept(1, top, np.float32(1.0), told, places)


@inner
def _rank(logits, vocab, places, n_ranked):
    """The leading tokens of the raw distribution, in order."""
    n = _leading_tokens(logits, vocab, n_ranked, places)
    ids, values = integers_at(field(places, IDS)), floats_at(field(places, VALUES))
    sort_leading_first(values, ids, n)
    ranked_ids, ranked_values = integers_at(field(places, RANKED_IDS)), floats_at(field(places, RANKED_VALUES))
    for i in range(n_ranked):
        ranked_ids[i], ranked_values[i] = ids[i], values[i]


@inner
def _leading_tokens(x, vocab, k, places):
    """Bring the k leading tokens to IDS and VALUES; returns how many there are."""
    n_blocks = (vocab + LOGITS_BLOCK - 1) // LOGITS_BLOCK
    floor = floor_of(field(places, MAXIMA), n_blocks, k, field(places, WEIGHTS))
    n = gather(x, vocab, field(places, MAXIMA), floor, field(places, IDS), field(places, VALUES))
    if n <= k:
        return n
    weights = floats_at(field(places, WEIGHTS))
    for i in range(n):
        weights[i] = np.float32(1.0)
    return leading(floats_at(field(places, VALUES)), integers_at(field(places, IDS)), weights, n, k)


@inner
def _penalize(logits, vocab, out, recent, n_recent, penalty):
    """The logits with those of recent tokens lowered (or, below a penalty of 1, raised), each once."""
    x, y, ids = floats_at(logits), floats_at(out), integers_at(recent)
    for i in range(vocab):
        y[i] = x[i]
    for k in range(n_recent):
        value = x[ids[k]]
        y[ids[k]] = value / penalty if value > 0 else value * penalty


@inner
def _cut(x, vocab, top, total, told, places):
    """Bring the tokens that the samplers keep to IDS and VALUES; returns how many, or ALL.

    total: the sum of e^(x - top), or UNKNOWN.
    """
    top_p = told[TOP_P]
    lowest = np.float32(top + told[LOG_MIN_P])
    if 0 < told[TOP_K] < vocab:
        n = _leading_tokens(x, vocab, np.int64(told[TOP_K]), places)
        if top_p < 1:
            sum_of_kept = _weigh(n, top, places)
            n = _leading_share(n, top_p * sum_of_kept, places)
        return _at_least(n, lowest, places)
    if top_p < 1:
        if total == UNKNOWN:
            total = exp_sums(x, vocab, top, np.float32(1.0), field(places, SUMS), field(places, WEIGHTS))
        return _nucleus(x, vocab, top, lowest, top_p * total, places)
    if lowest > -np.inf:
        return gather(x, vocab, field(places, MAXIMA), lowest, field(places, IDS), field(places, VALUES))
    return ALL


@inner
def _weigh(n, top, places):
    """e^(value - top) of the first n to WEIGHTS; returns the sum."""
    weights = floats_at(field(places, WEIGHTS))
    exp_each(floats_at(field(places, VALUES)), n, top, np.float32(1.0), weights)
    total = 0.0
    for i in range(n):
        total += weights[i]
    return total


@inner
def _leading_share(n, target, places):
    values, ids = floats_at(field(places, VALUES)), integers_at(field(places, IDS))
    return leading(values, ids, floats_at(field(places, WEIGHTS)), n, target)


@inner
def _nucleus(x, vocab, top, lowest, target, places):
    """Top-p and min-p over the whole vocabulary: search a part that grows until its weight reaches target."""
    for step in range(len(NUCLEUS_DISTANCES) + 1):
        floor = lowest
        if step < len(NUCLEUS_DISTANCES):
            floor = max(np.float32(top - NUCLEUS_DISTANCES[step]), lowest)
        n = gather(x, vocab, field(places, MAXIMA), floor, field(places, IDS), field(places, VALUES))
        if _weigh(n, top, places) >= target:
            return _leading_share(n, target, places)
        if floor == lowest:
            break
    return n


@inner
def _at_least(n, lowest, places):
    """Of the first n, keep those whose logit is at least `lowest`."""
    ids, values = integers_at(field(places, IDS)), floats_at(field(places, VALUES))
    kept = 0
    for i in range(n):
        if values[i] >= lowest:
            ids[kept], values[kept] = ids[i], values[i]
            kept += 1
    return kept


@inner
def _draw_of_all(x, vocab, top, told, places):
    """Draw from the whole vocabulary, and tell the reported tokens' chances."""
    scale = np.float32(told[SCALE])
    total = exp_sums(x, vocab, top, scale, field(places, SUMS), field(places, WEIGHTS))
    values, ranked = floats_at(x), integers_at(field(places, RANKED_IDS))
    chances = doubles_at(field(places, RANKED_CHANCES))
    for i in range(np.int64(told[N_RANKED])):
        chances[i] = exp_of_negative((values[ranked[i]] - top) * scale) / total
    if told[GIVEN] >= 0:
        told[GIVEN_CHANCE] = exp_of_negative((values[np.int64(told[GIVEN])] - top) * scale) / total
    return draw(x, vocab, top, scale, field(places, SUMS), told[UNIFORM] * total)


@inner
def _draw_of_kept(n, top, scale, told, places):
    """Draw from the first n of IDS, and tell the reported tokens' chances, 0 for those that are cut."""
    ids, weights = integers_at(field(places, IDS)), floats_at(field(places, WEIGHTS))
    exp_each(floats_at(field(places, VALUES)), n, top, scale, weights)
    total = 0.0
    for i in range(n):
        total += weights[i]
    ranked, chances = integers_at(field(places, RANKED_IDS)), doubles_at(field(places, RANKED_CHANCES))
    for i in range(np.int64(told[N_RANKED])):
        chances[i] = _weight_of(ranked[i], ids, weights, n) / total
    if told[GIVEN] >= 0:
        told[GIVEN_CHANCE] = _weight_of(np.int64(told[GIVEN]), ids, weights, n) / total
    target = told[UNIFORM] * total
    running = 0.0
    for i in range(n - 1):
        running += weights[i]
        if running > target:
            return ids[i]
    return ids[n - 1]


@inner
def _weight_of(token, ids, weights, n):
    for i in range(n):
        if ids[i] == token:
            return weights[i]
    return np.float32(0.0)
