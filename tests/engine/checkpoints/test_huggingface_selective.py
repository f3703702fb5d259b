"""What `config.json` says of Mamba's layers and Jamba's, and what it leaves to be known."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.checkpoints.huggingface_config import HuggingFaceConfig

SIZES = {"hidden_size": 100, "num_hidden_layers": 4}


def keys_of(**values: object) -> dict[str, object]:
    config = HuggingFaceConfig(SIZES | values, Path("config.json"))
    return {key.split(".", 1)[1]: value for key, value in config.metadata().items()}


@pytest.mark.parametrize("given", [{}, {"time_step_rank": "auto"}, {"time_step_rank": 9}])
def test_what_mamba_need_not_say(given: dict[str, object]) -> None:
    keys = keys_of(architectures=["MambaForCausalLM"], **given)
    assert keys["ssm.time_step_rank"] == (9 if 9 in given.values() else 7)
    assert (keys["ssm.inner_size"], keys["ssm.state_size"], keys["ssm.conv_kernel"]) == (200, 16, 4)
    assert (keys["context_length"], keys["attention.head_count"], keys["feed_forward_length"]) == (1 << 20, 0, 0)
    assert keys["ssm.dt_b_c_rms"] is False


def test_falcon_mamba_norms_what_it_makes_of_the_convolutions_results() -> None:
    keys = keys_of(architectures=["FalconMambaForCausalLM"], model_type="falcon_mamba", intermediate_size=320)
    assert (keys["ssm.dt_b_c_rms"], keys["ssm.inner_size"]) == (True, 320)


def test_layers_of_jamba_that_attend() -> None:
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "num_hidden_layers": 9}
    keys = keys_of(architectures=["JambaForCausalLM"], num_experts=1, **sizes)
    assert list(keys["attention.head_count_kv"]) == [0, 0, 0, 0, 2, 0, 0, 0, 0]
    keys = keys_of(
        architectures=["JambaForCausalLM"], attn_layer_period=3, attn_layer_offset=0, mamba_expand=4, **sizes
    )
    assert list(keys["attention.head_count_kv"]) == [2, 0, 0] * 3
    assert keys["ssm.inner_size"] == 400
