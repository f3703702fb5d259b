"""Tiny GGUFs of every architecture as folders of Hugging Face's format, with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints.derived import read_floats
from tests.engine.checkpoints.folder_configs import MODELS
from tests.engine.checkpoints.state_space_folders import STATE_SPACE_NAMES, as_hugging_face, granite_halves
from tests.engine.checkpoints.writers import in_pairs
from tests.engine.tiny_keys import XIELU

ONE_PART_LAYERS = ("nemotron_h", "nemotron_h_moe", "mamba2")

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
    "attn_sinks.weight": "self_attn.sinks",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.gate",
    "exp_probs_b.bias": "mlp.gate.e_score_correction_bias",
}
"""Parts of a layer, whole with what follows the part where the foreign name says neither weight nor bias."""


def shared(place: str) -> dict[str, str]:
    return {f"ffn_{part}_shexp": f"mlp.{place}.{part}_proj" for part in ("gate", "up", "down")}


NORM_BEHIND = {"post_attention_norm": "post_attention_layernorm"}
GEMMA_2 = NORM_BEHIND | {"ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
GEMMA_4 = GEMMA_2 | {
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_down_exps.scale": "router.per_expert_scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
    "layer_output_scale.weight": "layer_scalar",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}
GEMMA_3N = GEMMA_4 | {
    "altup_router": "altup.modality_router",
    "altup_router_norm": "altup.router_norm",
    "altup_predict_coef": "altup.prediction_coefs",
    "altup_correct_coef": "altup.correction_coefs",
    "altup_correct_scale.weight": "altup.correct_output_scale",
    "laurel_l": "laurel.linear_left",
    "laurel_r": "laurel.linear_right",
    "laurel_post_norm": "laurel.post_laurel_norm",
}
ALTUP = {"altup_proj.weight": "altup_projections", "altup_unembd_proj.weight": "altup_unembed_projections"}
"""What has a tensor for each stream but the first."""
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
    "exp_probs_b.bias": "feed_forward.expert_bias",
}
QWEN_SHARED = shared("shared_expert") | {"ffn_gate_inp_shexp": "mlp.shared_expert_gate"}
QWEN35_LAYER = {
    **NORM_BEHIND,
    **QWEN_SHARED,
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_ba": "linear_attn.in_proj_ba",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
    "ssm_a": "linear_attn.A_log",
    "ssm_dt.bias": "linear_attn.dt_bias",
}
HUNYUAN = {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"}
NEOX = {
    "attn_output": "attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
FALCON = NEOX | {"attn_output": "self_attention.dense"}
GROUPED = {
    "gptneox": "attention.query_key_value",
    "falcon": "self_attention.query_key_value",
    "bloom": "self_attention.query_key_value",
    "internlm2": "attention.wqkv",
}
"""What has the queries, keys and values of each group of heads one below the other."""
INTERNLM2 = {
    "attn_output": "attention.wo",
    "attn_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}
EXAONE = {
    "attn_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attn_q": "attn.attention.q_proj",
    "attn_k": "attn.attention.k_proj",
    "attn_v": "attn.attention.v_proj",
    "attn_output": "attn.attention.out_proj",
    "ffn_gate": "mlp.c_fc_0",
    "ffn_up": "mlp.c_fc_1",
    "ffn_down": "mlp.c_proj",
}
LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
}
NAMES = {
    "deepseek2": LATENT | shared("shared_experts"),
    "minicpm3": LATENT,
    "plm": LATENT,
    "gptneox": NEOX,
    "falcon": FALCON,
    "falcon-40b": FALCON | {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"},
    "internlm2": INTERNLM2,
    "exaone": EXAONE,
    "exaone-moe": shared("shared_experts") | {"exp_probs_b.bias": "mlp.e_score_correction_bias"},
    "hy_v3": shared("shared_mlp") | {"ffn_gate_inp": "mlp.router.gate", "exp_probs_b": "mlp.expert_bias"},
    "afmoe": {
        **shared("shared_experts"),
        "attn_gate": "self_attn.gate_proj",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_mlp_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
        "ffn_gate_inp": "mlp.router.gate",
        "exp_probs_b.bias": "mlp.expert_bias",
    },
    "minimax-m2": {
        "ffn_gate_inp": "block_sparse_moe.gate",
        "exp_probs_b.bias": "block_sparse_moe.e_score_correction_bias",
    },
    "llama": {"ffn_gate_inp": "block_sparse_moe.gate"},
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
    "chatglm": {"ffn_up": "mlp.gate_up_proj"},
    "glm4": {
        "post_attention_norm": "post_self_attn_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
        "ffn_up": "mlp.gate_up_proj",
    },
    "glm4moe": NORM_BEHIND | shared("shared_experts"),
    "gemma2": GEMMA_2,
    "gemma3": GEMMA_2,
    "apertus": {"attn_norm": "attention_layernorm", "ffn_norm": "feedforward_layernorm"},
    "bloom": FALCON,
    "smallthinker": {"ffn_gate_inp": "block_sparse_moe.primary_router"},
    "starcoder": {
        "attn_norm": "ln_1",
        "ffn_norm": "ln_2",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
    "gemma3n": GEMMA_3N,
    "gemma4": GEMMA_4,
    "olmo2": GEMMA_2,
    "exaone4": GEMMA_2,
    "seed_oss": NORM_BEHIND,
    "gpt-oss": NORM_BEHIND | {"ffn_gate_inp": "mlp.router"},
    "phi2": {"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
    "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    "qwen2moe": QWEN_SHARED,
    "qwen35": QWEN35_LAYER,
    "qwen35moe": QWEN35_LAYER,
    "qwen3next": QWEN35_LAYER,
    "ernie4_5-moe": shared("shared_experts") | {"exp_probs_b.bias": "mlp.moe_statics.e_score_correction_bias"},
    "dots1": shared("shared_experts"),
    "deepseek": shared("shared_experts"),
    "bailingmoe2": {
        **shared("shared_experts"),
        "attn_qkv": "attention.query_key_value",
        "attn_output": "attention.dense",
        "attn_q_norm": "attention.query_layernorm",
        "attn_k_norm": "attention.key_layernorm",
        "exp_probs_b.bias": "mlp.gate.expert_bias",
    },
    "granitemoe": {"ffn_gate_inp": "block_sparse_moe.router.layer", "ffn_down_shexp": "shared_mlp.output_linear"},
    "hunyuan-dense": HUNYUAN,
    "hunyuan-moe": HUNYUAN | shared("shared_mlp") | {"ffn_gate_inp": "mlp.gate.wg"},
    "lfm2": LFM2,
    "lfm2moe": LFM2,
    **STATE_SPACE_NAMES,
}
"""What other architectures than most have under other names."""

MIXTRAL_EXPERT = {"ffn_gate": "w1", "ffn_down": "w2", "ffn_up": "w3"}
EXPERT = {
    "smallthinker": {f"ffn_{part}": f"block_sparse_moe.{{}}.{part}" for part in ("gate", "up", "down")},
    "minimax-m2": {part: f"block_sparse_moe.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
    "llama": {part: f"block_sparse_moe.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
    "nemotron_h_moe": {f"ffn_{part}": f"mixer.{{}}.{part}_proj" for part in ("up", "down")},
    "lfm2moe": {part: f"feed_forward.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
}
"""The name of an expert's matrix, around `experts.NUMBER`."""
USUAL_EXPERT = {f"ffn_{part}": f"mlp.{{}}.{part}_proj" for part in ("gate", "up", "down")}

OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
    "token_embd_norm.weight": "model.embedding_norm.weight",
    "per_layer_proj_norm.weight": "model.per_layer_projection_norm.weight",
    "per_layer_token_embd.weight": "model.embed_tokens_per_layer.weight",
    "per_layer_model_proj.weight": "model.per_layer_model_projection.weight",
    "output.weight": "lm_head.weight",
    "output.bias": "lm_head.bias",
}
OUTSIDE_OTHERWISE = {
    ("bailingmoe2", "token_embd.weight"): "model.word_embeddings.weight",
    ("falcon-h1", "output_norm.weight"): "model.final_layernorm.weight",
    **{(name, "token_embd.weight"): "backbone.embeddings.weight" for name in ONE_PART_LAYERS},
    **{(name, "output_norm.weight"): "backbone.norm_f.weight" for name in ONE_PART_LAYERS},
    ("gptneox", "token_embd.weight"): "gpt_neox.embed_in.weight",
    ("gptneox", "output_norm.weight"): "gpt_neox.final_layer_norm.weight",
    ("gptneox", "output_norm.bias"): "gpt_neox.final_layer_norm.bias",
    ("gptneox", "output.weight"): "embed_out.weight",
    ("falcon", "token_embd.weight"): "transformer.word_embeddings.weight",
    ("falcon", "output_norm.weight"): "transformer.ln_f.weight",
    ("falcon", "output_norm.bias"): "transformer.ln_f.bias",
    ("bloom", "token_embd.weight"): "transformer.word_embeddings.weight",
    ("bloom", "token_embd_norm.weight"): "transformer.word_embeddings_layernorm.weight",
    ("bloom", "token_embd_norm.bias"): "transformer.word_embeddings_layernorm.bias",
    ("bloom", "output_norm.weight"): "transformer.ln_f.weight",
    ("bloom", "output_norm.bias"): "transformer.ln_f.bias",
    ("starcoder", "token_embd.weight"): "transformer.wte.weight",
    ("starcoder", "position_embd.weight"): "transformer.wpe.weight",
    ("starcoder", "output_norm.weight"): "transformer.ln_f.weight",
    ("starcoder", "output_norm.bias"): "transformer.ln_f.bias",
    ("exaone", "token_embd.weight"): "transformer.wte.weight",
    ("exaone", "output_norm.weight"): "transformer.ln_f.weight",
    ("internlm2", "token_embd.weight"): "model.tok_embeddings.weight",
    ("internlm2", "output.weight"): "output.weight",
    ("phi2", "output_norm.weight"): "model.final_layernorm.weight",
    ("phi2", "output_norm.bias"): "model.final_layernorm.bias",
}
LAYERS = {
    **dict.fromkeys(ONE_PART_LAYERS, "backbone.layers"),
    **dict.fromkeys(("falcon", "exaone", "bloom", "starcoder"), "transformer.h"),
    "gptneox": "gpt_neox.layers",
}
LEFT_OUT = {
    "exaone": ("num_hidden_layers",),
    "bloom": ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
    "starcoder": (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("max_position_embeddings", "intermediate_size"),
    ),
    "olmo": ("layer_norm_eps",),
    "falcon": ("num_attention_heads", "num_key_value_heads", "num_hidden_layers", "intermediate_size"),
}
"""What the first configurations of an architecture do not have, by that name."""
NORM_EPS = {"rms": "rms_norm_eps", "layer": "layer_norm_eps"}
TURNED = "llama mistral3 smollm3 granite granitemoe granitehybrid arcee minicpm deepseek internlm2 olmo".split()


