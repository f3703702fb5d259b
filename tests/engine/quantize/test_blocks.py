"""Blocks of 32 and plain numbers: the reference package's bytes, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.quantize.rows import NotFiniteError, TooLargeError

BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")

halves = st.floats(width=16, min_value=-1000, max_value=1000, allow_subnormal=False).map(lambda weight: weight + 0.0)
"""Weights as models have them. Where the reference's result depends on the processor, there is nothing to compare: of a
tiny scale's inverse, and of which zero is the least of both."""


def reference(rows, kind):
    return quantize(rows, GGMLQuantizationType[kind]).view(np.uint8).reshape(len(rows), -1)


@pytest.mark.parametrize("kind", BLOCKS)
def test_bytes_are_the_reference_packages(kind, sample_name, convert, sample):
    rows = sample(sample_name)
    assert np.array_equal(convert(rows, kind), reference(rows, kind))


@pytest.mark.parametrize("kind", BLOCKS)
@given(rows=arrays(np.float32, (3, 64), elements=halves))
@settings(max_examples=150, deadline=None)
def test_bytes_are_the_reference_packages_for_any_weights(kind, rows, convert):
    assert np.array_equal(convert(rows, kind), reference(rows, kind))


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("at", [0, 7, 31])
def test_either_zero_is_zero(kind, at, convert):
    rows = np.zeros((1, 32), np.float32)
    rows[0, at] = -0.0
    assert not dequantize(convert(rows, kind), GGMLQuantizationType[kind]).any()


@pytest.mark.parametrize("blocks", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("kind", BLOCKS)
def test_tiles_that_are_not_full(kind, blocks, convert, sample):
    rows = sample("normal").reshape(-1, 32)[:blocks]
    assert np.array_equal(convert(rows, kind), reference(rows, kind))


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("source", ["F16", "BF16"])
def test_sources_of_sixteen_bits(kind, source, convert, sample):
    rows = sample("laplace")
    short = rows.astype(np.float16) if source == "F16" else quantize(rows, GGMLQuantizationType.BF16)
    exact = short.astype(np.float32) if source == "F16" else (short.view(np.uint16).astype(np.uint32) << 16).view("f4")
    assert np.array_equal(convert(short, kind, source), reference(exact, kind))


@pytest.mark.parametrize("columns", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
def test_plain_numbers_of_any_count(kind, columns, convert, sample):
    rows = sample("normal").reshape(-1)[: 3 * columns].reshape(3, columns)
    assert np.array_equal(convert(rows, kind), reference(rows, kind))


@given(rows=arrays(np.float32, (1, 48), elements=st.floats(-(2.0**127), 2.0**127, width=32)))
@settings(max_examples=300, deadline=None)
def test_bfloat16_rounds_to_nearest_even(rows, convert):
    assert np.array_equal(convert(rows, "BF16"), reference(rows, "BF16"))


def test_half_precision_rounds_to_nearest_even(convert):
    between = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = between[np.isfinite(between) & (np.abs(between) < 65000)]
    steps = np.stack([between * np.float32(1 + k * 2.0**-13) for k in range(-4, 5)])
    assert np.array_equal(convert(steps, "F16"), reference(steps, "F16"))


@pytest.mark.parametrize("kind", [*BLOCKS, "F16", "BF16", "F32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(kind, bad, convert, sample):
    rows = sample("normal", 4).astype(np.float16)
    rows[2, 77] = bad
    with pytest.raises(NotFiniteError):
        convert(rows, kind, "F16") if kind != "F16" else convert(rows.astype(np.float32), kind)


@pytest.mark.parametrize("kind", [*BLOCKS, "F16", "Q4_K"])
def test_weights_beyond_half_precision_are_refused(kind, convert, sample):
    rows = sample("normal", 4)
    rows[1, 5] = -65520
    with pytest.raises(TooLargeError) as caught:
        convert(rows, kind)
    assert caught.value.size == 65520
    assert np.array_equal(convert(rows, "BF16"), reference(rows, "BF16"))


@pytest.mark.parametrize("kind", BLOCKS)
def test_weights_below_the_smallest_scale_become_zeros(kind, convert):
    from gguf.quants import dequantize

    rows = np.full((2, 32), 1e-40, np.float32)
    assert not dequantize(convert(rows, kind), GGMLQuantizationType[kind]).any()
