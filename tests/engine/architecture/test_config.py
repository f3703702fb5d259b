"""Configurations: what a sound file says, and every number that does not fit refused by name."""

from __future__ import annotations

import re
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.config import Attention, ModelConfig
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models


def config_of(path: Path) -> ModelConfig:
    checkpoint = open_checkpoint(path)
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


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


def test_stretched_positions(tmp_path: Path, write_model) -> None:
    linear = config_of(write_model(tmp_path / "linear.gguf", set_keys={"llama.rope.scale_linear": 4.0}))
    assert (linear.rope_scaling.type, linear.rope_scaling.factor) == ("linear", 4.0)
    keys = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 8.0,
        "llama.rope.scaling.original_context_length": 64,
    }
    yarn = config_of(write_model(tmp_path / "yarn.gguf", set_keys=keys)).rope_scaling
    assert (yarn.type, yarn.factor, yarn.original_max_seq_len) == ("yarn", 8.0, 64)
    alone = config_of(write_model(tmp_path / "alone.gguf", set_keys={"llama.rope.scaling.factor": 4.0}))
    assert (alone.rope_scaling.type, alone.rope_scaling.factor) == ("linear", 4.0)


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [(2, (64, 0)), (0, (64, 64)), (1, (0, 0)), ([0, 1], (0, 64)), ([True, False], (64, 0))],
)
def test_which_layers_have_a_window(tmp_path: Path, pattern: object, windows: tuple[int, ...]) -> None:
    keys = {"attention__sliding_window": 64, "attention__sliding_window_pattern": pattern}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma2", layers=2, **keys))
    assert tuple(layer.window for layer in config.attention) == windows


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


def test_a_window_on_every_layer(tmp_path: Path, write_model) -> None:
    config = config_of(write_model(tmp_path / "mistral.gguf", set_keys={"llama.attention.sliding_window": 64}))
    assert [layer.window for layer in config.attention] == [64, 64]


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


