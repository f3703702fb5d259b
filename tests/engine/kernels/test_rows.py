"""Norms, gates, rotary positions and quantised activations against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.records import BLOCK_BYTES, CENTRED, CLAMPED, GELU, OUTPUTS_ONLY, SILU, SQUARED_RELU
from engine.machine_code import step


def bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


def padded(x: np.ndarray) -> np.ndarray:
    width = -(-x.shape[-1] // 32) * 32
    return np.pad(x, ((0, 0), (0, width - x.shape[-1])))


def norm(x, weight, eps=1e-5):
    return x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + eps) * weight


EPS = bits(1e-5) | bits(1.0) << 32
"""An epsilon, and nothing that the sum is multiplied by."""


@pytest.mark.parametrize("dim", [32, 100, 576])
def test_residual_norm_adds_norms_and_quantises(run_step, quantize, dim):
    rng = np.random.default_rng(0)
    x, delta = (padded(rng.standard_normal((3, dim), np.float32)) for _ in range(2))
    weight = padded(rng.uniform(0.5, 2, (1, dim)).astype(np.float32))
    expected_x = x + delta
    out, quant = np.zeros_like(x), np.zeros((3, x.shape[1] // 32, BLOCK_BYTES), np.uint8)
    parameters = [
        x.ctypes.data,
        x.strides[0],
        delta.ctypes.data,
        delta.strides[0],
        0,
        weight.ctypes.data,
        dim,
        EPS,
        out.ctypes.data,
        out.strides[0],
        quant.ctypes.data,
        quant.strides[0],
    ]
    run_step(step("rows.residual_norm"), parameters, 3, n_tokens=3)
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_allclose(out[:, :dim], norm(expected_x[:, :dim], weight[:, :dim]), rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(quant, quantize(out))


@pytest.mark.parametrize("dim", [32, 100, 576])
@pytest.mark.parametrize("is_centred", [False, True])
def test_norms_that_take_the_mean_away_and_none(run_step, quantize, dim, is_centred):
    x = padded(np.random.default_rng(4).standard_normal((3, dim), np.float32) + np.float32(2))
    weight, bias = (padded(np.full((1, dim), value, np.float32)) for value in (1.5, 0.25))
    both = np.concatenate([weight, bias])
    out, quant = np.ones_like(x), np.zeros((3, x.shape[1] // 32, BLOCK_BYTES), np.uint8)
    how = [both.ctypes.data, dim | CENTRED] if is_centred else [0, dim]
    where = [out.ctypes.data, out.strides[0], quant.ctypes.data, quant.strides[0]]
    before = x.copy()
    run_step(step("rows.residual_norm"), [x.ctypes.data, x.strides[0], 0, 0, 0, *how, EPS, *where], 3, n_tokens=3)
    its = before[:, :dim].astype(np.float64)
    expected = norm(its - its.mean(1, keepdims=True), 1.5) + 0.25 if is_centred else its
    np.testing.assert_allclose(out[:, :dim], expected, rtol=5e-6, atol=5e-7)
    assert not out[:, dim : -(-dim // 16) * 16].any()
    np.testing.assert_array_equal(x, before)


def test_residual_norm_without_a_place_only_adds(run_step):
    x, delta = np.random.default_rng(6).standard_normal((2, 3, 64), np.float32)
    expected = x + delta
    where = [x.ctypes.data, x.strides[0], delta.ctypes.data, delta.strides[0], 0, 0, 64, EPS]
    run_step(step("rows.residual_norm"), [*where, 0, 0, 0, 0], 3, n_tokens=3)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("is_centred", [False, True])
def test_norms_of_parts_of_each_row(run_step, n_parts, is_centred):
    x = np.random.default_rng(9).standard_normal((3, 96), np.float32)
    weight, before, width = np.linspace(0.5, 2, 48, dtype=np.float32), x.copy(), 48 // n_parts
    sizes = [width | CENTRED if is_centred else width, bits(1e-5), n_parts]
    run_step(step("rows.norm_parts"), [x.ctypes.data + 4 * 16, x.strides[0], weight.ctypes.data, *sizes], 3, n_tokens=3)
    parts = before[:, 16:64].reshape(3, n_parts, width)
    parts = parts - parts.mean(-1, keepdims=True) if is_centred else parts
    expected = norm(parts, weight.reshape(n_parts, width)).reshape(3, 48)
    np.testing.assert_allclose(x[:, 16:64], expected, rtol=5e-6, atol=5e-7)
    np.testing.assert_array_equal(np.delete(x, np.s_[16:64], 1), np.delete(before, np.s_[16:64], 1))


def test_residual_norm_of_the_last_positions_alone(run_step):
    x = np.random.default_rng(1).standard_normal((5, 64), np.float32)
    weight, out = np.ones((1, 64), np.float32), np.zeros((2, 64), np.float32)
    before = x.copy()
    parameters = [x.ctypes.data, x.strides[0], 0, 0, 0, weight.ctypes.data, 64 | OUTPUTS_ONLY, EPS]
    run_step(step("rows.residual_norm"), [*parameters, out.ctypes.data, out.strides[0], 0, 0], 2, n_tokens=5, n_out=2)
    np.testing.assert_allclose(out, norm(before[3:], 1.0), rtol=2e-6, atol=1e-7)


def test_residual_norm_multiplies_the_sum_and_may_leave_it_as_it_is(run_step, quantize):
    rng = np.random.default_rng(2)
    x, delta = (rng.standard_normal((3, 64), np.float32) for _ in range(2))
    expected = (x + delta) * np.float32(0.3)
    out, quant = np.zeros_like(x), np.zeros((3, 2, BLOCK_BYTES), np.uint8)
    sums = [x.ctypes.data, x.strides[0], delta.ctypes.data, delta.strides[0], 0, 0, 64, bits(1e-5) | bits(0.3) << 32]
    results = [out.ctypes.data, out.strides[0], quant.ctypes.data, quant.strides[0]]
    run_step(step("rows.residual_norm"), [*sums, *results], 3, n_tokens=3)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(quant, quantize(expected))


def test_parts_are_normed_by_themselves_and_added(run_step):
    rng = np.random.default_rng(3)
    to, delta = (rng.standard_normal((2, 96), np.float32) for _ in range(2))
    weight = rng.uniform(0.5, 2, 32).astype(np.float32)
    expected = to + norm(delta.reshape(2, 3, 32), weight).reshape(2, 96)
    where = [to.ctypes.data, to.strides[0], delta.ctypes.data, delta.strides[0], 3, 32, weight.ctypes.data, bits(1e-5)]
    run_step(step("per_layer.add_normed_parts"), where, 2, n_tokens=2)
    np.testing.assert_allclose(to, expected, rtol=2e-6, atol=1e-6)


def test_a_row_of_zeros_stays_zero(run_step, quantize):
    x = np.zeros((1, 64), np.float32)
    weight, out = np.ones((1, 64), np.float32), np.ones((1, 64), np.float32)
    quant = np.ones((1, 2, BLOCK_BYTES), np.uint8)
    parameters = [x.ctypes.data, 256, 0, 0, 0, weight.ctypes.data, 64, EPS, out.ctypes.data, 256]
    run_step(step("rows.residual_norm"), [*parameters, quant.ctypes.data, quant.strides[0]], 1)
    assert not out.any()
    assert not quant.any()


def test_widen(run_step, prepare_activations):
    x = np.random.default_rng(7).standard_normal((3, 96), np.float32)
    x[1, 32:64] = 0
    expected, meant = prepare_activations(x, "words")
    words = np.zeros(expected.shape, np.uint8)
    where = [x.ctypes.data, x.strides[0], words.ctypes.data, words.strides[0], 3]
    run_step(step("rows.widen"), where, 3, n_tokens=3)
    np.testing.assert_array_equal(words, expected)
    np.testing.assert_allclose(meant, x, rtol=0, atol=np.abs(x).max() / 16000)


def silu(x, up):
    return x / (1 + np.exp(-x)) * up


def gelu(x, up):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) * up


def squared_relu(x, up):
    return np.maximum(x, 0) ** 2 * up


def clamped(x, up):
    x = np.minimum(x, 7)
    return x / (1 + np.exp(-1.702 * x)) * (np.clip(up, -7, 7) + 1)


@pytest.mark.parametrize("width", [32, 100])
@pytest.mark.parametrize("is_gated", [True, False])
@pytest.mark.parametrize(
    ("activation", "expected"), [(SILU, silu), (GELU, gelu), (CLAMPED, clamped), (SQUARED_RELU, squared_relu)]
)
def test_gate(run_step, quantize, width, is_gated, activation, expected):
    rng = np.random.default_rng(2)
    both = (rng.standard_normal((2, 2 * width)) * 20).astype(np.float32)
    source = np.pad(both, ((0, 0), (0, 64)))
    out = np.zeros((2, -(-width // 32) * 32), np.float32)
    quant = np.zeros((2, out.shape[1] // 32, BLOCK_BYTES), np.uint8)
    up_at = width if is_gated else 0
    parameters = [source.ctypes.data, source.strides[0], up_at, width, out.ctypes.data, out.strides[0]]
    run_step(step("rows.gate"), [*parameters, quant.ctypes.data, quant.strides[0], activation], 2, n_tokens=2)
    gates, up = both[:, :width].astype(np.float64), both[:, width:] if is_gated else 1
    np.testing.assert_allclose(out[:, :width], expected(gates, up), rtol=5e-6, atol=1e-5)
    assert not out[:, width:].any()
    np.testing.assert_array_equal(quant, quantize(out))


def test_rotary_table(run_step):
    frequencies = 10_000.0 ** (-np.arange(8) / 8)
    table = np.zeros((3, 8, 2), np.float32)
    run_step(
        step("rotary.rotary_table"),
        [table.ctypes.data, frequencies.ctypes.data, 8, bits(1.5)],
        3,
        n_tokens=3,
        pos=100_000,
    )
    angles = (100_000 + np.arange(3))[:, None] * frequencies
    np.testing.assert_allclose(table, np.stack([np.cos(angles), np.sin(angles)], -1) * 1.5, atol=1e-6)