def foreign_name(name: str, architecture: str, model: str = "") -> str:
    """model: its name in MODELS, where that has other names than most of its architecture."""
    if not name.startswith("blk."):
        return OUTSIDE_OTHERWISE.get((architecture, name)) or OUTSIDE[name]
    _, layer, part, *rest = name.split(".")
    names = LAYER | NAMES.get(model, NAMES.get(architecture, {}))
    layers = LAYERS.get(architecture, "model.layers")
    whole = names.get(".".join([part, *rest]))
    return ".".join([layers, layer, whole] if whole else [layers, layer, names.get(part, part), *rest])


def expert_name(name: str, architecture: str) -> str:
    """With a place for `experts.NUMBER`."""
    _, layer, part, _ = name.split(".")
    layers = LAYERS.get(architecture, "model.layers")
    return f"{layers}.{layer}.{EXPERT.get(architecture, USUAL_EXPERT)[part.removesuffix('_exps')]}.weight"


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
        values = values_of(twin, gguf_name)
        if architecture in TURNED and ("attn_q." in gguf_name or "attn_k." in gguf_name):
            attention = max(config.attention, key=lambda layer: layer.n_kv_heads)
            heads = attention.n_heads if "attn_q" in gguf_name else attention.n_kv_heads
            values = write.from_rotary_order(values.reshape(len(values), -1), heads).reshape(values.shape)
        if architecture in ("gemma", "gemma2", "gemma3", "nemotron") and gguf_name.endswith("norm.weight"):
            values = values - np.float32(1)
        values = values[:, None] if "shortconv.conv." in gguf_name else values
        if architecture in STATE_SPACE_NAMES:
            values = as_hugging_face(values, gguf_name, options)
        if architecture in ("qwen35", "qwen35moe", "qwen3next"):
            values = from_qwen35(values, gguf_name, config.recurrence)
        if (fused := fused_tensor(gguf_name, twin, config, write)) is not None:
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
    values = {key: value for key, value in values.items() if key not in LEFT_OUT.get(architecture, ())}
    (folder / "config.json").write_text(json.dumps(values | options, default=list))
    tokens, scores = twin.metadata["tokenizer.ggml.tokens"], twin.metadata["tokenizer.ggml.scores"]
    pieces = list(zip(tokens, scores, twin.metadata["tokenizer.ggml.token_type"], strict=True))
    write.write_tokenizer(folder / "tokenizer.model", pieces)
    return folder


