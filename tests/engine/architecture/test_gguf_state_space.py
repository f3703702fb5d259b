"""Which layers have a state space, how large it is, and what is refused."""

from __future__ import annotations

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.state_space import StateSpace
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from engine.model_info import ENGINE_BYTES, inspect_model
from tests.engine import tiny_models


def config_of(tmp_path, name, **changes):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **changes))
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_sizes_and_layers_of_a_hybrid(tmp_path):
    config = config_of(tmp_path, "granitehybrid")
    assert config.recurrent_layers == (0, 1, 3)
    space = config.recurrence
    assert space == StateSpace(taps=4, dim=128, key_heads=1, value_heads=4, state_dim=32)
    assert (space.head_dim, space.channels, space.rows) == (32, 192, 324)
    assert [config.first_dim(layer) for layer in (0, 2)] == [324, 128]
    assert [config.mixed_dim(layer) for layer in (0, 2)] == [128, 64]


def test_attention_and_state_side_by_side(tmp_path):
    config = config_of(tmp_path, "falcon-h1")
    assert config.recurrent_layers == (0, 1, 2)
    assert config.first_dim(1) == (4 + 2 * 2) * 32 + 96 + 160 + 6
    assert config.mixed_dim(1) == 128


def test_layers_of_one_part(tmp_path):
    config = config_of(tmp_path, "nemotron_h_moe")
    assert config.recurrent_layers == (0, 3)
    assert [layer for layer in range(5) if config.attention[layer].n_kv_heads] == [2]
    assert [layer for layer in range(5) if config.feeds_forward(layer)] == [1, 4]
    assert config.experts.layers == (False, True, False, False, True)
    dense = config_of(tmp_path, "nemotron_h")
    assert dense.hidden_dims == (0, 96, 0, 96, 0, 0)
    assert [dense.first_dim(layer) for layer in (1, 2)] == [0, 8 * 32]


def test_without_any_attention(tmp_path):
    config = config_of(tmp_path, "mamba2")
    assert (config.recurrent_layers, config.shapes) == ((0, 1, 2), ())
    assert not any(config.feeds_forward(layer) for layer in range(3))


def test_what_is_told_of_a_model_knows_its_state(tmp_path):
    told = inspect_model(tiny_models.write_tiny(tmp_path / "tiny.gguf", "mamba2"))
    assert told.kv_bytes_per_token == 0
    # Of three layers, with at least three copies.
    assert told.needs_bytes - told.weights_bytes - ENGINE_BYTES >= 4 * 3 * 128 * 32 * 4


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ssm__group_count": 3}, r"4 heads cannot be in 3 equal groups"),
        ({"ssm__group_count": 0}, r"ssm\.group_count is 0"),
        ({"ssm__inner_size": 130}, "ssm.inner_size is 130, which 4 heads do not share evenly"),
        ({"ssm__state_size": 1024}, r"ssm\.state_size is 1024"),
        ({"ssm__conv_kernel": 1}, r"ssm\.conv_kernel is 1"),
        ({"ssm__time_step_rank": 1 << 31}, r"ssm\.time_step_rank is 2147483648"),
        ({"attention__head_count": 0}, "0 heads cannot share 2 key-value heads"),
        ({"feed_forward_length": 0}, r"feed_forward_length is 0"),
    ],
)
def test_numbers_that_do_not_fit_are_named(tmp_path, changes, match):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "granitehybrid"))
    changed = {f"granitehybrid.{key.replace('__', '.')}": value for key, value in changes.items()}
    with pytest.raises(ModelFileError, match=match):
        config_from_gguf(dict(checkpoint.metadata) | changed, checkpoint.tensors)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ssm__time_step_rank": 16}, "the state of a head is 8 wide; this engine wants a multiple of 16"),
        ({"ssm__state_size": 24}, r"granitehybrid\.ssm\.state_size is 24 wide"),
        ({"ssm__inner_size": 144, "ssm__time_step_rank": 9}, r"granitehybrid\.ssm\.inner_size is 144 wide"),
    ],
)
def test_sizes_that_the_kernels_do_not_take_are_refused(tmp_path, changes, match):
    with pytest.raises(UnsupportedModelError, match=match):
        config_of(tmp_path, "granitehybrid", **changes)
