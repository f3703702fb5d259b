"""Configurations: what a sound file says, and every number that does not fit refused by name."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.config import Attention
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.architecture.configs import config_of


def test_a_sound_model(tmp_path: Path, write_model) -> None:
    config = config_of(write_model(tmp_path / "tiny.gguf"))
    assert (config.architecture.name, config.name) == ("llama", "tiny")
    assert config.attention == (Attention(n_heads=4, n_kv_heads=2, head_dim=8, rope_dim=8),) * 2
    assert (config.dim, config.hidden_dims, config.vocab_size, config.max_seq_len) == (32, (64, 64), 705, 128)
    assert (config.attention[0].q_dim, config.attention[0].kv_dim, config.rope_theta) == (32, 16, 10_000.0)
    assert config.norm_eps == pytest.approx(1e-5)
    assert config.tied
    assert config.rope_scaling.type == "none"
    assert config.query_scale == 8**-0.5


def test_a_negative_zero_has_no_sign(tmp_path: Path, write_model) -> None:
    key = "llama.attention.layer_norm_rms_epsilon"
    assert str(config_of(write_model(tmp_path / "tiny.gguf", set_keys={key: -0.0})).norm_eps) == "0.0"


def test_an_output_matrix_and_divisors(tmp_path: Path, write_model) -> None:
    more = {"output.weight": np.zeros((705, 32), np.float32), "rope_freqs.weight": np.ones(4, np.float32)}
    assert not config_of(write_model(tmp_path / "tiny.gguf", set_tensors=more)).tied


def test_an_older_number_of_tokens_is_of_no_account(tmp_path: Path, write_model) -> None:
    assert config_of(write_model(tmp_path / "tiny.gguf", set_keys={"llama.vocab_size": 704})).vocab_size == 705


def test_sizes_given_layer_by_layer(tmp_path: Path, write_model) -> None:
    kv_heads = [np.zeros((n, 32), np.float32) for n in (32, 16)]
    more = {f"blk.0.attn_{part}.weight": kv_heads[0] for part in "kv"}
    path = write_model(tmp_path / "a.gguf", set_keys={"llama.attention.head_count_kv": [4, 2]}, set_tensors=more)
    assert [layer.n_kv_heads for layer in config_of(path).attention] == [4, 2]
    assert len(config_of(path).shapes) == 2
    wide = {f"blk.1.ffn_{part}.weight": np.zeros((96, 32), np.float32) for part in ("gate", "up")}
    wide |= {"blk.1.ffn_down.weight": np.zeros((32, 96), np.float32)}
    path = write_model(tmp_path / "b.gguf", set_keys={"llama.feed_forward_length": [64, 96]}, set_tensors=wide)
    assert config_of(path).hidden_dims == (64, 96)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("attention.sliding_window_pattern", [True, True, True, False]),
        ("attention.head_count", [4, 4, 4, 0]),
        ("attention.head_count_kv", [2, 2, 2, 0]),
        ("feed_forward_length", [96, 96, 96, 0]),
    ],
)
def test_lists_may_go_on_for_blocks_that_guess(tmp_path: Path, key: str, values: list[int]) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "glm4moe"))
    checkpoint.metadata["glm4moe.attention.sliding_window"] = 16
    expected = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert expected.n_layers == 3
    for count in (4, 3):
        checkpoint.metadata[f"glm4moe.{key}"] = array("i", values[:count])
        assert config_from_gguf(checkpoint.metadata, checkpoint.tensors) == expected
    for count in (5, 2):
        checkpoint.metadata[f"glm4moe.{key}"] = array("i", (values * 2)[:count])
        with pytest.raises(ModelFileError, match=f"{key} has {count} elements, it should have 3"):
            config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("name", "caps"), [("llama", (0.0, 0.0)), ("qwen3", (0.0, 0.0)), ("gemma3", (0.0, 30.0)), ("gemma2", (50.0, 30.0))]
)
def test_soft_caps_count_where_the_architecture_has_them(tmp_path: Path, name: str, caps: tuple[float, ...]) -> None:
    """llama.cpp writes both into whatever it saves."""
    written = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **written))
    assert (config.attn_softcap, config.final_softcap) == caps


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"llama.block_count": 0}, r"block_count is 0, it should be between 1"),
        ({"llama.block_count": 2**31}, r"block_count is 2147483648"),
        ({"llama.block_count": 3}, r"blk\.2\.attn_norm\.weight is missing"),
        ({"llama.block_count": None}, r"llama\.block_count is missing"),
        ({"llama.block_count": "two"}, r"block_count should be an integer, it is a text"),
        ({"llama.block_count": True}, r"block_count should be an integer, it is true or false"),
        ({"llama.attention.head_count": 0}, r"head_count is 0"),
        ({"llama.attention.head_count": 5}, r"5 heads do not divide the width 32"),
        ({"llama.attention.head_count": 8}, r"rope\.dimension_count is 8, it should be between 2 and 4"),
        ({"llama.attention.head_count_kv": 3}, r"4 heads cannot share 3 key-value heads"),
        ({"llama.attention.head_count_kv": [2]}, r"head_count_kv has 1 elements, it should have 2"),
        ({"llama.attention.head_count_kv": [2, 3]}, r"4 heads cannot share 3 key-value heads"),
        ({"llama.attention.head_count_kv": [2, -2]}, r"head_count_kv is -2"),
        ({"llama.attention.head_count_kv": [2.0, 2.0]}, r"head_count_kv should be an integer"),
        ({"llama.attention.head_count_kv": 4}, r"attn_k\.weight has the shape \(16, 32\)"),
        ({"llama.embedding_length": 64}, r"has the shape"),
        ({"llama.feed_forward_length": 65}, r"ffn_gate\.weight has the shape \(64, 32\).*should be \(65, 32\)"),
        ({"llama.rope.dimension_count": 3}, r"both should be even"),
        ({"llama.context_length": 0}, r"context_length is 0"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, r"epsilon is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, r"epsilon is -1"),
        ({"llama.rope.freq_base": 0.0}, r"freq_base is 0"),
        ({"llama.rope.freq_base": float("inf")}, r"freq_base is inf"),
        ({"llama.expert_count": 8}, r"expert_used_count is missing"),
        ({"llama.expert_count": 8, "llama.expert_used_count": 9}, r"expert_used_count is 9"),
        ({"llama.expert_count": 8, "llama.expert_used_count": 2}, r"ffn_gate_inp\.weight is missing"),
        ({"llama.attention.sliding_window": "wide"}, r"sliding_window should be an integer"),
        ({"tokenizer.ggml.tokens": ["a"]}, r"token_embd\.weight has the shape \(705, 32\).*\(1, 32\)"),
        ({"tokenizer.ggml.tokens": None}, r"tokenizer\.ggml\.tokens is missing"),
        ({"tokenizer.ggml.tokens": [1, 2]}, r"tokens should be a list of texts, it is a list of int32"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path: Path, write_model, keys: dict[str, object], match: str) -> None:
    path = write_model(tmp_path / "bad.gguf", set_keys=keys)
    with pytest.raises(ModelFileError, match=match) as caught:
        config_of(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("name", "keys", "match"),
    [
        ("cohere2", {"logit_scale": float("nan")}, "logit_scale is nan"),
        ("cohere2", {"logit_scale": -1.0}, "logit_scale is -1"),
        ("cohere2", {"attention.layer_norm_epsilon": None}, "layer_norm_epsilon is missing"),
        ("command-r", {"attention.layer_norm_epsilon": -1.0}, "layer_norm_epsilon is -1"),
        ("minicpm", {"embedding_scale": float("inf")}, "embedding_scale is inf"),
        ("olmo2", {"attention.key_length": 10, "attention.value_length": 10}, "rope.dimension_count is 16"),
        ("olmo2", {"rope.freq_base_swa": 0.0}, "freq_base_swa is 0"),
        ("gptneox", {"use_parallel_residual": 1}, "use_parallel_residual should be true or false"),
    ],
)
def test_numbers_of_other_models_that_do_not_fit(
    tmp_path: Path, name: str, keys: dict[str, object], match: str
) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "good.gguf", name))
    for key, value in keys.items():
        checkpoint.metadata.pop(f"{name}.{key}", None)
        if value is not None:
            checkpoint.metadata[f"{name}.{key}"] = value
    with pytest.raises(ModelFileError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize("key", ["attn_logit_softcapping", "final_logit_softcapping"])
def test_a_cap_that_leaves_nothing(tmp_path: Path, key: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma2"))
    checkpoint.metadata[f"gemma2.{key}"] = 1e-39
    with pytest.raises(ModelFileError, match=rf"{key} is 1e-39, it should be 0 or between 1e-06 and 1e\+06"):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize("name", ["granite", "minicpm", "command-r"])
@pytest.mark.parametrize("scale", [5e-324, 1e-162, 9e-7])
def test_scales_too_small_to_compute_with(tmp_path: Path, name: str, scale: float) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    key = f"{name}.{'logit_scale' if name == 'command-r' else 'residual_scale'}"
    checkpoint.metadata[key] = scale
    with pytest.raises(ModelFileError, match=rf"{key} is {scale}, it should be 0 or between 1e-06 and 1e\+06"):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    checkpoint.metadata[key] = 0.0
    as_usual = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    del checkpoint.metadata[key]
    assert config_from_gguf(checkpoint.metadata, checkpoint.tensors) == as_usual


def test_what_multiplies_embeddings_and_results_of_minicpm(tmp_path: Path) -> None:
    keys = {"embedding_scale": None, "residual_scale": None, "logit_scale": None}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "minicpm", **keys))
    assert (config.embedding_scale, config.residual_scale, config.logit_divisor) == (12.0, 1.4 / 2**0.5, 64 / 256)
    cohere = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "command-r"))
    assert cohere.logit_divisor == 4.0


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"general.architecture": "grok"}, r"architecture 'grok'.*These run: llama"),
        ({"llama.rope.scaling.type": "spiral"}, r"stretches positions by 'spiral'"),
        ({"llama.attention.head_count": [4, 3], "llama.attention.head_count_kv": 1}, r"queries of 24 to 32 numbers"),
        ({"llama.attention.value_length": 16}, r"keys of 8 and values of 16"),
        ({"general.type": "adapter"}, r"is an adapter, not a model"),
    ],
)
def test_what_this_engine_does_not_run(tmp_path: Path, write_model, keys: dict[str, object], match: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        config_of(write_model(tmp_path / "other.gguf", set_keys=keys))
    assert caught.match(match)


@pytest.mark.parametrize(
    ("tensors", "kind", "match"),
    [
        ({"output_norm.weight": None}, ModelFileError, r"output_norm\.weight is missing"),
        ({"blk.1.ffn_down.weight": np.zeros((64, 32), np.float32)}, ModelFileError, r"has the shape \(64, 32\)"),
        ({"rope_freqs.weight": np.ones(8, np.float32)}, ModelFileError, r"rope_freqs\.weight has the shape \(8,\)"),
        ({"blk.0.attn_q.bias": np.ones(32, np.float32)}, ModelFileError, r"attn_k\.bias is missing"),
        (
            {"blk.0.attn_norm.bias": np.ones(32, np.float32)},
            UnsupportedModelError,
            r"norm\.bias is not part of a llama",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, write_model, tensors: dict[str, object], kind: type[EngineError], match: str
) -> None:
    with pytest.raises(kind, match=match):
        config_of(write_model(tmp_path / "bad.gguf", set_tensors=tensors))


def test_a_vocabulary_alone_is_no_model(tmp_path: Path, write_model) -> None:
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    with pytest.raises(ModelFileError, match="a vocabulary only"):
        config_from_gguf(checkpoint.metadata, {})