def grouped_heads(name, twin, config, write):
    """Queries that share a key, it, and its value, for each key."""
    architecture, (_, layer, part, kind) = config.architecture.name, name.split(".")
    attention = config.attention[0]
    if part == "attn_qkv":
        ends = [attention.q_dim, attention.q_dim + attention.kv_dim]
        parts = np.split(values_of(twin, name), ends)
    else:
        q, k, v = (values_of(twin, f"blk.{layer}.attn_{each}.{kind}") for each in "qkv")
        parts = [write.from_rotary_order(q, attention.n_heads), write.from_rotary_order(k, attention.n_kv_heads), v]
    groups = [part.reshape(attention.n_kv_heads, -1, *part.shape[1:]) for part in parts]
    joined = np.concatenate(groups, axis=1)
    place = f"{LAYERS.get(architecture, 'model.layers')}.{layer}.{GROUPED[architecture]}.{kind}"
    return {place: joined.reshape(-1, *joined.shape[2:])}


def norms_of_heads(name, twin):
    """A norm for each head, the last one first."""
    (_, layer, part, _), norms = name.split("."), values_of(twin, name)
    place = f"model.layers.{layer}.self_attn.{part.split('_')[1]}_layernorm.norms"
    return {f"{place}.{i}.weight": norms[i] for i in reversed(range(len(norms)))}


