"""Tiny GGUFs of every architecture as folders of Hugging Face's format, with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints.derived import read_floats
from tests.engine.checkpoints.writers import in_pairs

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

MODELS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 16}),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 8, "num_experts_per_tok": 2}),
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
    "granite": (
        "GraniteForCausalLM",
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.1,
            "logits_scaling": 2.0,
        },
    ),
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
            "head_dim": 32,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "sliding_window": 16,
            "layer_types": window_types(True, False, True, False),
            "rope_theta": 150_000.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 64},
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
    "glm4": ("Glm4ForCausalLM", {"partial_rotary_factor": 0.5, "attention_bias": True, "head_dim": 16}),
}
"""Names in tiny_models.py, and what their config.json has beside the usual."""

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "block_sparse_moe.gate",
}
GEMMA_2 = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GEMMA_4 = {
    **GEMMA_2,
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}
GLM_4 = {
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
    "ffn_up": "mlp.gate_up_proj",
}
LFM2 = {
    "attn_norm": "operator_norm",
    "ffn_norm": "ffn_norm",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv": "conv",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "ffn_gate_inp": "feed_forward.gate",
}
QWEN35_LAYER = {
    "post_attention_norm": "post_attention_layernorm",
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
}
GPT_OSS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.router",
}
VECTORS = {
    "ssm_a": "linear_attn.A_log",
    "ssm_dt.bias": "linear_attn.dt_bias",
    "attn_sinks.weight": "self_attn.sinks",
    "layer_output_scale.weight": "layer_scalar",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_down_exps.scale": "router.per_expert_scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
}
"""Parts of a layer whose names say neither weight nor bias."""

EXPERT = {
    "llama": {
        "ffn_gate": "block_sparse_moe.{}.w1",
        "ffn_down": "block_sparse_moe.{}.w2",
        "ffn_up": "block_sparse_moe.{}.w3",
    },
    "qwen3moe": {"ffn_gate": "mlp.{}.gate_proj", "ffn_down": "mlp.{}.down_proj", "ffn_up": "mlp.{}.up_proj"},
}
"""The name of an expert's matrix, around `experts.NUMBER`."""


def foreign_name(name: str, architecture: str) -> str:
    outside = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    outside["token_embd_norm.weight"] = "model.embedding_norm.weight"
    outside["per_layer_proj_norm.weight"] = "model.per_layer_projection_norm.weight"
    outside["per_layer_token_embd.weight"] = "model.embed_tokens_per_layer.weight"
    outside["per_layer_model_proj.weight"] = "model.per_layer_model_projection.weight"
    if not name.startswith("blk."):
        return outside.get(name, "lm_head.weight")
    _, layer, part, *rest = name.split(".")
    names = LAYER | (GEMMA_2 if architecture in ("gemma2", "gemma3") else {})
    names |= {"ffn_up": "mlp.gate_up_proj"} if architecture == "phi3" else {}
    names |= GEMMA_4 if architecture == "gemma4" else {}
    names |= QWEN35_LAYER if architecture in ("qwen35", "qwen35moe", "qwen3next") else {}
    names |= GPT_OSS if architecture == "gpt-oss" else {}
    if vector := VECTORS.get(".".join([part, *rest])):
        return f"model.layers.{layer}.{vector}"
    names |= LFM2 if architecture in ("lfm2", "lfm2moe") else {}
    names |= GLM_4 if architecture == "glm4" else {}
    names |= {"ffn_gate_inp": "mlp.gate"} if architecture == "qwen3moe" else {}
    return ".".join(["model.layers", layer, names[part], *rest])