def test_layers_of_gemma_4(tmp_path: Path) -> None:
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e"))
    local = Attention(n_heads=4, n_kv_heads=1, head_dim=32, rope_dim=32, window=16)
    wide = Attention(n_heads=4, n_kv_heads=1, head_dim=64, rope_dim=64)
    shared = replace(local, shared_from=2), replace(local, shared_from=2), replace(wide, shared_from=3)
    assert config.attention == (local, wide, local, wide, *shared)
    assert (config.query_scale, config.per_layer_dim, config.local_rope_theta) == (1.0, 32, 10_000.0)
    config = config_of(tiny_models.write_tiny(tmp_path / "dense.gguf", "gemma4"))
    assert [layer.keys_as_values for layer in config.attention] == [False, True] * 2
    assert [layer.qkv_dim for layer in config.attention] == [256, 320] * 2


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"attention.shared_kv_layers": 7}, r"shared_kv_layers is 7, it should be between 0 and 6"),
        ({"attention.shared_kv_layers": 6}, r"no layer has keys for layer 1"),
        ({"attention.shared_kv_layers": -1}, r"shared_kv_layers should be|shared_kv_layers is"),
        ({"attention.head_count_kv": [1, 1, 1, 1, 2, 1, 1]}, r"shared_kv_layers is 3; no layer has keys for layer 4"),
        ({"attention.key_length_swa": 0}, r"key_length_swa is 0"),
        ({"attention.key_length_swa": 48}, r"keys of 48 and values of 32"),
        ({"rope.dimension_count_swa": 34}, r"dimension_count_swa is 34, it should be between 2 and 32"),
        ({"rope.dimension_count_swa": 31}, r"dimension_count_swa is 31 in a head of 32; both should be even"),
        ({"rope.freq_base_swa": 0.0}, r"freq_base_swa is 0"),
        ({"embedding_length_per_layer_input": 2**31}, r"per_layer_input is 2147483648"),
        ({"embedding_length_per_layer_input": 40}, r"per_layer_input is 40; this engine wants a multiple of 32"),
        ({"embedding_length_per_layer_input": 64}, r"per_layer_token_embd\.weight has the shape \(705, 224\)"),
        ({"embedding_length_per_layer_input": 0}, r"per_layer_\w+\.weight is not part of a gemma4"),
        ({"attention.sliding_window_pattern": [True] * 6}, r"sliding_window_pattern has 6 elements"),
    ],
)
def test_numbers_of_gemma_4_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e")
    checkpoint = open_checkpoint(path)
    for key, value in keys.items():
        checkpoint.metadata[f"gemma4.{key}"] = array("i", value) if isinstance(value, list) else value
    with pytest.raises(EngineError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"feed_forward_length": [96, 96, 96]}, r"feed_forward_length has 3 elements, it should have 4"),
        ({"feed_forward_length": [96, 96, 96, -1]}, r"feed_forward_length is -1"),
        ({"feed_forward_length": [96, 96, 96, 64]}, r"blk\.3\.ffn_gate\.weight has the shape \(96, 64\)"),
        ({"expert_feed_forward_length": 32}, r"ffn_gate_up_exps\.weight has the shape \(8, 96, 64\)"),
        ({"expert_count": 2**40}, r"expert_count is 1099511627776"),
        ({"expert_used_count": 9}, r"expert_used_count is 9"),
        ({"expert_count": 0}, r"\w+ is not part of a gemma4 model"),
    ],
)
def test_numbers_of_gemma_4s_experts_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-moe"))
    for key, value in keys.items():
        checkpoint.metadata[f"gemma4.{key}"] = array("i", value) if isinstance(value, list) else value
    with pytest.raises(EngineError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize("parts", ["q", "qk", "qkv"])
@pytest.mark.parametrize("name", ["gemma4", "gemma4-e"])
def test_biases_that_no_gemma_4_has_are_refused(tmp_path: Path, name: str, parts: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    tensors = dict(checkpoint.tensors)
    for matrix, tensor in checkpoint.tensors.items():
        if re.search(rf"attn_[{parts}]\.weight", matrix):
            bias = matrix.replace("weight", "bias")
            tensors[bias] = replace(tensor, name=bias, shape=tensor.shape[:1])
    with pytest.raises(UnsupportedModelError, match=r"blk\.0\.attn_q\.bias is not part of a gemma4 model"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_layers_share_keys_only_in_models_that_are_made_so(tmp_path: Path) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "olmo2", attention__shared_kv_layers=1)
    checkpoint = open_checkpoint(path)
    tensors = {
        name: it for name, it in checkpoint.tensors.items() if not re.match(r"blk\.1\.attn_(k|v|k_norm)\.", name)
    }
    with pytest.raises(ModelFileError, match=r"blk\.1\.attn_k\.weight is missing"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_keys_that_a_layer_of_gemma_4_does_not_use_are_left(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e"))
    tensors = dict(checkpoint.tensors)
    for part in ("attn_k", "attn_v", "attn_k_norm"):
        name = f"blk.6.{part}.weight"
        tensors[name] = replace(tensors[f"blk.3.{part}.weight"], name=name)
    config_from_gguf(checkpoint.metadata, tensors)
    tensors["blk.6.attn_k.weight"] = replace(tensors["blk.2.attn_k.weight"], name="blk.6.attn_k.weight")
    with pytest.raises(ModelFileError, match=r"blk\.6\.attn_k\.weight has the shape \(32, 64\)"):
        config_from_gguf(checkpoint.metadata, tensors)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"expert_group_count": 5}, "32 experts cannot be in 5 equal groups"),
        ({"expert_group_count": 32}, "32 experts cannot be in 32 equal groups of two or more"),
        ({"expert_group_count": 2**31}, "expert_group_count is 2147483648"),
        ({"expert_group_used_count": 9}, "expert_group_used_count is 9"),
        ({"expert_group_used_count": None}, "expert_group_used_count is missing"),
        ({"expert_group_used_count": 1}, "6 experts a token cannot be chosen from 1 groups of 4"),
        ({"expert_weights_scale": float("nan")}, "expert_weights_scale is nan"),
        ({"expert_weights_scale": -1.0}, "expert_weights_scale is -1"),
        ({"expert_feed_forward_length": array("i", [48])}, "expert_feed_forward_length has 1 elements"),
        ({"expert_weights_norm": 1}, "expert_weights_norm should be true or false"),
        ({"expert_gating_func": 7}, r"weighs experts in a way .*expert_gating_func is 7"),
        ({"expert_gating_func": "softly"}, "expert_gating_func should be an integer"),
        ({"expert_feed_forward_length": 2**31}, "expert_feed_forward_length is 2147483648"),
        ({"expert_shared_count": 2**31}, "expert_shared_count is 2147483648"),
        ({"expert_shared_feed_forward_length": -1.0}, "expert_shared_feed_forward_length should be an integer"),
        ({"leading_dense_block_count": 2}, r"blk\.1\.ffn_gate\.weight is missing"),
        ({"leading_dense_block_count": 2**31}, "leading_dense_block_count is 2147483648"),
        ({"interleave_moe_layer_step": 2}, r"blk\.2\.ffn_gate\.weight is missing"),
        ({"nextn_predict_layers": 3}, "nextn_predict_layers is 3, it should be between 0 and 2"),
        ({"expert_count": 0}, r"blk\.1\.ffn_gate\.weight is missing"),
    ],
)
def test_numbers_of_experts_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "good.gguf", "bailingmoe2"))
    for key, value in keys.items():
        checkpoint.metadata.pop(f"bailingmoe2.{key}", None)
        if value is not None:
            checkpoint.metadata[f"bailingmoe2.{key}"] = value
    with pytest.raises((ModelFileError, UnsupportedModelError), match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


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


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"])
@pytest.mark.parametrize("factor", [5e-324, 1e-20, 9e-4])
def test_positions_are_not_stretched_beyond_all_numbers(tmp_path: Path, write_model, key: str, factor: float) -> None:
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    checkpoint.metadata[f"llama.{key}"] = factor
    with pytest.raises(ModelFileError, match=rf"{key} is {factor}, it should be 0 or between 0.001 and 1e\+06"):
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


def test_layers_that_turn_where_others_have_a_window(tmp_path: Path) -> None:
    def turned(name: str, **changes: object) -> list[bool]:
        config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, layers=4, **changes))
        return [layer.rope_dim > 0 for layer in config.attention]

    assert turned("cohere2") == turned("exaone4-windows") == [True, True, True, False]
    assert turned("exaone4") == [True] * 4


