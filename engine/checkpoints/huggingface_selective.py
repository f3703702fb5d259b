"""Models with Mamba-1's layers in Hugging Face's `config.json`.

Source: the configurations of Mamba, FalconMamba and Jamba in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata

SELECTIVE_SCANS = ("mamba", "jamba")
"""Architectures with such layers, by GGUF's names."""

LONGEST = 1 << 20
"""Positions of a model of which nobody says how many it knows."""

_NAMES = {
    "ssm.conv_kernel": ("mamba_d_conv", "conv_kernel"),
    "ssm.state_size": ("mamba_d_state", "state_size"),
    "ssm.time_step_rank": ("mamba_dt_rank", "time_step_rank"),
}
"""By GGUF's keys, those of both kinds of classes."""

_DEFAULTS = {"ssm.conv_kernel": 4, "ssm.state_size": 16}


def with_selective_names(values: Mapping[str, object], architecture: str) -> dict[str, object]:
    """Settings under the names that most models have for them."""
    named = dict(values)
    if architecture == "mamba":
        usual = {"rms_norm_eps": values.get("layer_norm_epsilon", 1e-5), "tie_word_embeddings": True}
        named = {**usual, "max_position_embeddings": LONGEST, **named, "num_attention_heads": 1}
        named.setdefault("intermediate_size", 1)
    return named


def selective_keys(values: Metadata, architecture: str, dim: int, n_layers: int, n_kv_heads: int) -> dict[str, object]:
    """Keys of a GGUF beside those of every model, without the architecture's name."""
    keys: dict[str, object] = {}
    for key, names in _NAMES.items():
        name = next((name for name in names if name in values), names[0])
        if values.get(name) != "auto" and (name in values or key in _DEFAULTS):
            keys[key] = values.integer(name, _DEFAULTS.get(key), low=1, high=MAX_WIDTH)
    keys.setdefault("ssm.time_step_rank", -(-dim // 16))
    expanded = int(values.real("mamba_expand" if architecture == "jamba" else "expand", 2.0, low=1.0, high=64.0) * dim)
    if architecture == "mamba":
        inner = values.integer("intermediate_size", expanded, low=1, high=MAX_WIDTH)
        keys["ssm.inner_size"] = inner if inner > 1 else expanded
        keys |= {"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0}
        return keys | {"ssm.dt_b_c_rms": values.text("model_type", "") == "falcon_mamba"}
    every = values.integer("attn_layer_period", 8, low=1, high=MAX_LAYERS)
    which = values.integer("attn_layer_offset", 4, low=0, high=MAX_LAYERS)
    attending = array("i", [n_kv_heads * (i % every == which) for i in range(n_layers)])
    return keys | {"ssm.inner_size": expanded, "attention.head_count_kv": attending}
