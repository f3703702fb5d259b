"""What tells the tiny models of each architecture apart: their GGUF keys, and which tensors they have."""

from __future__ import annotations

from tests.engine.tiny_recurrent import CONVOLUTIONS, DELTA_NET_KEYS, DELTA_NETS

QKV = ("attn_q", "attn_k", "attn_v")
BIASED = (*QKV, "attn_output", "ffn_up", "ffn_down")
EXPERTS = {"expert_count": 8, "expert_used_count": 2}
LONG_ROPE = {"rope.scaling.attn_factor": 1.2, "rope.dimension_count": 12}
SCALED_SHARES = {"expert_weights_norm": True, "expert_weights_scale": 2.5}
NEOX = {
    "rope.dimension_count": 4,
    "untied": True,
    "in_one": True,
    "head_count_kv": 4,
    "biases": ("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
}
SCALES = {"embedding_scale": 3.0, "residual_scale": 0.4, "attention.scale": 0.1, "logit_scale": 2.0}

GEMMA_4 = {
    "divisors": ["rope_freqs"],
    "layers": 4,
    "head_dim": 64,
    "attention.key_length_swa": 32,
    "attention.value_length_swa": 32,
    "rope.dimension_count_swa": 32,
    "attention.head_count_kv": [2, 1, 2, 1],
    "attention.sliding_window": 16,
    "attention.sliding_window_pattern": [True, False, True, False],
    "attention.shared_kv_layers": 0,
    "rope.freq_base": 1_000_000.0,
    "rope.freq_base_swa": 10_000.0,
    "final_logit_softcapping": 3.0,
    "embedding_length_per_layer_input": 0,
}
"""Windows and heads of half the width in every other layer; layers without a window have no matrix of values."""

MODELS = {
    "llama": {},
    "llama-untied": {"untied": True, "head_count_kv": 4},
    "llama-3": {"divisors": ["rope_freqs"], "rope.freq_base": 500_000.0},
    "llama-linear": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    "llama-factor-alone": {"rope.scaling.factor": 2.0},
    "llama-yarn": {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 128,
    },
    "llama-in-one": {"in_one": True, "biases": QKV},
    "llama-biases": {"biases": (*QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down")},
    "mistral": {"attention.sliding_window": 16},
    "mixtral": EXPERTS,
    "mixtral-apart": {**EXPERTS, "apart": True},
    "qwen2": {"rope.freq_base": 1_000_000.0, "biases": QKV},
    "qwen2-plain": {},
    "qwen2-in-one": {"in_one": True, "biases": ("attn_qkv",)},
    "qwen3": {"head_dim": 32, "rope.freq_base": 1_000_000.0},
    "qwen3moe": {"head_dim": 32, **EXPERTS, "expert_used_count": 3, "expert_feed_forward_length": 48},
    "gemma": {"head_dim": 32, "head_count_kv": 1},
    "gemma2": {"head_dim": 32, "layers": 4, "attention.sliding_window": 16},
    "gemma2-27b": {"head_dim": 32, "layers": 46, "dim": 64, "attention.sliding_window": 16},
    "gemma3": {"head_dim": 32, "layers": 7, "attention.sliding_window": 16, "rope.freq_base": 1_000_000.0},
    "gemma3-linear": {
        "layers": 6,
        "attention.sliding_window": 16,
        "rope.freq_base": 1_000_000.0,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
    },
    "gemma4": GEMMA_4,
    "gemma4-e": {
        **GEMMA_4,
        "attention.head_count_kv": 1,
        "attention.shared_kv_layers": 3,
        "attention.sliding_window_pattern": [True, False, True, False, True, True, False],
        "feed_forward_length": [96, 96, 96, 96, 192, 192, 192],
        "layers": 7,
        "embedding_length_per_layer_input": 32,
    },
    "gemma4-moe": {**GEMMA_4, **EXPERTS, "expert_used_count": 3, "expert_feed_forward_length": 48},
    "gpt-oss": {
        **EXPERTS,
        "untied": True,
        "head_dim": 32,
        "layers": 4,
        "biases": (*QKV, "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"),
        "expert_feed_forward_length": 64,
        "attention.sliding_window": 16,
        "rope.freq_base": 150_000.0,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "rope.scaling.original_context_length": 64,
    },
    "phi3": {"rope.scaling.original_context_length": 256},
    "phi3-in-three": {"rope.scaling.original_context_length": 256, "in_one": False},
    "phi3-short": {
        "divisors": ["rope_factors_short", "rope_factors_long"],
        "rope.scaling.original_context_length": 512,
        **LONG_ROPE,
    },
    "phi3-long": {
        "divisors": ["rope_factors_short", "rope_factors_long"],
        "rope.scaling.original_context_length": 64,
        **LONG_ROPE,
    },
    "mistral3": {
        "attention.temperature_scale": 0.3,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 16,
        "rope.scaling.yarn_log_multiplier": 1.0,
    },
    "mistral3-multiplied": {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64,
        "rope.scaling.yarn_log_multiplier": 0.5,
    },
    "smollm3": {"layers": 5},
    "granite": SCALES,
    "granite-unturned": {**SCALES, "rope.scaling.finetuned": False},
    "granite-plain": {"logit_scale": 2.0},
    "granitemoe": {**SCALES, **EXPERTS},
    "glm4": {"rope.dimension_count": 8, "biases": QKV},
    "glm4-sections": {"rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0], "biases": QKV},
    "chatglm": {"rope.dimension_count": 8, "in_one": True, "biases": ("attn_qkv",)},
    "ernie4_5": {},
    "internlm2": {"untied": True},
    "exaone": {},
    "qwen2vl": {"rope.dimension_sections": [2, 3, 3, 0], "biases": QKV},
    "qwen3vl": {"head_dim": 32, "rope.dimension_sections": [6, 5, 5, 0]},
    "qwen3vlmoe": {
        "head_dim": 32,
        "rope.dimension_sections": [6, 5, 5, 0],
        **EXPERTS,
        "expert_feed_forward_length": 48,
    },
    "qwen2moe": {
        **EXPERTS,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 80,
        "shared": 80,
        "untied": True,
        "biases": QKV,
    },
    "ernie4_5-moe": {
        **EXPERTS,
        "layers": 4,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "expert_shared_feed_forward_length": 96,
        "shared": 96,
        "leading_dense_block_count": 1,
        "interleave_moe_layer_step": 1,
        "biases": ("exp_probs_b",),
    },
    "glm4moe": {
        **EXPERTS,
        **SCALED_SHARES,
        "layers": 3,
        "ignored": 1,
        "head_dim": 32,
        "rope.dimension_count": 16,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
        "leading_dense_block_count": 1,
        "nextn_predict_layers": 1,
        "untied": True,
        "biases": (*QKV, "exp_probs_b"),
    },
    "glm4moe-norms": {
        **EXPERTS,
        "layers": 2,
        "qk_norms": True,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
        "untied": True,
        "biases": ("exp_probs_b",),
    },
    "bailingmoe2": {
        **SCALED_SHARES,
        "layers": 3,
        "in_one": True,
        "untied": True,
        "rope.dimension_count": 8,
        "expert_count": 32,
        "expert_used_count": 6,
        "expert_group_count": 8,
        "expert_group_used_count": 4,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 32,
        "expert_shared_count": 1,
        "expert_shared_feed_forward_length": 64,
        "shared": 64,
        "leading_dense_block_count": 1,
        "biases": ("exp_probs_b",),
    },
    "dots1": {
        **EXPERTS,
        **SCALED_SHARES,
        "head_count_kv": 4,
        "layers": 3,
        "untied": True,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "shared": 96,
        "leading_dense_block_count": 1,
        "biases": ("exp_probs_b",),
    },
    "dots1-softmax": {
        **EXPERTS,
        "head_count_kv": 4,
        "untied": True,
        "expert_gating_func": 1,
        "expert_weights_scale": 1.5,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
    },
    "deepseek": {
        **EXPERTS,
        "untied": True,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "shared": 96,
        "leading_dense_block_count": 1,
        "expert_weights_scale": 1.0,
    },
    "hunyuan-moe": {**EXPERTS, "expert_feed_forward_length": 96, "expert_shared_feed_forward_length": 80, "shared": 80},
    "hunyuan-dense": {"head_dim": 32},
    "seed_oss": {"head_dim": 32, "untied": True, "biases": QKV},
    "arcee": {"untied": True},
    "minicpm": {**SCALES, "attention.scale": None},
    "olmo2": {"untied": True},
    "olmo2-windows": {
        "untied": True,
        "layers": 5,
        "attention.sliding_window": 16,
        "rope.freq_base": 500_000.0,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64,
    },
    "exaone4": {"head_count_kv": 2},
    "exaone4-windows": {"layers": 64, "attention.sliding_window": 16},
    "command-r": {"logit_scale": 0.25},
    "command-r-plus": {"logit_scale": 0.25, "layers": 64, "qk_norms": True},
    "cohere2": {"layers": 5, "attention.sliding_window": 16, "logit_scale": 0.25, "rope.dimension_count": 16},
    "stablelm": {"rope.dimension_count": 4, "untied": True, "use_parallel_residual": True, "biases": QKV},
    "stablelm-parallel": {"rope.dimension_count": 4, "untied": True, "qk_norms": True, "ffn_norms": False},
    "phi2": {"rope.dimension_count": 8, "untied": True, "head_count_kv": 4, "biases": BIASED},
    "starcoder2": {"biases": BIASED},
    "nemotron": {"rope.dimension_count": 8, "untied": True, "rope.scaling.type": "none"},
    "gptneox": {**NEOX, "use_parallel_residual": True},
    "gptneox-in-turn": {**NEOX, "use_parallel_residual": False},
    "olmoe": {**EXPERTS, "head_count_kv": 4, "untied": True},
    "granitemoe-shared": {**SCALES, **EXPERTS, "expert_shared_feed_forward_length": 48, "shared": 48},
    "lfm2": {"head_count_kv": [0, 0, 2, 0, 2], "layers": 5, "shortconv.l_cache": 3, "rope.freq_base": 1_000_000.0},
    "lfm2moe": {
        **EXPERTS,
        "head_count_kv": [0, 2, 0, 2],
        "layers": 4,
        "shortconv.l_cache": 4,
        "expert_feed_forward_length": 48,
        "expert_gating_func": 2,
        "leading_dense_block_count": 2,
        "biases": ("exp_probs_b",),
    },
    "qwen35moe": {
        **EXPERTS,
        **DELTA_NET_KEYS,
        "layers": 4,
        "untied": True,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 80,
        "shared": 80,
    },
    "qwen3next": {
        **EXPERTS,
        **DELTA_NET_KEYS,
        "layers": 4,
        "ssm.group_count": 2,
        "rope.dimension_sections": None,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 48,
        "shared": 48,
    },
    "qwen35": {**DELTA_NET_KEYS, "layers": 5, "full_attention_interval": 2},
    "qwen35-grouped": {
        **DELTA_NET_KEYS,
        "layers": 4,
        "attention.recurrent_layers": [True, True, False, True],
        "ssm.group_count": 2,
    },
    "qwen35-shared": {
        **DELTA_NET_KEYS,
        "layers": 4,
        "attention.recurrent_layers": [True, True, False, True, False],
        "ignored": 1,
        "nextn_predict_layers": 1,
        "ssm.group_count": 2,
    },
}
"""Each model's GGUF keys (without the architecture's name), and what is no key: see write_tiny."""

ARCHITECTURES = {
    "gpt-oss": "gpt-oss",
    "mistral": "llama",
    "mixtral": "llama",
    "mixtral-apart": "llama",
    "ernie4_5-moe": "ernie4_5-moe",
    "hunyuan-moe": "hunyuan-moe",
    "hunyuan-dense": "hunyuan-dense",
    "command-r": "command-r",
    "command-r-plus": "command-r",
}
"""Of models whose name does not begin with it."""

NORMED = (
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "gemma3",
    "bailingmoe2",
    "dots1",
    "olmoe",
    "olmo2",
    "exaone4",
    "hunyuan-dense",
    "hunyuan-moe",
    *CONVOLUTIONS,
    *DELTA_NETS,
)
"""Architectures with norms of queries and keys."""

WIDE_NORMED = ("olmoe", "olmo2")
"""Of those, the ones that norm all heads together."""

WITHOUT_PRE_NORMS = ("olmo2", "exaone4")
"""Architectures that norm results alone."""

BIASED_NORMS = ("stablelm", "phi2", "starcoder2", "nemotron", "gptneox")
"""Architectures whose norms take the mean away and add something afterwards."""

CENTRED = ("command-r", "cohere2", *BIASED_NORMS)
"""Those, and the ones that do not add anything."""

WITHOUT_FFN_NORMS = (*WITHOUT_PRE_NORMS, "command-r", "cohere2", "phi2")
"""Architectures that do not norm what feed-forward layers read, or once for these and attention."""

UNGATED = ("arcee", "phi2", "starcoder2", "nemotron", "gptneox")
"""Architectures whose feed-forward layers have no gate."""

LEADING_ONES = ("exp_probs_b.bias", "ffn_gate_inp_shexp.weight")
"""Endings of the vectors that llama.cpp's converter writes as matrices of one row."""