def write_folder(folder: Path, twin, write, name: str) -> Path:
    """The twin in Hugging Face's format."""
    class_name, options = MODELS[name]
    config = config_from_gguf(twin.metadata, twin.tensors)
    architecture = config.architecture.name
    folder.mkdir()
    tensors = {}
    for gguf_name, tensor in twin.tensors.items():
        if gguf_name.startswith("rope_"):
            continue
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if architecture in ("llama", "smollm3", "granite") and ("attn_q." in gguf_name or "attn_k." in gguf_name):
            heads = config.attention[0].n_heads if "attn_q" in gguf_name else config.attention[0].n_kv_heads
            values = write.from_rotary_order(values.reshape(len(values), -1), heads).reshape(values.shape)
        if architecture in ("gemma", "gemma2", "gemma3") and gguf_name.endswith("norm.weight"):
            values = values - np.float32(1)
        if "_exps." in gguf_name and architecture == "gpt-oss":
            tensors |= fused_experts(gguf_name, values, twin)
        elif "_exps." in gguf_name and architecture != "gemma4":
            _, layer, part, _ = gguf_name.split(".")
            place = f"model.layers.{layer}.{EXPERT[architecture][part.removesuffix('_exps')]}.weight"
            tensors |= {place.format(f"experts.{i}"): each for i, each in reversed(list(enumerate(values)))}
        else:
            values = values[:, None] if "shortconv.conv." in gguf_name else values
            if architecture == "qwen35":
                values = from_qwen35(values, gguf_name, config.recurrence)
            tensors[foreign_name(gguf_name, architecture)] = values
    write.write_safetensors(folder / "model.safetensors", tensors)
    values = {
        "architectures": [class_name],
        "hidden_size": config.dim,
        "intermediate_size": config.experts.hidden_dim if config.experts else config.hidden_dims[0],
        "max_position_embeddings": config.max_seq_len,
        "num_attention_heads": config.attention[0].n_heads,
        "num_key_value_heads": max(attention.n_kv_heads for attention in config.attention),
        "num_hidden_layers": config.n_layers,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": config.tied,
    }
    (folder / "config.json").write_text(json.dumps(values | options))
    tokens, scores = twin.metadata["tokenizer.ggml.tokens"], twin.metadata["tokenizer.ggml.scores"]
    pieces = list(zip(tokens, scores, twin.metadata["tokenizer.ggml.token_type"], strict=True))
    write.write_tokenizer(folder / "tokenizer.model", pieces)
    return folder


def fused_experts(name, values, twin):
    """All experts of a layer as gpt-oss has them: rows of gate and up in turn, and columns as rows or MXFP4."""
    tensor, (_, layer, part, kind) = twin.tensors[name], name.split(".")
    if "_up_" in name:
        return {}
    if "_gate_" in name:
        up = twin.tensors[name.replace("_gate_", "_up_")]
        values = np.stack([values, read_floats(up, 0, up.n_rows).reshape(values.shape)], axis=2)
        values = values.reshape(8, -1, *tensor.shape[2:])
    foreign = f"model.layers.{layer}.mlp.experts.{'down' if 'down' in part else 'gate_up'}_proj"
    if kind == "bias":
        return {f"{foreign}_bias": values}
    if tensor.type.name != "MXFP4":
        return {foreign: np.ascontiguousarray(values.swapaxes(1, 2))}
    blocks = quantize(values, GGMLQuantizationType.MXFP4).reshape(*values.shape[:2], -1, 17)
    return {f"{foreign}_blocks": in_pairs(blocks[..., 1:]), f"{foreign}_scales": blocks[..., 0]}


def from_qwen35(values, name, recurrence):
    """Value heads of a key head side by side, norms less 1, logarithms of decays, a dimension of 1 more."""
    part, keys, dim = [*name.split("."), ""][2], recurrence.key_heads, recurrence.state_dim
    per_key = recurrence.value_heads // keys
    if name.endswith("norm.weight") and "ssm_norm" not in name:
        return values - np.float32(1)
    if part == "ssm_a":
        values = np.log(-values)

    def grouped(heads, width):
        shape = heads.shape
        return heads.reshape(per_key, keys, width, *shape[1:]).swapaxes(0, 1).reshape(shape)

    if part in ("attn_qkv", "ssm_conv1d"):
        values = np.concatenate([values[: 2 * keys * dim], grouped(values[2 * keys * dim :], dim)])
    elif part == "attn_gate":
        values = grouped(values, dim)
    elif part == "ssm_out":
        values = grouped(values.T, dim).T
    elif part in ("ssm_beta", "ssm_alpha", "ssm_a", "ssm_dt"):
        values = grouped(values, 1)
    return values[:, None] if part == "ssm_conv1d" else values
