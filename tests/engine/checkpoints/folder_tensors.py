"""Tensors that Hugging Face's format has joined, cut or in another order than GGUF."""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from engine.checkpoints.derived import read_floats
from tests.engine.checkpoints.folder_names import LAYERS
from tests.engine.checkpoints.state_space_folders import granite_halves
from tests.engine.checkpoints.writers import in_pairs

ALTUP = {"altup_proj.weight": "altup_projections", "altup_unembd_proj.weight": "altup_unembed_projections"}
"""What has a tensor for each stream but the first."""
GROUPED = {
    "gptneox": "attention.query_key_value",
    "falcon": "self_attention.query_key_value",
    "bloom": "self_attention.query_key_value",
    "internlm2": "attention.wqkv",
    "baichuan": "self_attn.W_pack",
    "bailingmoe": "attention.query_key_value",
    "qwen2-first": "attn.c_attn",
}
"""What has the queries, keys and values of each group of heads one below the other."""
TURNED = (
    "llama mistral3 smollm3 granite granitemoe granitehybrid arcee minicpm deepseek internlm2 olmo baichuan bailingmoe "
    "xverse deci"
).split()
"""What turns neighbours of a head together in GGUF, and halves in Hugging Face's format."""


def fused_tensor(name, twin, config, write, model):
    """What has in one tensor what a GGUF has in this one and another: nothing for the second, None for all others."""
    architecture, (_, layer, part, *_) = config.architecture.name, [*name.split("."), "", ""]
    of = model if model in GROUPED else architecture
    if of in GROUPED and part in ("attn_q", "attn_k", "attn_v", "attn_qkv"):
        return grouped_heads(name, twin, config, write, of) if part in ("attn_q", "attn_qkv") else {}
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


def turned_over(values):
    """A matrix with its columns as rows; a vector as it is."""
    return np.ascontiguousarray(values.T)


def grouped_heads(name, twin, config, write, model):
    """Queries that share a key, it, and its value, for each key; or all queries, all keys, and all values."""
    architecture, (_, layer, part, kind) = config.architecture.name, name.split(".")
    attention = config.attention[0]
    if part == "attn_qkv":
        ends = [attention.q_dim, attention.q_dim + attention.kv_dim]
        parts = np.split(values_of(twin, name), ends)
    else:
        q, k, v = (values_of(twin, f"blk.{layer}.attn_{each}.{kind}") for each in "qkv")
        turned = architecture in TURNED
        parts = [write.from_rotary_order(q, attention.n_heads), write.from_rotary_order(k, attention.n_kv_heads), v]
        parts = parts if turned else [q, k, v]
    place = f"{LAYERS.get(model, LAYERS.get(architecture, 'model.layers'))}.{layer}.{GROUPED[model]}.{kind}"
    if model in ("baichuan", "bailingmoe", "qwen2-first"):
        return {place: np.concatenate(parts)}
    groups = [part.reshape(attention.n_kv_heads, -1, *part.shape[1:]) for part in parts]
    joined = np.concatenate(groups, axis=1)
    return {place: joined.reshape(-1, *joined.shape[2:])}


def norms_of_heads(name, twin):
    """A norm for each head, the last one first."""
    (_, layer, part, _), norms = name.split("."), values_of(twin, name)
    place = f"model.layers.{layer}.self_attn.{part.split('_')[1]}_layernorm.norms"
    return {f"{place}.{i}.weight": norms[i] for i in reversed(range(len(norms)))}


def keys_and_values(layer, twin):
    """Of each head its keys, then its values."""
    keys, values = (values_of(twin, f"blk.{layer}.attn_{part}_b.weight") for part in "kv")
    both = np.concatenate([keys.swapaxes(1, 2), values], axis=1)
    return {f"model.layers.{layer}.self_attn.kv_b_proj.weight": both.reshape(-1, both.shape[2])}


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


def values_of(twin, name):
    tensor = twin.tensors[name]
    return read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
