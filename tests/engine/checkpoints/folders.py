"""Tiny GGUFs of every architecture as folders of Hugging Face's format, with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engine.architecture.gguf_config import config_from_gguf
from tests.engine.checkpoints.folder_configs import MODELS
from tests.engine.checkpoints.folder_names import expert_name, foreign_name
from tests.engine.checkpoints.folder_tensors import TURNED, from_qwen35, fused_tensor, turned_over, values_of
from tests.engine.checkpoints.selective_folders import SELECTIVE_NAMES, as_selective_folder
from tests.engine.checkpoints.state_space_folders import STATE_SPACE_NAMES, as_hugging_face
from tests.engine.tiny_keys import XIELU

LEFT_OUT = {
    "exaone": ("num_hidden_layers",),
    "bloom": ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
    "starcoder": (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("max_position_embeddings", "intermediate_size"),
    ),
    "olmo": ("layer_norm_eps",),
    **dict.fromkeys(
        ("gpt2", "mpt", "jais"),
        (
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "layer_norm_eps"),
            *("max_position_embeddings", "intermediate_size", "tie_word_embeddings"),
        ),
    ),
    "qwen2-first": ("rms_norm_eps", "num_key_value_heads"),
    "falcon": ("num_attention_heads", "num_key_value_heads", "num_hidden_layers", "intermediate_size"),
}
"""What the first configurations of an architecture do not have, by that name."""
FACTORS = {("jais", "token_embd.weight"): 16.0, ("jais", "output.weight"): 0.125}
"""What a configuration has a matrix multiplied by."""
NORM_EPS = {"rms": "rms_norm_eps", "layer": "layer_norm_eps"}


def write_folder(folder: Path, twin, write, name: str) -> Path:
    """The twin in Hugging Face's format."""
    class_name, options = MODELS[name]
    config = config_from_gguf(twin.metadata, twin.tensors)
    architecture = config.architecture.name
    folder.mkdir()
    tensors = {}
    for gguf_name in twin.tensors:
        if gguf_name.startswith("rope_"):
            continue
        values = values_of(twin, gguf_name) / np.float32(FACTORS.get((architecture, gguf_name), 1))
        if architecture in TURNED and ("attn_q." in gguf_name or "attn_k." in gguf_name):
            attention = config.attention[int(gguf_name.split(".")[1])]
            heads = attention.n_heads if "attn_q" in gguf_name else attention.n_kv_heads
            values = write.from_rotary_order(values.reshape(len(values), -1), heads).reshape(values.shape)
        if architecture in ("gemma", "gemma2", "gemma3", "nemotron") and gguf_name.endswith("norm.weight"):
            values = values - np.float32(1)
        values = values[:, None] if "shortconv.conv." in gguf_name else values
        values = of_states(values, gguf_name, architecture, options)
        if architecture in ("qwen35", "qwen35moe", "qwen3next"):
            values = from_qwen35(values, gguf_name, config.recurrence)
        values = turned_over(values) if architecture in ("gpt2", "jais") and gguf_name.startswith("blk.") else values
        if (fused := fused_tensor(gguf_name, twin, config, write, name)) is not None:
            tensors |= fused
        elif "_exps." in gguf_name and architecture != "gemma4":
            place = expert_name(gguf_name, architecture)
            tensors |= {place.format(f"experts.{i}"): each for i, each in reversed(list(enumerate(values)))}
        else:
            tensors[foreign_name(gguf_name, architecture, name)] = values
    for layer, numbers in enumerate(config.xielu and zip(XIELU["xielu.alpha_n"], XIELU["xielu.alpha_p"], strict=True)):
        place = f"model.layers.{layer}.mlp.act_fn"
        named = dict(zip(("alpha_n", "alpha_p", "beta"), (*numbers, XIELU["xielu.beta"][layer]), strict=True))
        tensors |= {f"{place}.{name}": np.array([number], np.float32) for name, number in named.items()}
    write.write_safetensors(folder / "model.safetensors", tensors)
    values = {
        "architectures": [class_name],
        "hidden_size": config.dim,
        "intermediate_size": twin.metadata[f"{architecture}.feed_forward_length"],
        "max_position_embeddings": config.max_seq_len,
        "num_attention_heads": config.attention[0].n_heads,
        "num_key_value_heads": max(attention.n_kv_heads for attention in config.attention),
        "num_hidden_layers": config.n_layers,
        **({} if architecture in ("starcoder2", "nemotron") else {NORM_EPS[config.architecture.norm]: 1e-5}),
        "tie_word_embeddings": config.tied,
    }
    left_out = LEFT_OUT.get(name, LEFT_OUT.get(architecture, ()))
    values = {key: value for key, value in values.items() if key not in left_out}
    (folder / "config.json").write_text(json.dumps(values | options, default=list))
    tokens, scores = twin.metadata["tokenizer.ggml.tokens"], twin.metadata["tokenizer.ggml.scores"]
    pieces = list(zip(tokens, scores, twin.metadata["tokenizer.ggml.token_type"], strict=True))
    write.write_tokenizer(folder / "tokenizer.model", pieces)
    return folder


def of_states(values, gguf_name, architecture, options):
    """Tensors of models with states as folders have them, others as they are."""
    if architecture in SELECTIVE_NAMES:
        return as_selective_folder(values, gguf_name)
    return as_hugging_face(values, gguf_name, options) if architecture in STATE_SPACE_NAMES else values
