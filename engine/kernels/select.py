"""Kernels that search a vocabulary's logits: how likely, which ones lead, which one is drawn.

Logits are the address of float32 (vocab,), finite but where it says otherwise. Blocks of LOGITS_BLOCK logits and their
maxima let a search skip nearly all of a vocabulary. Sums have one order, so that a draw is the same on every processor.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner
from engine.kernels.memory import doubles_at, floats_at, integers_at, load_f32x16
from engine.kernels.sizes import LANES
from engine.kernels.sizes import LOGITS_BLOCK as BLOCK


@inner
def exp_of_negative(x):
    """e^x for x <= 0 in float32, within 2 units in the last place; 0 stands for less than 1e-37.

    x is split into n ln 2 + r; a polynomial gives e^r and n goes into the exponent. Source: Cephes, expf.
    """
    x = max(x, np.float32(-86.0))
    shifted = x * np.float32(1.4426950408889634) + np.float32(12582912.0)
    n = shifted - np.float32(12582912.0)
    r = x - n * np.float32(0.693145751953125)
    r = r - n * np.float32(1.428606765330187e-06)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    exponent = np.float32(shifted).view(np.int32) << np.int32(23)
    return np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)


@inner
def exp_each(x, n, top, scale, out):
    """out[i] = e^((x[i] - top) * scale) of n numbers, none of them larger than top."""
    for i in range(n):
        out[i] = exp_of_negative((x[i] - top) * scale)


@inner
def survey(logits, vocab, block_maxima):
    """Every block's largest logit to block_maxima; returns the largest of all, or NaN where one is not finite."""
    x, maxima = floats_at(logits), floats_at(block_maxima)
    top = x[0]
    zero = lanes.splat(np.float32(0.0))
    nothing = zero
    for b in range(vocab // BLOCK):
        best = load_f32x16(logits + 4 * b * BLOCK)
        nothing = lanes.add(nothing, lanes.mul(best, zero))
        for i in range(LANES, BLOCK, LANES):
            v = load_f32x16(logits + 4 * (b * BLOCK + i))
            # Nought times anything finite is nought.
            nothing = lanes.add(nothing, lanes.mul(v, zero))
            best = lanes.maximum(best, v)
        maxima[b] = lanes.largest(best)
        top = max(top, maxima[b])
    rest = np.float32(0.0)
    if vocab % BLOCK:
        best_of_rest = x[vocab - 1]
        for i in range(vocab - vocab % BLOCK, vocab):
            rest += x[i] * np.float32(0.0)
            best_of_rest = max(best_of_rest, x[i])
        maxima[vocab // BLOCK] = best_of_rest
        top = max(top, best_of_rest)
    return top + (rest + lanes.total(nothing))


@inner
def exp_sums(logits, vocab, top, scale, block_sums, scratch):
    """Sum e^((x - top) * scale) over every block (float64), and over all, which is returned. top: the largest logit.

    scratch: room for a block.
    """
    sums = doubles_at(block_sums)
    total = 0.0
    for b in range(vocab // BLOCK):
        exp_each(floats_at(logits + 4 * b * BLOCK), BLOCK, top, scale, floats_at(scratch))
        running = load_f32x16(scratch)
        for i in range(LANES, BLOCK, LANES):
            running = lanes.add(running, load_f32x16(scratch + 4 * i))
        sums[b] = lanes.total(running)
        total += sums[b]
    if vocab % BLOCK:
        last, ends = floats_at(logits + 4 * (vocab - vocab % BLOCK)), floats_at(scratch)
        exp_each(last, vocab % BLOCK, top, scale, ends)
        rest = 0.0
        for i in range(vocab % BLOCK):
            rest += ends[i]
        sums[vocab // BLOCK] = rest
        total += rest
    return total


@inner
def gather(logits, vocab, block_maxima, threshold, found_ids, found_values):
    """Collect all logits >= threshold in the order of their ids; returns how many. Room for vocab int32 and float32."""
    x, maxima = floats_at(logits), floats_at(block_maxima)
    ids, values = integers_at(found_ids), floats_at(found_values)
    n = 0
    for b in range((vocab + BLOCK - 1) // BLOCK):
        if maxima[b] >= threshold:
            for i in range(b * BLOCK, min(b * BLOCK + BLOCK, vocab)):
                if x[i] >= threshold:
                    ids[n] = i
                    values[n] = x[i]
                    n += 1
    return n


@inner
def first_largest(logits, vocab, block_maxima, top):
    """The lowest id of the largest logit."""
    x, maxima = floats_at(logits), floats_at(block_maxima)
    b = 0
    while maxima[b] != top:
        b += 1
    i = b * BLOCK
    while x[i] != top:
        i += 1
    return i


@inner
def floor_of(block_maxima, n_blocks, n, scratch):
    """A logit that at least n others reach: the n-th largest maximum of a block. scratch: room for all maxima."""
    maxima, left = floats_at(block_maxima), floats_at(scratch)
    if n >= n_blocks:
        return np.float32(-np.inf)
    for b in range(n_blocks):
        left[b] = maxima[b]
    # Hoare's selection: of both sides, only that with the n-th is split on.
    first, last, wanted = 0, n_blocks - 1, n - 1
    while first < last:
        pivot = left[wanted]
        i, j = first, last
        while i <= j:
            while left[i] > pivot:
                i += 1
            while left[j] < pivot:
                j -= 1
            if i <= j:
                left[i], left[j] = left[j], left[i]
                i += 1
                j -= 1
        if j < wanted:
            first = i
        if i > wanted:
            last = j
    return left[wanted]


@inner
def _leads(values, ids, i, j):
    """Whether i comes before j: the larger value, of equals the lower id."""
    return values[i] > values[j] or (values[i] == values[j] and ids[i] < ids[j])


@inner
def _swap(values, ids, weights, i, j):
    values[i], values[j] = values[j], values[i]
    ids[i], ids[j] = ids[j], ids[i]
    weights[i], weights[j] = weights[j], weights[i]


@inner
def _middle_to_end(values, ids, weights, first, last):
    """Put the middle one of first, middle and last - 1 at last - 1."""
    a, b, c = first, (first + last) // 2, last - 1
    if _leads(values, ids, b, a):
        a, b = b, a
    if _leads(values, ids, c, b):
        b = a if _leads(values, ids, c, a) else c
    _swap(values, ids, weights, b, last - 1)


@inner
def leading(values, ids, weights, n, target):
    """Move the fewest leading ones of n whose weights sum to >= target to the front; returns how many, at least 1.

    Weights of 1 make it top-k, probabilities top-p. Quickselect: of both sides, only that with the border is split on.
    """
    first, last = 0, n
    before = 0.0
    while last > first:
        _middle_to_end(values, ids, weights, first, last)
        pivot = last - 1
        border = first
        weight = before
        for i in range(first, pivot):
            if _leads(values, ids, i, pivot):
                weight += weights[i]
                _swap(values, ids, weights, i, border)
                border += 1
        _swap(values, ids, weights, border, pivot)
        if border > first and weight >= target:
            last = border
        elif weight + weights[border] >= target:
            return border + 1
        else:
            before = weight + weights[border]
            first = border + 1
    return max(first, 1)


@inner
def sort_leading_first(values, ids, n):
    """Put n in order, for the few that are reported."""
    for i in range(1, n):
        value, token = values[i], ids[i]
        j = i
        while j > 0 and (values[j - 1] < value or (values[j - 1] == value and ids[j - 1] > token)):
            values[j], ids[j] = values[j - 1], ids[j - 1]
            j -= 1
        values[j], ids[j] = value, token


@inner
def draw(logits, vocab, top, scale, block_sums, target):
    """The id at which the running sum of e^((x - top) * scale) passes target. block_sums: from exp_sums."""
    x, sums = floats_at(logits), doubles_at(block_sums)
    running = 0.0
    b = 0
    while b < (vocab - 1) // BLOCK and running + sums[b] <= target:
        running += sums[b]
        b += 1
    last = min(b * BLOCK + BLOCK, vocab) - 1
    for i in range(b * BLOCK, last):
        running += exp_of_negative((x[i] - top) * scale)
        if running > target:
            return i
    return last
