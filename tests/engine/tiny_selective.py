"""Tiny models with Mamba-1's layers: their keys, and the tensors of those layers."""

from __future__ import annotations

SELECTIVE_SCANS = ("mamba", "jamba", "plamo2")
"""Architectures with such layers."""

KEYS = {
    "ssm.conv_kernel": 4,
    "ssm.state_size": 16,
    "ssm.inner_size": 128,
    "ssm.time_step_rank": 32,
}
WITHOUT_ATTENTION = {
    "feed_forward_length": 0,
    "attention.head_count": 0,
    **dict.fromkeys(
        ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count")
    ),
}

SELECTIVE_MODELS = {
    "mamba": {**KEYS, **WITHOUT_ATTENTION, "layers": 3},
    "mamba-normed": {
        **KEYS,
        **WITHOUT_ATTENTION,
        "layers": 2,
        "ssm.state_size": 32,
        "ssm.time_step_rank": 16,
        "ssm.dt_b_c_rms": True,
        "untied": True,
    },
    "jamba": {**KEYS, "layers": 4, "head_count_kv": [0, 2, 0, 0], "rope.dimension_count": None},
    "jamba-moe": {
        **KEYS,
        "layers": 4,
        "ssm.time_step_rank": 48,
        "head_count_kv": [0, 0, 2, 0],
        "rope.dimension_count": None,
        "expert_count": 8,
        "expert_used_count": 2,
        "experts_every": 2,
        "untied": True,
    },
    "plamo2": {
        **KEYS,
        "layers": 4,
        "head_count_kv": [0, 2, 0, 2],
        "rope.dimension_count": None,
        "ssm.state_size": 32,
        "ssm.group_count": 0,
        "ssm.time_step_rank": 4,
        "in_one": True,
    },
    "plamo2-untied": {
        **KEYS,
        "layers": 2,
        "head_dim": 32,
        "attention.head_count": [0, 4],
        "head_count_kv": [0, 1],
        "rope.dimension_count": None,
        "ssm.group_count": 0,
        "ssm.time_step_rank": 3,
        "ssm.inner_size": 96,
        "in_one": True,
        "untied": True,
    },
}
"""As those of tiny_keys.py. experts_every: of so many layers the last has experts."""


def selective_tensors(arch, block, keys, *, biases=True):
    """(name, shape, standard deviation) of what a layer with a state has, without the norm before it."""
    dim, inner, n = keys["embedding_length"], keys["ssm.inner_size"], keys["ssm.state_size"]
    steps, by_head = keys["ssm.time_step_rank"], arch == "plamo2"
    heads = steps if by_head else inner
    steps = max(64, dim // 16) if by_head else steps
    yield block + "ssm_in.weight", (2 * inner, dim), 1.5 * dim**-0.5
    yield block + "ssm_conv1d.weight", (inner, keys["ssm.conv_kernel"]), 0.6
    if biases and not by_head:
        yield block + "ssm_conv1d.bias", (inner,), 0.3
    yield block + "ssm_x.weight", (steps + 2 * n, inner), 2 * inner**-0.5
    yield block + "ssm_dt.weight", (heads, steps), steps**-0.5
    yield block + "ssm_dt.bias", (heads,), 0.5
    yield block + "ssm_a", (heads,) if by_head else (inner, n), 1.0
    yield block + "ssm_d", (heads,), 1.0
    if arch in ("jamba", "plamo2"):
        yield from (
            (f"{block}ssm_{part}_norm.weight", (width,), 0.2) for part, width in (("dt", steps), ("b", n), ("c", n))
        )
    yield block + "ssm_out.weight", (dim, inner), inner**-0.5
