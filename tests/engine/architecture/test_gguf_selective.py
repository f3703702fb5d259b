"""How large a selective scan's state is, PLaMo 2's and Kimi Delta Attention's, and what is refused."""

from __future__ import annotations

from array import array

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.selective import SelectiveScan
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models


def config_of(tmp_path, name, **changes):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **changes))
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_a_model_of_scans_alone(tmp_path):
    config = config_of(tmp_path, "mamba")
    assert (config.recurrent_layers, config.shapes) == ((0, 1, 2), ())
    assert not any(config.feeds_forward(layer) for layer in range(3))
    sizes = {"taps": 4, "dim": 128, "key_heads": 1, "value_heads": 128, "state_dim": 16, "step_dim": 32}
    assert config.recurrence == SelectiveScan(**sizes, norms="none")
    assert config_of(tmp_path, "mamba-normed").recurrence.norms == "unit"


def test_experts_are_where_the_file_has_them(tmp_path):
    config = config_of(tmp_path, "jamba-moe")
    assert config.experts.layers == (False, True, False, True)
    assert config.recurrent_layers == (0, 1, 3)
    assert config.recurrence.norms == "weights"
    assert [layer.rope_dim for layer in config.attention] == [0] * 4


def test_heads_of_plamo_2(tmp_path):
    config = config_of(tmp_path, "plamo2")
    scan = config.recurrence
    assert (scan.by_head, scan.value_heads, scan.head_dim, scan.step_dim) == (True, 4, 32, 64)
    assert config.recurrent_layers == (0, 2)


def test_kimi_attends_by_a_latent_vector_that_is_not_turned(tmp_path):
    config = config_of(tmp_path, "kimi-linear")
    assert config.recurrence == KimiDelta(taps=4, dim=128, key_heads=4, value_heads=4, state_dim=32)
    assert config.recurrent_layers == (0, 1, 3)
    assert [layer.latent is not None for layer in config.attention] == [False, False, True, False]
    assert config.query_scale == pytest.approx(48**-0.5)


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("mamba", {"ssm.state_size": 1024}, r"ssm\.state_size is 1024"),
        ("mamba", {"ssm.conv_kernel": 1}, r"ssm\.conv_kernel is 1"),
        ("mamba", {"ssm.time_step_rank": 1 << 31}, r"ssm\.time_step_rank is 2147483648"),
        ("mamba", {"ssm.inner_size": 256}, r"ssm_in\.weight has the shape \(256, 64\)"),
        ("plamo2", {"ssm.time_step_rank": 3}, "128, which 3 heads do not share evenly"),
        ("kimi-linear", {"kda.head_dim": 128}, r"kda\.head_dim is 128, it should be between 1 and 64"),
        ("kimi-linear", {"attention.head_count_kv": [0] * 4}, "none of its layers attends"),
        ("kimi-linear", {"attention.head_count_kv": [0, 1]}, "has 2 elements, it should have 4"),
    ],
)
def test_numbers_that_do_not_fit_are_named(tmp_path, name, changes, match):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    for key, value in changes.items():
        checkpoint.metadata[f"{name}.{key}"] = array("i", value) if isinstance(value, list) else value
    with pytest.raises(ModelFileError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("mamba", {"ssm__state_size": 24}, r"mamba\.ssm\.state_size is 24 wide; this engine wants a multiple of 16"),
        ("mamba", {"ssm__time_step_rank": 24}, "what time steps are made of is 24 wide"),
        ("mamba", {"ssm__inner_size": 112}, r"mamba\.ssm\.inner_size is 112 wide; this engine wants a multiple of 32"),
        ("plamo2", {"ssm__time_step_rank": 16}, "the state of a head is 8 wide"),
        ("kimi-linear", {"kda__head_dim": 48}, r"kda\.head_dim is 48; this engine wants a multiple of 32"),
    ],
)
def test_sizes_that_the_kernels_do_not_take_are_refused(tmp_path, name, changes, match):
    with pytest.raises(UnsupportedModelError, match=match):
        config_of(tmp_path, name, **changes)
