"""Several residual streams, of which layers compute one: guesses for all before it, corrections behind it.

Source: Baykal et al. 2023, and Gemma 3n (Google 2025).
"""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.altup_records import (
    ACTIVE,
    ACTIVE_X,
    ACTIVE_X_STRIDE,
    COUNT,
    ROUTER_EPS,
    STREAMS,
    STREAMS_STRIDE,
    WIDTH,
)
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_f32x16, store_f32x16
from engine.kernels.records import N_OUT, N_TOKENS, P0, SCRATCH, SCRATCH_BYTES
from engine.kernels.rows import VECTOR, add_to_row, quantize_row, scale_to_unit
from engine.kernels.sizes import BLOCK, LANES

LEAST_SQUARE = np.float32(1e-5)
"""The mean square below which a stream is not made as large as another."""


@inner
def coefficients(x, record, router, parts, bias, out):
    """A bias and the sum of parts, each times the tanh of a row of the router times x, normed: one vector, to out.

    router: a row for each stream, with the norm's weight and the width in it. parts: a vector for each.
    """
    width = field(record, WIDTH)
    total, one, two = lanes.splat(bias), lanes.splat(np.float32(1.0)), lanes.splat(np.float32(2.0))
    factor = np.float32(1.0) / np.sqrt(mean_square(x, width) + load_f32(record + 8 * ROUTER_EPS))
    for m in range(field(record, COUNT)):
        dots = lanes.splat(np.float32(0.0))
        for at in range(0, 4 * width, VECTOR):
            dots = lanes.fma(load_f32x16(x + at), load_f32x16(router + 4 * m * width + at), dots)
        power = lanes.exp(lanes.mul(lanes.splat(lanes.total(dots) * factor), two))
        tanh = lanes.sub(one, lanes.div(two, lanes.add(power, one)))
        total = lanes.fma(tanh, load_f32x16(parts + m * VECTOR), total)
    store_f32x16(out, total)


@inner
def mean_square(x, width):
    """Of width numbers, in whole vectors."""
    squares = lanes.splat(np.float32(0.0))
    for at in range(0, 4 * width, VECTOR):
        v = load_f32x16(x + at)
        squares = lanes.fma(v, v, squares)
    return lanes.total(squares) / np.float32(width)


@inner
def made_as_large(x, wanted, width):
    """What x is multiplied by to have the mean square `wanted`."""
    return np.sqrt(wanted / max(mean_square(x, width), LEAST_SQUARE))


RECORD, ROUTER, PARTS, SCALE, CORRECTED, CORRECTED_STRIDE, QUANT, QUANT_STRIDE = range(P0, P0 + 8)
"""Parameters of predict and correct: the streams' record; the router, and the vectors that its results weigh. Of
correct alone: a weight for the active stream, and where it goes then as float32 and quantised."""


@kernel
def match(step, batch, first, last, thread):
    """Make each stream but the first as large as that one."""
    record = field(step, RECORD)
    width = field(record, WIDTH)
    for t in range(first, last):
        row = field(record, STREAMS) + t * field(record, STREAMS_STRIDE)
        wanted = mean_square(row, width)
        for stream in range(1, field(record, COUNT)):
            part = row + 4 * stream * width
            factor = lanes.splat(made_as_large(part, wanted, width))
            for at in range(0, 4 * width, VECTOR):
                store_f32x16(part + at, lanes.mul(load_f32x16(part + at), factor))


@kernel
def predict(step, batch, first, last, thread):
    """Add to each stream all of them, each times a number that the active one tells; that one is what a layer reads."""
    record = field(step, RECORD)
    width, count = field(record, WIDTH), field(record, COUNT)
    scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
    sums = scratch + VECTOR
    for t in range(first, last):
        row = field(record, STREAMS) + t * field(record, STREAMS_STRIDE)
        active = row + 4 * field(record, ACTIVE) * width
        coefficients(active, record, field(step, ROUTER), field(step, PARTS), np.float32(0.0), scratch)
        for at in range(0, 4 * width, VECTOR):
            for j in range(count):
                total = load_f32x16(row + 4 * j * width + at)
                for k in range(count):
                    share = lanes.splat(load_f32(scratch + 4 * (j * count + k)))
                    total = lanes.fma(share, load_f32x16(row + 4 * k * width + at), total)
                store_f32x16(sums + j * VECTOR, total)
            for j in range(count):
                store_f32x16(row + 4 * j * width + at, load_f32x16(sums + j * VECTOR))
        x = field(record, ACTIVE_X) + t * field(record, ACTIVE_X_STRIDE)
        for at in range(0, 4 * width, VECTOR):
            store_f32x16(x + at, load_f32x16(active + at))


