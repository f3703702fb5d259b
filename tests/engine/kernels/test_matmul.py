"""Matrix products and embeddings of every weight type against dequantised weights in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize as dequantize_weights
from gguf.quants import quantize as quantize_weights

from engine.kernels.formats import FORMATS, panel_format
from engine.kernels.records import FEW_TOKENS
from engine.kernels.sizes import LANES, TOKEN_PAD
from engine.machine_code import step
from engine.panels.packing import pack_rows

SHAPES = [(16, 32), (40, 96), (37, 1056)]
"""Rows that fill panels and rows that do not; columns of one tile and of more."""


HALVES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    "MXFP4": (),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}
"""Where the half-precision numbers of a block lie, for types that the reference package does not write."""


def random_rows(rng, rows, columns, kind):
    """Random rows of a type as bytes: quantised by the reference, or blocks of random bits with sane scales."""
    if kind.name not in HALVES:
        raw = quantize_weights(rng.standard_normal((rows, columns), np.float32), kind)
        return np.ascontiguousarray(raw).view(np.uint8).reshape(rows, -1)
    size, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows, columns // size, block_bytes), np.uint8)
    for at in HALVES[kind.name]:
        scale = rng.uniform(-0.01, 0.01, (rows, columns // size, 1)).astype(np.float16)
        blocks[..., at : at + 2] = scale.view(np.uint8)
    if kind.name == "MXFP4":
        blocks[..., 0] = rng.integers(110, 125, blocks.shape[:2])  # the exponent
    return blocks.reshape(rows, -1)


K_SHAPES = [(16, 256), (37, 1280)]

SUPERBLOCKS = ("IQ4_XS", "TQ1_0", "TQ2_0")
"""Types with blocks of 256 weights, beside K-quants."""


def as_words(values):
    """The oracle of numbers as words: each row's 32 columns in steps of 2**-12 of the largest one's power of two."""
    blocks = values.reshape(len(values), -1, 32).astype(np.float64)
    peak = np.abs(blocks).max(-1, keepdims=True)
    step = 2.0 ** (np.floor(np.log2(peak, out=np.zeros_like(peak), where=peak > 0)) - 12)
    return (np.rint(blocks / step) * step).reshape(values.shape)


class Weights:
    """A random matrix of a type: as GGUF has it, as float32, and in panels."""

    def __init__(self, name: str, rows: int, columns: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        kind = GGMLQuantizationType[name]
        self.raw = random_rows(rng, rows, columns, kind)
        self.fmt = panel_format(name)
        values = dequantize_weights(self.raw, kind).reshape(rows, columns)
        self.values = as_words(values) if self.fmt.reads == "words" else values
        self.n_panels, self.n_blocks = -(-rows // LANES), columns // 32
        self.panel_bytes = self.fmt.panel_bytes(self.n_blocks)
        self.panels = np.zeros(self.n_panels * self.panel_bytes + 4096, np.uint8)
        pack_rows(self.fmt, self.raw, self.panels.ctypes.data, self.panel_bytes, 0)


def multiply(run_step, prepare, weights, x):
    """(tokens, rows): the kernel's product for a batch of all tokens of x."""
    n = len(x)
    padded = np.zeros((-(-n // TOKEN_PAD) * TOKEN_PAD, x.shape[1]), np.float32)
    padded[:n] = x
    source = np.ascontiguousarray(prepare(padded, weights.fmt.reads)[0]).reshape(len(padded), -1)
    y = np.full((len(padded), weights.n_panels * LANES), np.nan, np.float32)
    parameters = [
        weights.panels.ctypes.data,
        weights.n_blocks,
        weights.panel_bytes,
        source.ctypes.data,
        source.strides[0],
        y.ctypes.data,
        y.strides[0],
        0,
    ]
    run_step(step("matmul.matmul", weights.fmt.name), parameters, weights.n_panels, n_tokens=n)
    return y[:n, : len(weights.values)]


CASES = [(name, shape) for name in FORMATS for shape in (K_SHAPES if "K" in name or name in SUPERBLOCKS else SHAPES)]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_product_equals_dequantised_weights(run_step, prepare_activations, name, shape):
    weights = Weights(name, *shape)
    x = np.random.default_rng(1).standard_normal((11, shape[1]), np.float32)
    seen = prepare_activations(x, weights.fmt.reads)[1]
    expected = seen.astype(np.float64) @ weights.values.astype(np.float64).T
    result = multiply(run_step, prepare_activations, weights, x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=3e-6 * np.sqrt(shape[1]) * np.abs(expected).max())


@pytest.mark.parametrize("name", FORMATS)
def test_one_token_a_few_and_many_give_the_same_bits(run_step, prepare_activations, name):
    weights = Weights(name, 40, 2304)
    x = np.random.default_rng(2).standard_normal((13, 2304), np.float32)
    together = multiply(run_step, prepare_activations, weights, x)
    alone = np.concatenate([multiply(run_step, prepare_activations, weights, row[None]) for row in x])
    np.testing.assert_array_equal(together, alone)
    for few in range(2, FEW_TOKENS + 1):
        np.testing.assert_array_equal(multiply(run_step, prepare_activations, weights, x[:few]), alone[:few])


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
def test_extreme_weights_and_activations_do_not_overflow(run_step, prepare_activations, name):
    weights = Weights(name, 16, 64)
    weights.panels[:] = 0
    block = weights.fmt.block_bytes
    for panel_block in range(2):
        at = panel_block * block
        weights.panels[at : at + 32] = np.full(16, 1.0, np.float16).view(np.uint8)
        weights.panels[at + 32 : at + block] = 0x80 if name == "Q8_0" else 0x00
    x = np.full((1, 64), 127.0, np.float32)
    lowest = -128 if name == "Q8_0" else -8
    np.testing.assert_array_equal(multiply(run_step, prepare_activations, weights, x)[0], 64 * 127.0 * lowest)


WORDS = [name for name, fmt in FORMATS.items() if fmt.reads == "words"]


class Numbers(Weights):
    """A matrix of given numbers."""

    def __init__(self, name, values) -> None:
        super().__init__(name, *values.shape)
        self.raw = quantize_weights(values, GGMLQuantizationType[name]).view(np.uint8).reshape(len(values), -1)
        self.values = values
        pack_rows(self.fmt, self.raw, self.panels.ctypes.data, self.panel_bytes, 0)


@pytest.mark.parametrize("largest", [6.0, -6.0])
def test_the_largest_weights_of_mxfp4_do_not_overflow(run_step, prepare_activations, largest):
    weights = Numbers("MXFP4", np.full((16, 64), largest, np.float32))
    for n in (1, 9):
        result = multiply(run_step, prepare_activations, weights, np.full((n, 64), 127.0, np.float32))
        np.testing.assert_array_equal(result, 64 * 127 * largest)


def test_both_ternary_types_are_the_same_in_panels():
    values = np.random.default_rng(3).integers(-1, 2, (37, 768)).astype(np.float32) * np.float32(0.25)
    one, two = (Numbers(name, values) for name in ("TQ1_0", "TQ2_0"))
    assert one.raw.shape[1] < two.raw.shape[1]
    np.testing.assert_array_equal(one.panels, two.panels)


@pytest.mark.parametrize("name", WORDS)
def test_the_largest_words_and_activations_do_not_overflow(run_step, prepare_activations, name):
    largest = (2 - 2**-10 if name == "F16" else 2 - 2**-7) * 2.0**9
    weights = Numbers(name, np.full((16, 64), -largest, np.float32))
    for n in (1, 9):
        result = multiply(run_step, prepare_activations, weights, np.full((n, 64), -3.0, np.float32))
        np.testing.assert_allclose(result, 64 * 3 * largest, rtol=1e-6)


@pytest.mark.parametrize("name", WORDS)
def test_words_keep_what_half_precision_tells_apart(run_step, prepare_activations, name):
    bits, reach = (11, 2) if name == "F16" else (8, 5)
    rng = np.random.default_rng(5)
    exact = rng.integers(2 ** (bits - 1), 2**bits, (16, 32)) * 2.0 ** -rng.integers(0, reach + 1, (16, 32))
    exact[:, 0] = 2**bits - 1
    weights = Numbers(name, (exact * rng.choice([-1, 1], (16, 32))).astype(np.float32))
    result = multiply(run_step, prepare_activations, weights, np.eye(32, dtype=np.float32))
    np.testing.assert_allclose(result, weights.values.T, rtol=3e-7)


@pytest.mark.parametrize("name", WORDS)
def test_what_is_no_number_stays_none_and_tiny_ones_vanish(run_step, prepare_activations, name):
    values = np.full((16, 64), 2.0**-24 if name == "F16" else 2.0**-130, np.float32)
    values[3, 40], values[4, 2] = np.nan, np.inf
    weights = Numbers(name, values)
    for n in (1, 9):
        result = multiply(run_step, prepare_activations, weights, np.ones((n, 64), np.float32))
        assert np.isnan(result[:, 3]).all()
        assert np.isnan(result[:, 4]).all()
        rest = np.delete(result, [3, 4], axis=1)
        np.testing.assert_allclose(rest, 64 * 2.0**-24 if name == "F16" else 0, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("name", FORMATS)
def test_embedding_is_the_row_of_the_matrix(run_step, name):
    weights = Weights(name, 40, 512)
    tokens = np.array([0, 17, 39], np.int64)
    out = np.zeros((3, 512), np.float32)
    half = int(np.float32(0.5).view(np.int32))
    parameters = [
        weights.panels.ctypes.data,
        weights.n_blocks,
        weights.panel_bytes,
        out.ctypes.data,
        out.strides[0],
        half,
    ]
    run_step(step("matmul.embed", name), parameters, 3, n_tokens=3, tokens=tokens)
    np.testing.assert_allclose(out, weights.values[tokens] * np.float32(0.5), rtol=1e-6)
