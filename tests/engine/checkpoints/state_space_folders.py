"""Tiny models with Mamba-2's layers in Hugging Face's format: their configurations, names and tensors."""

from __future__ import annotations

import numpy as np

from tests.engine.checkpoints.folder_config_parts import SCALES

GRANITE = {
    "mamba_d_conv": 4,
    "mamba_d_state": 32,
    "mamba_n_groups": 1,
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_expand": 2,
    "position_embedding_type": "nope",
}
NEMOTRON = {
    "conv_kernel": 4,
    "ssm_state_size": 32,
    "mamba_head_dim": 64,
    "mamba_num_heads": 2,
    "n_groups": 2,
    "expand": 2,
    "layer_norm_epsilon": 1e-5,
    "attention_head_dim": 32,
    "mlp_hidden_act": "relu2",
    "time_step_limit": [0.0, float("inf")],
}
FACTORS = {
    "attention_in_multiplier": 0.5,
    "key_multiplier": 0.25,
    "attention_out_multiplier": 2.0,
    "ssm_in_multiplier": 2.0,
    "ssm_out_multiplier": 0.5,
    "mlp_multipliers": [4.0, 0.125],
    "ssm_multipliers": [0.5, 1.0, 2.0, 4.0, 8.0],
    "embedding_multiplier": 8.0,
    "lm_head_multiplier": 0.0625,
}
FALCON = {"mamba_d_conv": 4, "mamba_d_state": 32, "mamba_n_groups": 1, "rope_theta": 1e11}

STATE_SPACE_CONFIGS = {
    "granitehybrid": (
        "GraniteMoeHybridForCausalLM",
        {
            **SCALES,
            **GRANITE,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "intermediate_size": 40,
            "shared_intermediate_size": 96,
            "layer_types": ["mamba", "mamba", "attention", "mamba"],
        },
    ),
    "granitehybrid-moe": (
        "GraniteMoeHybridForCausalLM",
        {
            **SCALES,
            **GRANITE,
            "mamba_n_groups": 2,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention", "mamba"],
        },
    ),
    "falcon-h1": (
        "FalconH1ForCausalLM",
        {
            **FALCON,
            **FACTORS,
            "head_dim": 32,
            "mamba_d_ssm": 96,
            "mamba_n_heads": 6,
            "mamba_rms_norm": False,
            "mamba_norm_before_gate": True,
        },
    ),
    "falcon-h1-norms": (
        "FalconH1ForCausalLM",
        {
            "mamba_d_state": 64,
            "mamba_n_groups": 2,
            "mamba_d_ssm": None,
            "mamba_n_heads": 4,
            "mamba_rms_norm": True,
            "mamba_norm_before_gate": False,
        },
    ),
    "nemotron_h": (
        "NemotronHForCausalLM",
        {**NEMOTRON, "hybrid_override_pattern": "M-*-MM", "intermediate_size": 96, "rms_norm_eps": None},
    ),
    "nemotron_h_moe": (
        "NemotronHForCausalLM",
        {
            **NEMOTRON,
            "head_dim": 16,
            "n_groups": 4,
            "mamba_num_heads": 4,
            "mamba_head_dim": 32,
            "layers_block_type": ["linear_attention", "moe", "full_attention", "linear_attention", "moe"],
            "num_hidden_layers": None,
            "num_nextn_predict_layers": 1,
            "intermediate_size": 40,
            "moe_intermediate_size": 48,
            "moe_shared_expert_intermediate_size": 80,
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    "mamba2": (
        "Mamba2ForCausalLM",
        {
            "conv_kernel": 4,
            "state_size": 32,
            "n_groups": 2,
            "num_heads": 4,
            "head_dim": 32,
            "expand": 2,
            "layer_norm_epsilon": 1e-5,
            "num_attention_heads": None,
            "num_key_value_heads": None,
            "intermediate_size": None,
            "rms_norm_eps": None,
        },
    ),
}
"""By the name in tiny_models.py: the class, and what its configuration has."""


def _mixer(place):
    return {
        "ssm_in": f"{place}.in_proj",
        "ssm_conv1d": f"{place}.conv1d",
        "ssm_norm": f"{place}.norm",
        "ssm_out": f"{place}.out_proj",
        "ssm_a": f"{place}.A_log",
        "ssm_d": f"{place}.D",
        "ssm_dt.bias": f"{place}.dt_bias",
    }


ONE_PART = {
    **_mixer("mixer"),
    "attn_norm": "norm",
    **{f"attn_{part}": f"mixer.{part}_proj" for part in "qkv"},
    "attn_output": "mixer.o_proj",
    "ffn_gate_inp": "mixer.gate",
    "exp_probs_b.bias": "mixer.gate.e_score_correction_bias",
    **{f"ffn_{part}": f"mixer.{part}_proj" for part in ("up", "down")},
    **{f"ffn_{part}_shexp": f"mixer.shared_experts.{part}_proj" for part in ("up", "down")},
}
STATE_SPACE_NAMES = {
    "granitehybrid": {
        **_mixer("mamba"),
        "ffn_gate_inp": "block_sparse_moe.router.layer",
        "ffn_down_shexp": "shared_mlp.output_linear",
    },
    "falcon-h1": {
        **_mixer("mamba"),
        "ffn_norm": "pre_ff_layernorm",
        **{f"ffn_{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    },
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe", "mamba2"), ONE_PART),
}
"""Parts of a layer, by GGUF's names."""


def as_hugging_face(values, name, options):
    """A tensor of GGUF's as the folder has it: divided by Falcon's factors, with the logarithms of decays."""
    part = name.split(".", 2)[-1] if name.startswith("blk.") else name
    if part == "ssm_conv1d.weight":
        return values[:, None]
    if part == "ssm_a":
        return np.log(-values).ravel()
    if part in ("ssm_d", "ssm_norm.weight"):
        return values.ravel()
    if "key_multiplier" not in options:
        return values
    before = options["attention_in_multiplier"]
    factors = {
        "attn_q.weight": before,
        "attn_k.weight": before * options["key_multiplier"],
        "attn_v.weight": before,
        "attn_output.weight": options["attention_out_multiplier"],
        "ssm_out.weight": options["ssm_out_multiplier"],
        "ffn_gate.weight": options["mlp_multipliers"][0],
        "ffn_down.weight": options["mlp_multipliers"][1],
        "token_embd.weight": options["embedding_multiplier"],
        "output.weight": options["lm_head_multiplier"],
    }
    if part == "ssm_in.weight":
        counts = [96, 96, 32, 32, 6]
        each = np.repeat(options["ssm_multipliers"], counts).astype(np.float32)[:, None]
        return values / (each * np.float32(options["ssm_in_multiplier"]))
    return values / np.float32(factors.get(part, 1.0))


def granite_halves(name, values_of):
    """Gate above up in one tensor, under the names that parts of it have in the folder; None for other tensors."""
    _, layer, part, *_ = [*name.split("."), "", "", ""]
    if not part.startswith("ffn_") or "norm" in part or "_inp" in part:
        return None
    if part.startswith("ffn_up"):
        return {}
    place = "block_sparse_moe" if part.endswith("_exps") else "shared_mlp"
    if part.startswith("ffn_down"):
        return {f"model.layers.{layer}.{place}.output_linear.weight": values_of(name)}
    both = [values_of(name), values_of(name.replace("_gate", "_up"))]
    return {f"model.layers.{layer}.{place}.input_linear.weight": np.concatenate(both, axis=-2)}
