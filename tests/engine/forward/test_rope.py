"""Rotary frequencies: what stays, what is stretched, and by how much."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.config import Attention, ModelConfig, RopeScaling
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.forward.rope import layer_frequencies, rotary_frequencies

PLAIN = 10_000.0 ** (-np.arange(64) / 64)


@pytest.fixture
def config(tmp_path: Path, write_model) -> ModelConfig:
    """A model whose heads have 128 dimensions, trained on 4,096 positions."""
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    tiny = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    layers = (Attention(n_heads=4, n_kv_heads=2, head_dim=128, rope_dim=128),) * 2
    return replace(tiny, attention=layers, rope_scaling=RopeScaling(original_max_seq_len=4096))


def scaled(config: ModelConfig, **changes: object) -> tuple[np.ndarray, float]:
    return rotary_frequencies(replace(config, rope_scaling=replace(config.rope_scaling, **changes)), 128, None)


def test_plain(config) -> None:
    frequencies, magnitude = rotary_frequencies(config, 128, None)
    np.testing.assert_allclose(frequencies, PLAIN, rtol=1e-12)
    assert magnitude == 1.0


def test_the_last_bit_is_the_same_on_every_processor(config) -> None:
    frequencies, _ = rotary_frequencies(config, 128, None)
    assert zlib.crc32(frequencies.tobytes()) == 0x6B38DC55, "rounded once from the exact values"


def test_linear_stretches_all_alike(config) -> None:
    frequencies, magnitude = scaled(config, type="linear", factor=4.0)
    np.testing.assert_allclose(frequencies, PLAIN / 4, rtol=1e-12)
    assert magnitude == 1.0


def test_yarn_keeps_fast_pairs_and_stretches_slow_ones(config) -> None:
    frequencies, magnitude = scaled(config, type="yarn", factor=4.0)
    kept = (frequencies - PLAIN / 4) / (PLAIN - PLAIN / 4)
    turns = 4096 * PLAIN / (2 * np.pi)
    np.testing.assert_allclose(kept[turns > 36], 1.0)
    np.testing.assert_allclose(kept[turns < 0.9], 0.0, atol=1e-12)
    between = kept[(turns < 32) & (turns > 1)]
    np.testing.assert_allclose(np.diff(between), np.diff(between).mean(), rtol=1e-9)
    assert (np.diff(between) < 0).all()
    assert magnitude == pytest.approx(1 + 0.1 * np.log(4))


def test_yarn_by_other_turns(config) -> None:
    usual, _ = scaled(config, type="yarn", factor=4.0)
    other, _ = scaled(config, type="yarn", factor=4.0, beta_fast=8.0, beta_slow=0.5)
    assert (other >= usual).all()
    assert (other > usual).any()


def test_yarn_between_the_very_frequencies(config) -> None:
    """On a line between the pair that turns 32 times and the one that turns once, neither of which is a whole one."""
    frequencies, _ = scaled(config, type="yarn", factor=4.0, whole_pairs=False)
    kept = (frequencies - PLAIN / 4) / (PLAIN - PLAIN / 4)
    first, last = (64 * np.log(4096 / (2 * np.pi * turns)) / np.log(10_000) for turns in (32, 1))
    np.testing.assert_allclose(kept, np.clip((last - np.arange(64)) / (last - first), 0, 1), atol=1e-9)
    assert (frequencies != scaled(config, type="yarn", factor=4.0)[0]).any()


def test_an_attention_factor_is_part_of_the_magnitude(config) -> None:
    assert scaled(config, type="yarn", factor=4.0, attn_factor=0.5)[1] == pytest.approx(0.5 * (1 + 0.1 * np.log(4)))
    assert scaled(config, type="longrope", attn_factor=1.19)[1] == 1.19


def test_divisors(config) -> None:
    divisors = np.linspace(1, 8, 64, dtype=np.float32)
    frequencies, _ = rotary_frequencies(config, 128, np.pad(divisors, (0, 32)))
    np.testing.assert_allclose(frequencies, PLAIN / divisors, rtol=1e-6)


def test_layers_with_a_window_have_a_base_of_their_own(config) -> None:
    both = replace(config, rope_theta=1e6, local_rope_theta=1e4, rope_scaling=RopeScaling("linear", 8.0))
    first, second = config.attention
    (local, magnitude), usual = layer_frequencies(replace(both, attention=(replace(first, window=16), second)), None)
    np.testing.assert_allclose(local, PLAIN, rtol=1e-12)
    assert magnitude == 1.0
    np.testing.assert_allclose(usual[0], 1e6 ** (-np.arange(64) / 64) / 8, rtol=1e-12)


def test_each_layer_turns_as_many_dimensions_as_it_says(config) -> None:
    first, second = config.attention
    layers = (first, replace(second, rope_dim=0), replace(second, rope_dim=64), replace(first, window=16))
    turning, still, half, same = layer_frequencies(replace(config, attention=layers), None)
    np.testing.assert_allclose(turning[0], PLAIN, rtol=1e-12)
    assert still[0].size == 0
    np.testing.assert_allclose(half[0], 10_000.0 ** (-np.arange(32) / 32), rtol=1e-12)
    assert same[0] is turning[0]


def test_yarn_takes_back_what_the_file_says(config) -> None:
    assert scaled(config, type="yarn", factor=4.0, log_multiplier=1.0)[1] == 1.0
    half = (1 + 0.1 * np.log(4)) / (1 + 0.05 * np.log(4))
    assert scaled(config, type="yarn", factor=4.0, log_multiplier=0.5)[1] == pytest.approx(half)
