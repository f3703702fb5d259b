"""What `config.json` has for tiny models that keep a latent vector of each token."""

from __future__ import annotations

import numpy as np

from tests.engine.checkpoints.folder_config_parts import DEEPSEEK

LATENT = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
DEEPSEEK_YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}

LATENT_CONFIGS = {
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
}
