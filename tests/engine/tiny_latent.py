"""Tiny models whose keys and values are made of a latent vector: their keys, and the tensors of their attention."""

from __future__ import annotations

LATENT = ("deepseek2", "mistral4", "minicpm3", "plm", "kimi-linear")
"""Architectures of that kind."""

EXPERTS = {
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_feed_forward_length": 48,
    "expert_shared_count": 1,
    "shared": 48,
    "leading_dense_block_count": 1,
}
SIZES = {"rope.dimension_count": 16, "attention.kv_lora_rank": 64, "untied": True}
IN_ONE = {**SIZES, "head_count_kv": 4, "attention.key_length": 48, "attention.value_length": 32}
APART = {
    **SIZES,
    "head_count_kv": 1,
    "attention.key_length": 80,
    "attention.value_length": 64,
    "attention.key_length_mla": 48,
    "attention.value_length_mla": 32,
}
"""Where the widths of heads are behind _mla, keys and values have a tensor each."""

YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 40.0,
    "rope.scaling.original_context_length": 64,
    "rope.scaling.yarn_log_multiplier": 0.1,
}

LITE = {"layers": 27, "leading_dense_block_count": 26}
"""By this number of layers llama.cpp knows models whose queries are made of the layer's input."""

MODELS = {
    "deepseek2": {
        **APART,
        **EXPERTS,
        **YARN,
        "layers": 3,
        "attention.q_lora_rank": 32,
        "expert_count": 32,
        "expert_used_count": 6,
        "expert_feed_forward_length": 32,
        "shared": 32,
        "expert_group_count": 8,
        "expert_group_used_count": 4,
        "expert_gating_func": 2,
        "expert_weights_norm": True,
        "expert_weights_scale": 2.5,
        "biases": ("exp_probs_b",),
    },
    "deepseek2-in-one": {
        **IN_ONE,
        **EXPERTS,
        **YARN,
        "attention.q_lora_rank": 32,
        "rope.scaling.yarn_log_multiplier": 0.0707,
        "expert_weights_scale": 4.0,
    },
    "deepseek2-lite": {
        **APART,
        **EXPERTS,
        **YARN,
        **LITE,
        "rope.scaling.yarn_log_multiplier": 0.0707,
        "layers": 26,
        "leading_dense_block_count": 25,
    },
    "deepseek2-lite-in-one": {**IN_ONE, **EXPERTS, **LITE, "expert_gating_func": 1, "expert_weights_scale": 1.0},
    "deepseek2-glm": {
        **APART,
        **EXPERTS,
        "layers": 2,
        "ignored": 1,
        "nextn_predict_layers": 1,
        "rope.dimension_count": 32,
        "attention.q_lora_rank": 64,
        "attention.key_length": 96,
        "attention.key_length_mla": 96,
        "attention.value_length_mla": 64,
        "rope.freq_base": 1_000_000.0,
        "expert_gating_func": 2,
        "expert_weights_norm": True,
        "expert_weights_scale": 1.75,
        "biases": ("exp_probs_b",),
    },
    "deepseek2-dense": {
        **APART,
        "layers": 2,
        "untied": False,
        "attention.q_lora_rank": 96,
        "leading_dense_block_count": 2,
        "expert_feed_forward_length": 96,
        "expert_shared_count": 0,
    },
    "deepseek2-growing": {
        **APART,
        **YARN,
        "layers": 2,
        "attention.q_lora_rank": 32,
        "attention.temperature_scale": 0.3,
        "attention.temperature_length": 16,
        "leading_dense_block_count": 2,
        "expert_feed_forward_length": 96,
        "expert_shared_count": 0,
    },
    "mistral4": {
        **APART,
        **EXPERTS,
        **YARN,
        "attention.q_lora_rank": 32,
        "rope.scaling.yarn_log_multiplier": 0.05,
        "attention.temperature_scale": 0.1,
        "attention.temperature_length": 16,
        "leading_dense_block_count": 0,
        "expert_gating_func": 1,
        "expert_weights_norm": True,
        "expert_weights_scale": 1.0,
    },
    "minicpm3": {
        **IN_ONE,
        "dim": 128,
        "attention.value_length": None,
        "attention.q_lora_rank": 64,
        "divisors": ["rope_factors_short", "rope_factors_long"],
    },
    "plm": {**IN_ONE, "untied": False},
}
"""As those of tiny_keys.py."""


def latent_attention(m, block):
    """(name, shape, standard deviation) of what such a layer attends with, without its norm."""
    keys = {key.removeprefix("attention."): value for key, value in m.keys.items()}
    heads, rank, turned = keys["head_count"], keys["kv_lora_rank"], keys["rope.dimension_count"]
    in_one = "key_length_mla" not in keys
    key_dim = keys["key_length"] if in_one else keys["key_length_mla"]
    value_dim = (keys["value_length"] or m.dim // heads) if in_one else keys["value_length_mla"]
    even, of_latent = m.dim**-0.5, rank**-0.5
    if low := keys.get("q_lora_rank"):
        yield block + "attn_q_a.weight", (low, m.dim), even
        yield block + "attn_q_a_norm.weight", (low,), 0.2
        yield block + "attn_q_b.weight", (heads * key_dim, low), 1.5 * low**-0.5
    else:
        yield block + "attn_q.weight", (heads * key_dim, m.dim), 1.5 * even
    yield block + "attn_kv_a_mqa.weight", (rank + turned, m.dim), 1.5 * even
    yield block + "attn_kv_a_norm.weight", (rank,), 0.2
    if in_one:
        yield block + "attn_kv_b.weight", (heads * (key_dim - turned + value_dim), rank), 1.5 * of_latent
    else:
        yield block + "attn_k_b.weight", (heads, rank, key_dim - turned), 1.5 * of_latent
        yield block + "attn_v_b.weight", (heads, value_dim, rank), of_latent
    yield block + "attn_output.weight", (m.dim, heads * value_dim), (heads * value_dim) ** -0.5
