"""What `config.json` has for tiny models of experts."""

from __future__ import annotations

from tests.engine.checkpoints.folder_config_parts import DEEPSEEK, EXPERTS, MIXTRAL, SCALES, window_types

EXPERT_CONFIGS = {
    "mixtral": ("MixtralForCausalLM", MIXTRAL),
    "qwen3moe": (
        "Qwen3MoeForCausalLM",
        {
            "head_dim": 32,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 48,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
    ),
    "gpt-oss": (
        "GptOssForCausalLM",
        {
            **MIXTRAL,
            "head_dim": 32,
            "intermediate_size": 64,
            "sliding_window": 16,
            "layer_types": window_types(True, False, True, False),
            "rope_theta": 150_000.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 64},
        },
    ),
    "smallthinker": (
        "SmallThinkerForCausalLM",
        {
            **{"head_dim": 32, "moe_num_primary_experts": 8, "moe_num_active_primary_experts": 2},
            **{"moe_ffn_hidden_size": 48, "moe_primary_router_apply_softmax": False, "sliding_window_size": 4096},
            "sliding_window_layout": [0, 1, 1, 1, 0],
            "rope_layout": [0, 1, 1, 1, 0],
        },
    ),
    "granitemoe": ("GraniteMoeForCausalLM", {**SCALES, **MIXTRAL}),
    "granitemoe-shared": ("GraniteMoeSharedForCausalLM", {**SCALES, **MIXTRAL, "shared_intermediate_size": 48}),
    "qwen2moe": ("Qwen2MoeForCausalLM", {**EXPERTS, "shared_expert_intermediate_size": 80, "norm_topk_prob": False}),
    "qwen3vlmoe": (
        "Qwen3VLMoeForConditionalGeneration",
        {"text_config": {**EXPERTS, "head_dim": 32, "rope_scaling": {"mrope_section": [6, 5, 5]}}},
    ),
    "glm4moe": (
        "Glm4MoeForCausalLM",
        {
            **DEEPSEEK,
            "head_dim": 32,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 1,
            "partial_rotary_factor": 0.5,
        },
    ),
    "glm4moe-norms": (
        "Glm4MoeForCausalLM",
        {
            **DEEPSEEK,
            "first_k_dense_replace": 0,
            "partial_rotary_factor": 1.0,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
        },
    ),
    "ernie4_5-moe": (
        "Ernie4_5_MoeForCausalLM",
        {
            "moe_num_experts": 8,
            "moe_k": 2,
            "moe_intermediate_size": 48,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1,
            "moe_layer_interval": 1,
        },
    ),
    "bailingmoe2": (
        "BailingMoeV2ForCausalLM",
        {
            "num_experts": 32,
            "num_experts_per_tok": 6,
            "n_group": 8,
            "topk_group": 4,
            "moe_intermediate_size": 32,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "score_function": "sigmoid",
        },
    ),
    "dots1": ("Dots1ForCausalLM", {**DEEPSEEK, "n_shared_experts": 2, "first_k_dense_replace": 1}),
    "dots1-softmax": (
        "Dots1ForCausalLM",
        {**DEEPSEEK, "scoring_func": "softmax", "norm_topk_prob": False, "routed_scaling_factor": 1.5},
    ),
    "deepseek": (
        "DeepseekForCausalLM",
        {
            **DEEPSEEK,
            "n_shared_experts": 2,
            "first_k_dense_replace": 1,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
        },
    ),
    "olmoe": ("OlmoeForCausalLM", {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": False}),
    "hunyuan-moe": (
        "HunYuanMoEV1ForCausalLM",
        {
            "num_experts": 8,
            "moe_topk": [2, 2],
            "moe_intermediate_size": [96, 96],
            "num_shared_expert": [1, 1],
        },
    ),
    "exaone-moe": (
        "ExaoneMoEForCausalLM",
        {
            **DEEPSEEK,
            "num_experts": 8,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "sliding_window": 16,
            "sliding_window_pattern": "LLLG",
            "layer_types": window_types(True, True, True, False, True),
        },
    ),
    "hy_v3": (
        "HYV3ForCausalLM",
        {
            **EXPERTS,
            "num_experts_per_tok": 3,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "route_norm": True,
            "router_scaling_factor": 2.5,
            "num_nextn_predict_layers": 1,
        },
    ),
    "minimax-m2": (
        "MiniMaxM2ForCausalLM",
        {**MIXTRAL, "head_dim": 32, "rotary_dim": 16, "scoring_func": "sigmoid", "use_routing_bias": True},
    ),
    "mellum": (
        "MellumForCausalLM",
        {
            **EXPERTS,
            "norm_topk_prob": True,
            "use_sliding_window": True,
            "sliding_window": 16,
            "layer_types": window_types(True, True, True, False, True),
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 500_000.0,
                    "factor": 8.0,
                    "original_max_position_embeddings": 64,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 500_000.0},
            },
        },
    ),
    "afmoe": (
        "AfmoeForCausalLM",
        {
            **EXPERTS,
            "head_dim": 32,
            "num_shared_experts": 1,
            "num_dense_layers": 2,
            "route_norm": True,
            "route_scale": 2.5,
            "score_func": "sigmoid",
            "sliding_window": 16,
            "layer_types": window_types(True, True, True, False, True),
            "mup_enabled": True,
        },
    ),
}
