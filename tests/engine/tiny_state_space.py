"""Tiny models with Mamba-2's layers: their keys, which parts their layers have, and the tensors of those."""

from __future__ import annotations

STATE_SPACES = ("granitehybrid", "falcon-h1", "nemotron_h", "nemotron_h_moe", "mamba2")
"""Architectures with such layers."""

KEYS = {
    "ssm.conv_kernel": 4,
    "ssm.state_size": 32,
    "ssm.group_count": 1,
    "ssm.time_step_rank": 4,
    "ssm.inner_size": 128,
}
SCALES = {"embedding_scale": 3.0, "residual_scale": 0.4, "attention.scale": 0.1, "logit_scale": 2.0}
EXPERTS = {"expert_count": 8, "expert_used_count": 2}

STATE_SPACE_MODELS = {
    "granitehybrid": {
        **KEYS,
        **SCALES,
        "layers": 4,
        "head_count_kv": [0, 0, 2, 0],
        "rope.scaling.finetuned": False,
    },
    "granitehybrid-moe": {
        **KEYS,
        **SCALES,
        **EXPERTS,
        "layers": 3,
        "head_count_kv": [0, 2, 0],
        "ssm.group_count": 2,
        "expert_shared_feed_forward_length": 48,
        "shared": 48,
        "rope.scaling.finetuned": False,
    },
    "granitehybrid-turned": {**KEYS, "layers": 3, "head_count_kv": [0, 2, 0], "untied": True},
    "granitehybrid-unbiased": {**KEYS, "layers": 2, "head_count_kv": [0, 2], "ssm.state_size": 48, "tap_biases": False},
    "falcon-h1": {
        **KEYS,
        "layers": 3,
        "head_dim": 32,
        "ssm.time_step_rank": 6,
        "ssm.inner_size": 96,
        "rope.freq_base": 1e11,
        "untied": True,
        "state_norms": False,
    },
    "falcon-h1-norms": {**KEYS, "layers": 2, "ssm.state_size": 64, "ssm.group_count": 2},
    "nemotron_h": {
        **KEYS,
        "layers": 6,
        "head_dim": 32,
        "head_count_kv": [0, 0, 2, 0, 0, 0],
        "feed_forward_length": [0, 96, 0, 96, 0, 0],
        "ssm.group_count": 2,
        "ssm.time_step_rank": 2,
        "attention.layer_norm_rms_epsilon": None,
        "attention.layer_norm_epsilon": 1e-5,
        "untied": True,
    },
    "nemotron_h_moe": {
        **KEYS,
        **EXPERTS,
        "layers": 5,
        "ignored": 1,
        "nextn_predict_layers": 1,
        "head_count_kv": [0, 0, 2, 0, 0, 2],
        "feed_forward_length": [0, 48, 0, 0, 48, 48],
        "ssm.group_count": 4,
        "attention.layer_norm_epsilon": 1e-5,
        "expert_used_count": 3,
        "expert_group_count": 1,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "expert_shared_feed_forward_length": 80,
        "shared": 80,
        "expert_weights_norm": True,
        "expert_weights_scale": 2.5,
        "untied": True,
        "biases": ("exp_probs_b",),
    },
    "mamba2": {
        **KEYS,
        "layers": 3,
        "ssm.group_count": 2,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        **dict.fromkeys(
            (
                "attention.head_count_kv",
                "attention.key_length",
                "attention.value_length",
                "rope.dimension_count",
            )
        ),
    },
}
"""As those of tiny_keys.py. state_norms, tap_biases: whether there are such tensors."""

ATTENTION, STATE, FEED_FORWARD = "attention", "state", "feed-forward"


def layer_parts(arch, keys, layer, recurrent):
    """What a layer has; recurrent: those that have a state, in other architectures than these."""
    if arch == "falcon-h1":
        return {ATTENTION, STATE, FEED_FORWARD}
    if arch in ("mamba", "mamba2"):
        return {STATE}
    if arch.startswith("nemotron_h"):
        if keys["feed_forward_length"][layer]:
            # The one that guesses has two parts.
            return {FEED_FORWARD, ATTENTION} if keys["attention.head_count_kv"][layer] else {FEED_FORWARD}
        return {ATTENTION} if keys["attention.head_count_kv"][layer] else {STATE}
    return {STATE if layer in recurrent else ATTENTION, FEED_FORWARD}


def state_space_tensors(block, keys, *, norms=True, biases=True):
    """(name, shape, standard deviation) of what a layer with a state has, without the norm before it."""
    dim, inner, heads = keys["embedding_length"], keys["ssm.inner_size"], keys["ssm.time_step_rank"]
    groups = keys["ssm.group_count"]
    channels = inner + 2 * groups * keys["ssm.state_size"]
    yield block + "ssm_in.weight", (inner + channels + heads, dim), 1.5 * dim**-0.5
    yield block + "ssm_conv1d.weight", (channels, keys["ssm.conv_kernel"]), 0.6
    if biases:
        yield block + "ssm_conv1d.bias", (channels,), 0.3
    yield block + "ssm_dt.bias", (heads,), 0.5
    yield block + "ssm_a", (heads, 1), 1.0
    yield block + "ssm_d", (heads, 1), 1.0
    if norms:
        yield block + "ssm_norm.weight", (groups, inner // groups), 0.2
    yield block + "ssm_out.weight", (dim, inner), inner**-0.5