@pytest.mark.parametrize(("name", "turned"), [("granite", False), ("granitemoe", True), ("minicpm", True)])
def test_fine_tuned_for_long_contexts_or_not_turns_granite_alone_off(tmp_path: Path, name: str, turned: bool) -> None:
    """llama.cpp writes the key into every file that it saves, and reads it as a switch in one architecture."""
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **{"rope.scaling.finetuned": False})
    assert [layer.rope_dim > 0 for layer in config_of(path).attention] == [turned, turned]


def test_what_multiplies_embeddings_and_results_of_minicpm(tmp_path: Path) -> None:
    keys = {"embedding_scale": None, "residual_scale": None, "logit_scale": None}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "minicpm", **keys))
    assert (config.embedding_scale, config.residual_scale, config.logit_divisor) == (12.0, 1.4 / 2**0.5, 64 / 256)
    cohere = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "command-r"))
    assert cohere.logit_divisor == 4.0


def test_which_layers_have_experts(tmp_path: Path) -> None:
    experts = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "ernie4_5-moe")).experts
    assert experts is not None
    assert experts.layers == (False, True, True, True)
    assert (experts.count, experts.used, experts.hidden_dim, experts.shared_dim) == (8, 2, 48, 96)
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "glm4moe"))
    assert config.n_layers == 3  # and one that guesses


@pytest.mark.parametrize("said", [{"expert_feed_forward_length": 0}, {}])
@pytest.mark.parametrize("name", ["mixtral", "olmoe", "granitemoe", "qwen2moe", "glm4moe", "gemma4-moe"])
def test_how_wide_experts_are_without_its_key(tmp_path: Path, name: str, said: dict[str, int]) -> None:
    """llama.cpp writes 0 into what it saves; older converters knew the width of all experts of a token together."""
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    full = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    arch = full.architecture.name
    checkpoint.metadata.pop(f"{arch}.expert_feed_forward_length", None)
    checkpoint.metadata.update({f"{arch}.{key}": value for key, value in said.items()})
    assert config_from_gguf(checkpoint.metadata, checkpoint.tensors) == full


def test_experts_without_a_width_and_without_tensors(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen2moe"))
    del checkpoint.metadata["qwen2moe.expert_feed_forward_length"]
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if "_exps." not in name}
    with pytest.raises(ModelFileError, match=r"ffn_gate_exps\.weight is missing"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_shared_experts_that_all_are_missing_are_missed(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen2moe"))
    left = {name: tensor for name, tensor in checkpoint.tensors.items() if "_shexp" not in name}
    with pytest.raises(ModelFileError, match=r"blk\.0\.ffn_gate_shexp\.weight is missing"):
        config_from_gguf(checkpoint.metadata, left)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"general.architecture": "mamba"}, r"architecture 'mamba'.*These run: llama"),
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
