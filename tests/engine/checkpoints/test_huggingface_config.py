"""What newer and older versions of transformers write into config.json, as GGUF's metadata."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.huggingface_options import check_options
from engine.errors import ModelFileError, UnsupportedModelError

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 4096,
}


def metadata_of(architecture: str, **values: object) -> dict[str, object]:
    return HuggingFaceConfig({"architectures": [architecture], **SIZES, **values}, Path("config.json")).metadata()


def test_rope_by_kinds_of_layers() -> None:
    """As transformers 5 writes Gemma 3."""
    keys = metadata_of(
        "Gemma3ForCausalLM",
        sliding_window=512,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20_000.0},
        },
    )
    assert keys["gemma3.rope.freq_base"] == 1e6
    assert keys["gemma3.rope.freq_base_swa"] == 20_000.0
    assert (keys["gemma3.rope.scaling.type"], keys["gemma3.rope.scaling.factor"]) == ("linear", 8.0)


def test_gemma_3_as_it_was_given_out() -> None:
    """With next to nothing about the part that writes text."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    text["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    values = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text, "vision_config": {"a": 1}}
    keys = HuggingFaceConfig(values, Path("config.json")).metadata()
    names = ("attention.head_count", "attention.head_count_kv", "attention.key_length", "context_length")
    assert [keys[f"gemma3.{name}"] for name in names] == [8, 4, 256, 131_072]
    assert (keys["gemma3.rope.freq_base"], keys["gemma3.attention.sliding_window"]) == (1e6, 1024)
    assert (keys["gemma3.rope.scaling.type"], keys["gemma3.rope.scaling.factor"]) == ("linear", 8.0)


def test_kinds_of_layers_by_name() -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    keys = metadata_of("Gemma2ForCausalLM", sliding_window=512, layer_types=kinds)
    assert keys["gemma2.attention.sliding_window_pattern"] == (True, False, True, False)
    keys = metadata_of("Gemma2ForCausalLM", sliding_window=512, layer_types=["sliding_attention", "wavy"])
    assert "gemma2.attention.sliding_window_pattern" not in keys


