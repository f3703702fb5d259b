"""Tiny models with Kimi Delta Attention: their keys, and the tensors of those layers."""

from __future__ import annotations

KEYS = {
    "ssm.conv_kernel": 4,
    "kda.head_dim": 32,
    "rope.dimension_count": 16,
    "attention.kv_lora_rank": 64,
    "attention.key_length": 80,
    "attention.value_length": 64,
    "attention.key_length_mla": 48,
    "attention.value_length_mla": 32,
    "untied": True,
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_feed_forward_length": 48,
    "expert_shared_count": 1,
    "shared": 48,
    "leading_dense_block_count": 1,
    "expert_gating_func": 2,
    "expert_weights_scale": 2.446,
    "biases": ("exp_probs_b",),
}

KIMI_MODELS = {
    "kimi-linear": {**KEYS, "layers": 4, "head_count_kv": [0, 0, 1, 0]},
    "kimi-linear-wide": {**KEYS, "layers": 3, "head_count_kv": [0, 1, 0], "heads": 3, "kda.head_dim": 64},
}
"""As those of tiny_keys.py."""


def kimi_tensors(block, keys):
    """(name, shape, standard deviation) of what a layer with a state has, without the norm before it."""
    dim, heads, width = keys["embedding_length"], keys["attention.head_count"], keys["kda.head_dim"]
    inner, even = heads * width, dim**-0.5
    for part in "qkv":
        yield f"{block}attn_{part}.weight", (inner, dim), 1.5 * even
        yield f"{block}ssm_conv1d_{part}.weight", (1, inner, 1, keys["ssm.conv_kernel"]), 0.6
    for part in "fg":
        yield f"{block}ssm_{part}_a.weight", (width, dim), even
        yield f"{block}ssm_{part}_b.weight", (inner, width), width**-0.5
    yield block + "ssm_beta.weight", (heads, dim), even
    yield block + "ssm_dt.bias", (inner,), 0.5
    yield block + "ssm_a", (1, 1, heads, 1), 1.0
    yield block + "ssm_norm.weight", (width,), 0.2
    yield block + "attn_output.weight", (dim, inner), inner**-0.5
