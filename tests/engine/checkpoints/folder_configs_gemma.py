"""What `config.json` has for tiny Gemma models."""

from __future__ import annotations

from tests.engine.checkpoints.folder_config_parts import window_types
from tests.engine.tiny_gemma3n import SPARSITY

GEMMA4 = {
    "head_dim": 32,
    "global_head_dim": 64,
    "intermediate_size": 96,
    "num_global_key_value_heads": 1,
    "sliding_window": 16,
    "layer_types": window_types(True, False, True, False),
    "final_logit_softcapping": 3.0,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
}

GEMMA_CONFIGS = {
    "gemma": ("GemmaForCausalLM", {"head_dim": 32}),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            "head_dim": 32,
            "sliding_window": 16,
            "layer_types": window_types(True, False, True, False),
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        {"head_dim": 32, "sliding_window": 16, "rope_theta": 1e6, "rope_local_base_freq": 10_000.0},
    ),
    "gemma3n": (
        "Gemma3nForConditionalGeneration",
        {
            "text_config": {
                "head_dim": 32,
                "intermediate_size": [96] * 5,
                "sliding_window": 16,
                "layer_types": window_types(True, False, True, False, True),
                "num_kv_shared_layers": 2,
                "rope_theta": 1e6,
                "rope_local_base_freq": 10_000.0,
                "hidden_size_per_layer_input": 32,
                "altup_num_inputs": 4,
                "altup_active_idx": 1,
                "altup_correct_scale": True,
                "activation_sparsity_pattern": [*SPARSITY, 0.0, 0.0, 0.0],
                "final_logit_softcapping": 30.0,
            }
        },
    ),
    "gemma4": ("Gemma4ForCausalLM", GEMMA4),
    "gemma4-e": (
        "Gemma4ForConditionalGeneration",
        {
            "text_config": {
                **GEMMA4,
                "num_kv_shared_layers": 3,
                "use_double_wide_mlp": True,
                "hidden_size_per_layer_input": 32,
                "layer_types": window_types(True, False, True, False, True, True, False),
            }
        },
    ),
    "gemma4-moe": (
        "Gemma4ForConditionalGeneration",
        {
            "text_config": {
                **{key: GEMMA4[key] for key in GEMMA4 if "global" not in key},
                "per_layer_config": {layer: {"head_dim": 64, "num_key_value_heads": 1} for layer in (1, 3)},
                "num_experts": 8,
                "top_k_experts": 3,
                "moe_intermediate_size": 48,
            }
        },
    ),
}