@kernel
def correct(step, batch, first, last, thread):
    """Add to each stream what the layer has changed in the active one, times a number that its result tells."""
    record = field(step, RECORD)
    width, count = field(record, WIDTH), field(record, COUNT)
    scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
    for t in range(first, last):
        row = field(record, STREAMS) + t * field(record, STREAMS_STRIDE)
        active = row + 4 * field(record, ACTIVE) * width
        x = field(record, ACTIVE_X) + t * field(record, ACTIVE_X_STRIDE)
        coefficients(x, record, field(step, ROUTER), field(step, PARTS), np.float32(1.0), scratch)
        out = field(step, CORRECTED) + t * field(step, CORRECTED_STRIDE)
        for at in range(0, 4 * width, VECTOR):
            change = lanes.sub(load_f32x16(x + at), load_f32x16(active + at))
            for j in range(count):
                place, share = row + 4 * j * width + at, lanes.splat(load_f32(scratch + 4 * j))
                store_f32x16(place, lanes.fma(share, change, load_f32x16(place)))
            store_f32x16(out + at, lanes.mul(load_f32x16(active + at), load_f32x16(field(step, SCALE) + at)))
        quantize_row(out, field(step, QUANT) + t * field(step, QUANT_STRIDE), width // BLOCK)


ADDED, ADDED_STRIDE, ADDED_NORM, ADDED_EPS = range(RECORD + 1, RECORD + 5)
"""Parameters of add_to_others, behind the record: rows, the weight of a norm for them, its epsilon (float32 bits)."""


@kernel
def add_to_others(step, batch, first, last, thread):
    """Norm rows in place, and add them to each stream but the first."""
    record = field(step, RECORD)
    width, eps = field(record, WIDTH), load_f32(step + 8 * ADDED_EPS)
    for t in range(first, last):
        row = field(record, STREAMS) + t * field(record, STREAMS_STRIDE)
        added = field(step, ADDED) + t * field(step, ADDED_STRIDE)
        scale_to_unit(added, added, field(step, ADDED_NORM), width, eps)
        for stream in range(1, field(record, COUNT)):
            add_to_row(row + 4 * stream * width, added, width // LANES)


UNEMBEDDED, UNEMBEDDED_STRIDE = range(RECORD + 1, RECORD + 3)
"""Parameters of merge, behind the record: rows of what the streams but the first have become, from row 0 on for the
batch's output positions."""


@kernel
def merge(step, batch, first, last, thread):
    """Units: output positions. The mean of the first stream and the others' products, which are made as large."""
    record = field(step, RECORD)
    width, count = field(record, WIDTH), field(record, COUNT)
    skip = field(batch, N_TOKENS) - field(batch, N_OUT)
    even = lanes.splat(np.float32(1.0) / np.float32(count))
    for t in range(first, last):
        row = field(record, STREAMS) + (t + skip) * field(record, STREAMS_STRIDE)
        x = field(record, ACTIVE_X) + (t + skip) * field(record, ACTIVE_X_STRIDE)
        wanted = mean_square(row + 4 * field(record, ACTIVE) * width, width)
        for at in range(0, 4 * width, VECTOR):
            store_f32x16(x + at, lanes.mul(load_f32x16(row + at), even))
        for stream in range(1, count):
            part = field(step, UNEMBEDDED) + t * field(step, UNEMBEDDED_STRIDE) + 4 * (stream - 1) * width
            factor = lanes.mul(lanes.splat(made_as_large(part, wanted, width)), even)
            for at in range(0, 4 * width, VECTOR):
                store_f32x16(x + at, lanes.fma(load_f32x16(part + at), factor, load_f32x16(x + at)))


GATES, GATES_STRIDE, GATES_WIDTH, CUTOFF = range(P0, P0 + 4)
"""Parameters of cut_gates: rows, their width (whole vectors), how many standard deviations above their mean numbers
count (float32 bits)."""


@kernel
def cut_gates(step, batch, first, last, thread):
    """Take from each row's numbers what few of them reach, and leave 0 of those below."""
    width, cutoff = field(step, GATES_WIDTH), load_f32(step + 8 * CUTOFF)
    zero = lanes.splat(np.float32(0.0))
    for t in range(first, last):
        row = field(step, GATES) + t * field(step, GATES_STRIDE)
        total, squares = zero, zero
        for at in range(0, 4 * width, VECTOR):
            total = lanes.add(total, load_f32x16(row + at))
        mean = lanes.total(total) / np.float32(width)
        for at in range(0, 4 * width, VECTOR):
            apart = lanes.sub(load_f32x16(row + at), lanes.splat(mean))
            squares = lanes.fma(apart, apart, squares)
        deviation = np.sqrt(lanes.total(squares) / np.float32(width - 1))
        least = lanes.splat(mean + deviation * cutoff)
        for at in range(0, 4 * width, VECTOR):
            store_f32x16(row + at, lanes.maximum(lanes.sub(load_f32x16(row + at), least), zero))
