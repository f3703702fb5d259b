"""What `config.json` of Hugging Face's format has for the tiny models, beside what all have."""

from __future__ import annotations

import numpy as np

from tests.engine.checkpoints.folder_config_parts import SCALES, window_types
from tests.engine.checkpoints.folder_configs_experts import EXPERT_CONFIGS
from tests.engine.checkpoints.folder_configs_gemma import GEMMA_CONFIGS
from tests.engine.checkpoints.folder_configs_latent import LATENT_CONFIGS
from tests.engine.checkpoints.folder_configs_recurrent import RECURRENT_CONFIGS
from tests.engine.checkpoints.selective_folders import SELECTIVE_CONFIGS
from tests.engine.checkpoints.state_space_folders import STATE_SPACE_CONFIGS

MODELS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 16}),
    "qwen2": ("Qwen2ForCausalLM", {"rope_theta": 1e6, "sliding_window": 32, "use_sliding_window": False}),
    "qwen3": ("Qwen3ForCausalLM", {"rope_theta": 1e6, "head_dim": 32}),
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
    "apertus": ("ApertusForCausalLM", {"hidden_act": "xielu"}),
    "bloom": ("BloomForCausalLM", {"n_embed": 64, "n_layer": 2, "n_head": 4, "seq_length": 256}),
    "jais": (
        "JAISLMHeadModel",
        {
            **{"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 96, "n_positions": 256},
            **{"activation_function": "swiglu", "position_embedding_type": "alibi", "scale_qk_dot_by_d": True},
            **{"mup_embeddings_scale": 16.0, "mup_output_alpha": 0.5, "mup_width_scale": 0.25},
            **{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": False},
        },
    ),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 96, "n_positions": 256}),
    "mpt": (
        "MPTForCausalLM",
        {
            **{"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "expansion_ratio": 1.5, "no_bias": True},
            "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": 1.5, "qk_ln": False, "attn_impl": "torch"},
        },
    ),
    "mpt-biases": (
        "MptForCausalLM",
        {
            **{"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "expansion_ratio": 1.5},
            "attn_config": {"alibi": True, "alibi_bias_max": 4.0, "clip_qkv": None},
        },
    ),
    "baichuan": ("BaiChuanForCausalLM", {"vocab_size": 64000}),
    "baichuan-13b": ("BaichuanForCausalLM", {"model_max_length": 256}),
    "xverse": ("XverseForCausalLM", {}),
    "bailingmoe": (
        "BailingMoeForCausalLM",
        {
            **{"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "num_shared_experts": 2},
            **{"norm_topk_prob": True, "norm_head": False, "use_bias": False},
        },
    ),
    "qwen2-first": (
        "QWenLMHeadModel",
        {
            **{"model_type": "qwen", "intermediate_size": 192, "seq_length": 256, "kv_channels": 16, "no_bias": True},
            **{"layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000, "max_position_embeddings": 32768},
        },
    ),
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
    "jais2": ("Jais2ForCausalLM", {"hidden_act": "relu2"}),
    "olmo": ("OlmoForCausalLM", {"clip_qkv": None}),
    "olmo-clamped": ("OlmoForCausalLM", {"clip_qkv": 1.5}),
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
    "maincoder": ("MaincoderForCausalLM", {"head_dim": 32}),
    "pangu-embedded": ("PanguEmbeddedForCausalLM", {"bias": True}),
    "orion": ("OrionForCausalLM", {"rms_norm_eps": 1e-5}),
    **GEMMA_CONFIGS,
    **EXPERT_CONFIGS,
    **LATENT_CONFIGS,
    **RECURRENT_CONFIGS,
    **STATE_SPACE_CONFIGS,
    **SELECTIVE_CONFIGS,
}
"""Names in tiny_models.py, and what their config.json has beside the usual."""
