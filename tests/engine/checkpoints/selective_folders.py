"""Tiny models with Mamba-1's layers in Hugging Face's format: their configurations, names and tensors."""

from __future__ import annotations

import numpy as np

MAMBA = {
    "conv_kernel": 4,
    "state_size": 16,
    "intermediate_size": 128,
    "time_step_rank": 32,
    "layer_norm_epsilon": 1e-5,
    "num_attention_heads": None,
    "num_key_value_heads": None,
    "rms_norm_eps": None,
}
JAMBA = {
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_dt_rank": 32,
    "attn_layer_period": 4,
    "attn_layer_offset": 1,
    "num_experts": 1,
}

SELECTIVE_CONFIGS = {
    "mamba": ("MambaForCausalLM", {**MAMBA, "model_type": "mamba"}),
    "mamba-normed": (
        "FalconMambaForCausalLM",
        {**MAMBA, "model_type": "falcon_mamba", "state_size": 32, "time_step_rank": 16, "intermediate_size": None},
    ),
    "jamba": ("JambaForCausalLM", JAMBA),
    "jamba-moe": (
        "JambaForCausalLM",
        {**JAMBA, "mamba_dt_rank": 48, "attn_layer_offset": 2, "num_experts": 8, "num_experts_per_tok": 2},
    ),
}
"""By the name in tiny_models.py: the class, and what its configuration has."""


def _mixer(place):
    return {
        "ssm_in": f"{place}.in_proj",
        "ssm_conv1d": f"{place}.conv1d",
        "ssm_x": f"{place}.x_proj",
        "ssm_dt": f"{place}.dt_proj",
        "ssm_out": f"{place}.out_proj",
        "ssm_a": f"{place}.A_log",
        "ssm_d": f"{place}.D",
    }


SELECTIVE_NAMES = {
    "mamba": {**_mixer("mixer"), "attn_norm": "norm"},
    "jamba": {
        **_mixer("mamba"),
        **{f"ssm_{part}_norm": f"mamba.{part}_layernorm" for part in ("dt", "b", "c")},
        "ffn_norm": "pre_ff_layernorm",
        "ffn_gate_inp": "feed_forward.router",
        **{f"ffn_{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    },
}
"""Parts of a layer, by GGUF's names."""


def as_selective_folder(values, name):
    """A tensor of GGUF's as the folder has it, with the logarithms of decays."""
    if name.endswith("ssm_conv1d.weight"):
        return values[:, None]
    return np.log(-values) if name.endswith("ssm_a") else values