def fused_tensor(name, twin, config, write):
    """What has in one tensor what a GGUF has in this one and another: nothing for the second, None for all others."""
    architecture, (_, layer, part, *_) = config.architecture.name, [*name.split("."), "", ""]
    if architecture in GROUPED and part in ("attn_q", "attn_k", "attn_v", "attn_qkv"):
        return grouped_heads(name, twin, config, write) if part in ("attn_q", "attn_qkv") else {}
    if part in ("attn_k_b", "attn_v_b"):
        return keys_and_values(layer, twin) if part == "attn_k_b" else {}
    if architecture == "granitehybrid":
        return granite_halves(name, lambda each: values_of(twin, each))
    if name in ALTUP:
        return {f"model.language_model.{ALTUP[name]}.{i}.weight": its for i, its in enumerate(values_of(twin, name))}
    if architecture == "stablelm" and part in ("attn_q_norm", "attn_k_norm"):
        return norms_of_heads(name, twin)
    if architecture == "qwen3next" and f"blk.{layer}.ssm_a" in twin.tensors and part in ("attn_qkv", "attn_gate"):
        return delta_net_rows(layer, twin, config) if part == "attn_qkv" else {}
    if not (architecture == "gpt-oss" and "_exps" in part) and not (
        architecture == "granitemoe" and part.startswith(("ffn_gate_", "ffn_up_", "ffn_down_")) and "_inp" not in part
    ):
        return None
    return {} if "_up_" in part else fused_experts(name, twin, architecture)


def keys_and_values(layer, twin):
    """Of each head its keys, then its values."""
    keys, values = (values_of(twin, f"blk.{layer}.attn_{part}_b.weight") for part in "kv")
    both = np.concatenate([keys.swapaxes(1, 2), values], axis=1)
    return {f"model.layers.{layer}.self_attn.kv_b_proj.weight": both.reshape(-1, both.shape[2])}


def values_of(twin, name):
    tensor = twin.tensors[name]
    return read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)


def delta_net_rows(layer, twin, config):
    """Of each key head its queries, its keys, and its value heads' values and gates."""
    keys, dim = config.recurrence.key_heads, config.recurrence.state_dim
    qkv, z = (values_of(twin, f"blk.{layer}.attn_{part}.weight") for part in ("qkv", "gate"))
    heads = [each.reshape(keys, -1, config.dim) for each in (*np.split(qkv, [keys * dim, 2 * keys * dim]), z)]
    name = f"model.layers.{layer}.linear_attn.in_proj_qkvz.weight"
    return {name: np.concatenate(heads, axis=1).reshape(-1, config.dim)}


def fused_experts(name, twin, architecture):
    """Gates and ups: halves in Granite; in gpt-oss rows in turn, and columns as rows, or MXFP4."""
    (_, layer, part, kind), values = name.split("."), values_of(twin, name)
    place, is_down = f"model.layers.{layer}.", "_down_" in part
    both = [values] if is_down else [values, values_of(twin, name.replace("_gate_", "_up_"))]
    if architecture == "granitemoe":
        place += "shared_mlp" if part.endswith("_shexp") else "block_sparse_moe"
        return {f"{place}.{'output' if is_down else 'input'}_linear.weight": np.concatenate(both, axis=-2)}
    values = np.stack(both, axis=2).reshape(8, -1, *values.shape[2:])
    place += f"mlp.experts.{'down' if is_down else 'gate_up'}_proj"
    if kind == "bias":
        return {f"{place}_bias": values}
    if twin.tensors[name].type.name != "MXFP4":
        return {place: np.ascontiguousarray(values.swapaxes(1, 2))}
    blocks = quantize(values, GGMLQuantizationType.MXFP4).reshape(*values.shape[:2], -1, 17)
    return {f"{place}_blocks": in_pairs(blocks[..., 1:]), f"{place}_scales": blocks[..., 0]}


def from_qwen35(values, name, recurrence):
    """Value heads of a key head side by side, norms less 1, logarithms of decays, a dimension of 1 more."""
    part, keys, dim = [*name.split("."), ""][2], recurrence.key_heads, recurrence.state_dim
    per_key = recurrence.value_heads // keys if recurrence.keys_in_turn else 1
    if name.endswith("norm.weight") and "ssm_norm" not in name:
        return values - np.float32(1)
    if part == "ssm_a":
        values = np.log(-values)

    def grouped(heads, width):
        shape = heads.shape
        if per_key == 1:
            return heads
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
