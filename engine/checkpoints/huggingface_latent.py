"""Attention with a latent vector in Hugging Face's `config.json`, as GGUF's keys.

Source: DeepseekV3Config in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

KEYS_APART = "deepseek2"
"""The architecture that has a matrix for the keys of each head, and another for its values; others have one for all."""

_SIGMOID = {"scoring_func": "sigmoid", "norm_topk_prob": True}
_BY_CLASS: dict[object, dict[str, object]] = {
    "DeepseekV3ForCausalLM": _SIGMOID,
    "Glm4MoeLiteForCausalLM": _SIGMOID,
}
_OF_ALL: dict[str, object] = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}


def latent_defaults(class_name: object) -> dict[str, object]:
    """What a class of transformers has where a configuration says nothing."""
    return _OF_ALL | _BY_CLASS.get(class_name, {})


def latent_keys(values: Metadata, architecture: str, n_heads: int, dim: int) -> dict[str, object]:
    """Keys of a GGUF, without the architecture's name."""
    rank, plain, turned = (values.integer(name, low=1, high=MAX_WIDTH) for name in _OF_ALL)
    value_dim = values.integer("v_head_dim", dim // n_heads, low=1, high=MAX_WIDTH)
    keys: dict[str, object] = {"attention.kv_lora_rank": rank}
    if query_rank := values.integer("q_lora_rank", 0, low=0, high=MAX_WIDTH):
        keys["attention.q_lora_rank"] = query_rank
    heads = {"attention.key_length": plain + turned, "attention.value_length": value_dim}
    if architecture != KEYS_APART:
        return keys | heads
    in_cache = {"attention.key_length": rank + turned, "attention.value_length": rank}
    of_heads = {f"{key}_mla": width for key, width in heads.items()}
    return keys | {"attention.head_count_kv": 1} | in_cache | of_heads


def latent_yarn(rope: Metadata) -> dict[str, object]:
    """YaRN's factor of queries, as a tenth of DeepSeek's mscale_all_dim.

    Raises UnsupportedModelError where what is turned would get another size by it.
    """
    all_larger = rope.real("mscale_all_dim", 0.0, low=0.0, high=1e6)
    larger = rope.real("mscale", all_larger, low=0.0, high=1e6)
    if not all_larger or larger != all_larger:
        raise UnsupportedModelError(
            f"{rope.path}: mscale is {larger:g} and mscale_all_dim {all_larger:g}; only equal numbers are run here.",
            "Choose the model as GGUF, or another one.",
        )
    return {"rope.scaling.yarn_log_multiplier": all_larger / 10}
