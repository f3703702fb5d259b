"""What `config.json` has for tiny models some of whose layers convolve, or are delta nets."""

from __future__ import annotations

from tests.engine.checkpoints.folder_config_parts import EXPERTS

QWEN35 = {
    "head_dim": 32,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {"partial_rotary_factor": 0.5, "mrope_section": [3, 3, 2], "rope_theta": 10_000.0},
}

RECURRENT_CONFIGS = {
    "lfm2": (
        "Lfm2ForCausalLM",
        {
            "rope_theta": 1e6,
            "layer_types": ["conv", "conv", "full_attention", "conv", "full_attention"],
            "conv_L_cache": 3,
            "block_auto_adjust_ff_dim": False,
        },
    ),
    "qwen35": ("Qwen3_5ForCausalLM", {**QWEN35, "full_attention_interval": 2, "linear_num_key_heads": 4}),
    "qwen35-grouped": (
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": {
                **QWEN35,
                "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"],
                "linear_num_key_heads": 2,
            }
        },
    ),
    "qwen3next": (
        "Qwen3NextForCausalLM",
        {**QWEN35, **EXPERTS, "linear_num_key_heads": 2, "shared_expert_intermediate_size": 48, "norm_topk_prob": True},
    ),
    "qwen35moe": (
        "Qwen3_5MoeForConditionalGeneration",
        {"text_config": {**QWEN35, **EXPERTS, "linear_num_key_heads": 4, "shared_expert_intermediate_size": 80}},
    ),
    "lfm2moe": (
        "Lfm2MoeForCausalLM",
        {
            **EXPERTS,
            "layer_types": ["conv", "full_attention"] * 2,
            "conv_L_cache": 4,
            "num_dense_layers": 2,
            "norm_topk_prob": True,
        },
    ),
}
