"""What `config.json` of Hugging Face's format has for the tiny models, beside what all have."""

from __future__ import annotations

import numpy as np

from tests.engine.checkpoints.state_space_folders import STATE_SPACE_CONFIGS
from tests.engine.tiny_gemma3n import SPARSITY

QWEN35 = {
    "head_dim": 32,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {"partial_rotary_factor": 0.5, "mrope_section": [3, 3, 2], "rope_theta": 10_000.0},
}


def window_types(*windowed: bool) -> list[str]:
    return ["sliding_attention" if each else "full_attention" for each in windowed]


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

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
MIXTRAL = {"num_local_experts": 8, "num_experts_per_tok": 2}
DEEPSEEK = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
LATENT = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
DEEPSEEK_YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}
SCALES = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.1,
    "logits_scaling": 2.0,
}

MODELS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 16}),
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
    "qwen2": ("Qwen2ForCausalLM", {"rope_theta": 1e6, "sliding_window": 32, "use_sliding_window": False}),
    "qwen3": ("Qwen3ForCausalLM", {"rope_theta": 1e6, "head_dim": 32}),
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
    "phi3-long": (
        "Phi3ForCausalLM",
        {
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 64,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": np.linspace(1.0, 2.0, 6).tolist(),
                "long_factor": np.linspace(1.0, 5.0, 6).tolist(),
            },
        },
    ),
    "smollm3": ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 1, 1, 0, 1], "no_rope_layer_interval": 4}),
    "granite": ("GraniteForCausalLM", SCALES),
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
    "apertus": ("ApertusForCausalLM", {"hidden_act": "xielu"}),
    "bloom": ("BloomForCausalLM", {"n_embed": 64, "n_layer": 2, "n_head": 4, "seq_length": 256}),
    "starcoder": (
        "GPTBigCodeForCausalLM",
        {
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 96,
            "n_positions": 256,
            "activation_function": "gelu_pytorch_tanh",
            "multi_query": True,
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
    "jais2": ("Jais2ForCausalLM", {"hidden_act": "relu2"}),
    "olmo": ("OlmoForCausalLM", {"clip_qkv": None}),
    "olmo-clamped": ("OlmoForCausalLM", {"clip_qkv": 1.5}),
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
    "granitemoe": ("GraniteMoeForCausalLM", {**SCALES, **MIXTRAL}),
    "granitemoe-shared": ("GraniteMoeSharedForCausalLM", {**SCALES, **MIXTRAL, "shared_intermediate_size": 48}),
    "qwen2moe": ("Qwen2MoeForCausalLM", {**EXPERTS, "shared_expert_intermediate_size": 80, "norm_topk_prob": False}),
    "qwen3vlmoe": (
        "Qwen3VLMoeForConditionalGeneration",
        {"text_config": {**EXPERTS, "head_dim": 32, "rope_scaling": {"mrope_section": [6, 5, 5]}}},
    ),
    "qwen3next": (
        "Qwen3NextForCausalLM",
        {**QWEN35, **EXPERTS, "linear_num_key_heads": 2, "shared_expert_intermediate_size": 48, "norm_topk_prob": True},
    ),
    "qwen35moe": (
        "Qwen3_5MoeForConditionalGeneration",
        {"text_config": {**QWEN35, **EXPERTS, "linear_num_key_heads": 4, "shared_expert_intermediate_size": 80}},
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
    "deepseek2": (
        "DeepseekV3ForCausalLM",
        {
            **DEEPSEEK,
            **LATENT,
            "q_lora_rank": 32,
            "n_routed_experts": 32,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 32,
            "n_group": 8,
            "topk_group": 4,
            "first_k_dense_replace": 1,
            "rope_scaling": {**DEEPSEEK_YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "deepseek2-lite": (
        "DeepseekV2ForCausalLM",
        {
            **DEEPSEEK,
            **LATENT,
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "routed_scaling_factor": 1.0,
            "first_k_dense_replace": 25,
            "rope_scaling": {**DEEPSEEK_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek2-glm": (
        "Glm4MoeLiteForCausalLM",
        {
            **DEEPSEEK,
            "kv_lora_rank": 64,
            "q_lora_rank": 64,
            "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 32,
            "v_head_dim": 64,
            "head_dim": 32,
            "routed_scaling_factor": 1.75,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 1,
            "rope_interleave": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "partial_rotary_factor": 1.0},
        },
    ),
    "deepseek2-dense": ("YoutuForCausalLM", {**LATENT, "q_lora_rank": 96}),
    "minicpm3": (
        "MiniCPM3ForCausalLM",
        {
            **LATENT,
            "v_head_dim": None,
            "q_lora_rank": 64,
            "scale_emb": 12,
            "dim_model_base": 256,
            "scale_depth": 1.4,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": np.linspace(1, 2, 8).tolist(),
                "long_factor": np.linspace(1, 5, 8).tolist(),
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "plm": ("PLMForCausalLM", {**LATENT, "hidden_act": "relu2"}),
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
    **STATE_SPACE_CONFIGS,
    "ernie4_5": ("Ernie4_5ForCausalLM", {}),
    "mistral3": (
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {
                "model_type": "ministral3",
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                    "llama_4_scaling_beta": 0.3,
                },
            }
        },
    ),
    "qwen2vl": ("Qwen2_5_VLForConditionalGeneration", {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}),
    "qwen3vl": (
        "Qwen3VLForConditionalGeneration",
        {"text_config": {"head_dim": 32, "rope_scaling": {"rope_type": "default", "mrope_section": [6, 5, 5]}}},
    ),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo2-windows": (
        "Olmo3ForCausalLM",
        {
            "sliding_window": 16,
            "layer_types": window_types(True, True, True, False, True),
            "rope_theta": 500_000.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64},
        },
    ),
    "exaone4": ("Exaone4ForCausalLM", {"sliding_window": None, "sliding_window_pattern": None}),
    "exaone4-windows": (
        "Exaone4ForCausalLM",
        {
            "sliding_window": 16,
            "sliding_window_pattern": "LLLG",
            "layer_types": window_types(True, True, True, False) * 16,
        },
    ),
    "seed_oss": ("SeedOssForCausalLM", {"head_dim": 32, "attention_bias": True}),
    "command-r": ("CohereForCausalLM", {"logit_scale": 0.25}),
    "cohere2": (
        "Cohere2ForCausalLM",
        {"sliding_window": 16, "logit_scale": 0.25, "layer_types": window_types(True, True, True, False, True)},
    ),
    "arcee": ("ArceeForCausalLM", {"hidden_act": "relu2"}),
    "bitnet-b1.58": ("BitNetForCausalLM", {"hidden_act": "relu2"}),
    "minicpm": ("MiniCPMForCausalLM", {"scale_emb": 3.0, "scale_depth": 0.4 * 2**0.5, "dim_model_base": 32}),
    "hunyuan-dense": ("HunYuanDenseV1ForCausalLM", {"head_dim": 32, "num_experts": 1}),
    "chatglm": ("GlmForCausalLM", {"partial_rotary_factor": 0.5, "attention_bias": True, "head_dim": 16}),
    "stablelm": ("StableLmForCausalLM", {"use_qkv_bias": True}),
    "phi2": ("PhiForCausalLM", {"hidden_act": "gelu_new", "partial_rotary_factor": 0.5}),
    "starcoder2": ("Starcoder2ForCausalLM", {"norm_epsilon": 1e-5, "hidden_act": "gelu_pytorch_tanh"}),
    "nemotron": ("NemotronForCausalLM", {"norm_eps": 1e-5, "hidden_act": "relu2", "head_dim": 16}),
    "glm4": ("Glm4ForCausalLM", {"partial_rotary_factor": 0.5, "attention_bias": True, "head_dim": 16}),
    "gptneox": ("GPTNeoXForCausalLM", {"rotary_pct": 0.25, "hidden_act": "gelu"}),
    "gptneox-in-turn": ("GPTNeoXForCausalLM", {"rotary_pct": 0.25, "use_parallel_residual": False}),
    "stablelm-parallel": (
        "StableLmForCausalLM",
        {"use_parallel_residual": True, "qk_layernorm": True, "rope_parameters": {"partial_rotary_factor": 0.25}},
    ),
    "internlm2": ("InternLM2ForCausalLM", {"bias": False, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "exaone": ("ExaoneForCausalLM", {"num_layers": 2, "activation_function": "silu"}),
    "falcon": (
        "RWForCausalLM",
        {"n_head": 4, "n_layer": 2, "multi_query": True, "alibi": False, "ffn_hidden_size": 96, "bias": False},
    ),
    "falcon-40b": (
        "FalconForCausalLM",
        {
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_kv_heads": 2,
            "ffn_hidden_size": 96,
            "new_decoder_architecture": True,
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
    "maincoder": ("MaincoderForCausalLM", {"head_dim": 32}),
    "pangu-embedded": ("PanguEmbeddedForCausalLM", {"bias": True}),
    "orion": ("OrionForCausalLM", {"rms_norm_eps": 1e-5}),
}
"""Names in tiny_models.py, and what their config.json has beside the usual."""
