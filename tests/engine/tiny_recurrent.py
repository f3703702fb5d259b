"""The layers of tiny models that do not attend: which they are, and their tensors."""

from __future__ import annotations

DELTA_NET_KEYS = {
    "head_dim": 32,
    "rope.dimension_count": 16,
    "rope.dimension_sections": [3, 3, 2, 0],
    "ssm.conv_kernel": 4,
    "ssm.state_size": 32,
    "ssm.group_count": 4,
    "ssm.time_step_rank": 4,
    "ssm.inner_size": 128,
}
CONVOLUTIONS = ("lfm2", "lfm2moe")
DELTA_NETS = ("qwen35", "qwen35moe", "qwen3next")
"""Architectures with the one or the other; attention beside delta nets has a gate for every query."""


def recurrent_layers(keys, n_layers):
    """The layers that do not attend, by a model's keys."""
    kv_heads, flags = keys.get("attention.head_count_kv"), keys.get("attention.recurrent_layers")
    if flags:
        return {i for i in range(n_layers) if flags[i]}
    if isinstance(kv_heads, list):
        return {i for i in range(n_layers) if kv_heads[i] == 0}
    every = keys.get("full_attention_interval") or (4 if "ssm.state_size" in keys else 0)
    return {i for i in range(n_layers) if every and (i + 1) % every}


def recurrent_tensors(arch, block, keys, first_matrix=False):
    """(name, shape, standard deviation) of what such a layer has instead of attention, without its norm.

    first_matrix: its first two matrices are one, as in early files.
    """
    dim = keys["embedding_length"]
    even = dim**-0.5
    if "shortconv.l_cache" in keys:
        yield block + "shortconv.in_proj.weight", (3 * dim, dim), 1.5 * even
        yield block + "shortconv.conv.weight", (dim, keys["shortconv.l_cache"]), 0.8
        yield block + "shortconv.out_proj.weight", (dim, dim), even
        return
    heads, values = keys["ssm.time_step_rank"], keys["ssm.inner_size"]
    channels = 2 * keys["ssm.group_count"] * keys["ssm.state_size"] + values
    if first_matrix:
        yield block + "ssm_in.weight", (channels + values, dim), 1.5 * even
    else:
        yield block + "attn_qkv.weight", (channels, dim), 1.5 * even
        yield block + "attn_gate.weight", (values, dim), 1.5 * even
    if arch == "qwen3next":
        yield block + "ssm_ba.weight", (2 * heads, dim), even
    else:
        yield block + "ssm_beta.weight", (heads, dim), even
        yield block + "ssm_alpha.weight", (heads, dim), even
    yield block + "ssm_conv1d.weight", (channels, keys["ssm.conv_kernel"]), 0.6
    yield block + "ssm_dt.bias", (heads,), 0.5
    yield block + "ssm_a", (heads,), 1.0
    yield block + "ssm_norm.weight", (keys["ssm.state_size"],), 0.2
    yield block + "ssm_out.weight", (dim, values), values**-0.5