def test_part_of_a_head_is_turned_wherever_that_stands() -> None:
    for values in ({"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}):
        assert metadata_of("Phi3ForCausalLM", **values)["phi3.rope.dimension_count"] == 8


def test_the_numbers_of_yarn() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 64, "beta_slow": 2.0, "attention_factor": 1.5}
    keys = metadata_of("LlamaForCausalLM", rope_scaling=scaling)
    assert (keys["llama.rope.scaling.yarn_beta_fast"], keys["llama.rope.scaling.yarn_beta_slow"]) == (64.0, 2.0)
    assert keys["llama.rope.scaling.attn_factor"] == pytest.approx(1.5 / (1 + 0.1 * math.log(4.0)))
    keys = metadata_of("LlamaForCausalLM", rope_scaling={"rope_type": "yarn", "factor": 4.0})
    assert not {key for key in keys if "yarn_" in key or "attn_factor" in key}
    keys = metadata_of("GptOssForCausalLM", rope_scaling={"rope_type": "yarn", "factor": 4.0, "truncate": False})
    assert keys["gpt-oss.rope.scaling.yarn_truncate"] is False


@pytest.mark.parametrize("mscale", [1.0, 0.7, 0.0])
def test_the_two_factors_of_deepseeks_yarn(mscale: float) -> None:
    """As transformers has them: where both are given, one divided by the other in place of YaRN's own."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "mscale": mscale, "mscale_all_dim": 0.3}
    config = HuggingFaceConfig(
        {"architectures": ["Qwen3ForCausalLM"], **SIZES, "rope_scaling": scaling}, Path("config.json")
    )
    attn_factor = config.metadata().get("qwen3.rope.scaling.attn_factor", 1.0)
    yarn = 1 + 0.1 * math.log(4.0)
    expected = (1 + 0.1 * mscale * math.log(4.0)) / (1 + 0.1 * 0.3 * math.log(4.0)) if mscale else yarn
    assert attn_factor == pytest.approx(expected / yarn)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "silu", "use_sliding_window": False, "sliding_window": 128, "max_window_layers": 2},
        {"use_sliding_window": True, "sliding_window": 128, "max_window_layers": 4},
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 0},
        {"use_sliding_window": True, "sliding_window": 128, "layer_types": ["full_attention"] * 4},
        {"architectures": ["GemmaForCausalLM"], "hidden_act": "gelu", "hidden_activation": None},
        {"architectures": ["Gemma2ForCausalLM"], "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16},
        {"architectures": ["Gemma2ForCausalLM"], "num_hidden_layers": 46, "head_dim": 8, "query_pre_attn_scalar": 16},
        {"architectures": ["Gemma2ForCausalLM"], "num_hidden_layers": 42, "query_pre_attn_scalar": 224},
        {
            "architectures": ["Gemma3ForCausalLM"],
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
        },
        {"architectures": ["SmolLM3ForCausalLM"], "use_sliding_window": False, "sliding_window": 128},
        {"architectures": ["SmolLM3ForCausalLM"], "use_sliding_window": True, "sliding_window": None},
        {"architectures": ["LlamaForCausalLM"], "query_pre_attn_scalar": 3, "use_sliding_window": True},
    ],
)
def test_settings_that_change_nothing(values: dict[str, object]) -> None:
    check_options(HuggingFaceConfig({"architectures": ["Qwen2ForCausalLM"], **SIZES, **values}, Path("config.json")))


def test_lfm2_as_its_first_configurations_have_it() -> None:
    """Its smallest size, whose feed-forward width is made of another number."""
    keys = metadata_of(
        "Lfm2ForCausalLM", block_ff_dim=6656, full_attn_idxs=[1, 3], norm_eps=1e-5, num_key_value_heads=2
    )
    assert keys["lfm2.feed_forward_length"] == 4608
    assert list(keys["lfm2.attention.head_count_kv"]) == [0, 2, 0, 2]
    assert (keys["lfm2.shortconv.l_cache"], keys["lfm2.attention.layer_norm_rms_epsilon"]) == (3, 1e-5)
    with pytest.raises(ModelFileError, match="which layers attend"):
        metadata_of("Lfm2ForCausalLM")


def test_qwen_3_5_with_its_defaults() -> None:
    keys = metadata_of("Qwen3_5ForConditionalGeneration", text_config={"head_dim": 32})
    assert (keys["qwen35.ssm.group_count"], keys["qwen35.ssm.time_step_rank"]) == (16, 32)
    assert (keys["qwen35.ssm.inner_size"], keys["qwen35.full_attention_interval"]) == (4096, 4)
    assert (keys["qwen35.rope.dimension_count"], list(keys["qwen35.rope.dimension_sections"])) == (8, [11, 11, 10, 0])
    with pytest.raises(UnsupportedModelError, match="keys of 128 and values of 64"):
        metadata_of("Qwen3_5ForCausalLM", linear_value_head_dim=64)


def test_qwen_3_5_without_gates_is_refused() -> None:
    values = {"architectures": ["Qwen3_5ForCausalLM"], **SIZES, "attn_output_gate": False}
    with pytest.raises(UnsupportedModelError, match="has no gates"):
        check_options(HuggingFaceConfig(values, Path("config.json")))


def test_falcon_as_it_was_given_out() -> None:
    """7B's first and second configuration, and 40B's."""
    first = {"n_head": 71, "n_layer": 32, "multi_query": True, "layer_norm_epsilon": 1e-5}
    second = {"num_attention_heads": 71, "num_hidden_layers": 32, "num_kv_heads": 71, "multi_query": True}
    for values in (first, second):
        values |= {"architectures": ["FalconForCausalLM"], "hidden_size": 4544, "alibi": False}
        keys = HuggingFaceConfig(values, Path("config.json")).metadata()
        names = ("attention.head_count", "attention.head_count_kv", "feed_forward_length", "context_length")
        assert [keys[f"falcon.{name}"] for name in names] == [71, 1, 18_176, 2048]
    larger = {"num_kv_heads": 8, "new_decoder_architecture": True, "multi_query": True, "num_attention_heads": 128}
    assert metadata_of("FalconForCausalLM", **larger | {"hidden_size": 8192})["falcon.attention.head_count_kv"] == 8


@pytest.mark.parametrize(("option", "value"), [("alibi", True), ("parallel_attn", False)])
def test_falcons_that_are_otherwise(option: str, value: bool) -> None:
    config = HuggingFaceConfig({"architectures": ["RWForCausalLM"], **SIZES, option: value}, Path("config.json"))
    with pytest.raises(UnsupportedModelError, match=f"{option} is {str(value).lower()}, which is not run here"):
        check_options(config)


def test_a_trinity_without_scaled_embeddings() -> None:
    values = {"architectures": ["AfmoeForCausalLM"], **SIZES, "mup_enabled": False}
    with pytest.raises(UnsupportedModelError, match="mup_enabled is false, which is not run here in a afmoe model"):
        check_options(HuggingFaceConfig(values, Path("config.json")))


def test_windows_that_are_not_used() -> None:
    kinds = ["sliding_attention"] * 4
    keys = metadata_of("MellumForCausalLM", sliding_window=512, use_sliding_window=False, layer_types=kinds)
    assert not any("sliding" in key for key in keys)
