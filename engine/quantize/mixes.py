"""The mixes of tensor types that people ask for by name, and the type that each tensor of a model gets in them.

Imports nothing that computes, so that the command line can check a name before it starts anything.

Source: llama_tensor_get_type_impl, tensor_type_fallback and tensor_allows_quantization in src/llama-quant.cpp of the
llama.cpp repository.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from engine.checkpoints import TYPE_BY_NAME, Metadata, TensorInfo, TensorType
from engine.errors import UnsupportedModelError

MANY_GROUPED_HEADS = 4
"""Queries per key-value head from which on the value matrix is so small that more bits for it cost next to nothing."""

LAYERS_OF_70B = 80


@dataclass(frozen=True, slots=True)
class Mix:
    """What a file is called by. file_type: its `general.file_type`; base: the type of most tensors."""

    name: str
    file_type: int
    base: str


MIXES: dict[str, Mix] = {
    mix.name: mix
    for mix in (
        Mix("F32", 0, "F32"),
        Mix("F16", 1, "F16"),
        Mix("BF16", 32, "BF16"),
        Mix("Q8_0", 7, "Q8_0"),
        Mix("Q6_K", 18, "Q6_K"),
        Mix("Q5_K_M", 17, "Q5_K"),
        Mix("Q5_K_S", 16, "Q5_K"),
        Mix("Q5_1", 9, "Q5_1"),
        Mix("Q5_0", 8, "Q5_0"),
        Mix("Q4_K_M", 15, "Q4_K"),
        Mix("Q4_K_S", 14, "Q4_K"),
        Mix("Q4_1", 3, "Q4_1"),
        Mix("Q4_0", 2, "Q4_0"),
        Mix("Q3_K_L", 13, "Q3_K"),
        Mix("Q3_K_M", 12, "Q3_K"),
        Mix("Q3_K_S", 11, "Q3_K"),
        Mix("Q2_K", 10, "Q2_K"),
    )
}

_SHORT_NAMES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}

_FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Blocks of 32 in place of superblocks of 256, where rows are not whole superblocks."""

_KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|^position_embd\.weight|^token_types\.weight"
    r"|ssm_conv1d|shortconv\.conv\.weight|attn_rel_b\.weight|\.position_embd|\.rel_pos|\.patch_embd|\.patch_merger"
)
"""Small or sensitive tensors that keep their numbers."""

_KINDS = (
    ("attn_v.weight", "attn_v"),
    ("attn_qkv.weight", "attn_v"),
    ("attn_kv_b.weight", "attn_v"),
    ("attn_k.weight", "attn_k"),
    ("attn_output.weight", "attn_output"),
    ("ffn_down", "ffn_down"),
)
"""What a tensor's name contains, and what it is for."""

_LAYER = re.compile(r"blk\.(\d+)\.")


def find_mix(name: str) -> Mix:
    """The mix of this name, in any case. Raises UnsupportedModelError."""
    upper = name.upper()
    try:
        return MIXES[_SHORT_NAMES.get(upper, upper)]
    except KeyError:
        raise UnsupportedModelError(f"There is no type {name}.", f"These can be written: {', '.join(MIXES)}.") from None


@dataclass(frozen=True, slots=True)
class _Model:
    """What the choice looks at beside a tensor's own name and shape."""

    mix: Mix
    layers: int
    value_layers: tuple[int, ...]
    grouped_heads: int
    is_70b: bool
    experts: int
    tied: bool


def choose_types(mix: Mix, metadata: Metadata, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorType]:
    """The type of every tensor, as llama.cpp would choose it (without an importance matrix).

    Vectors and norms become F32.
    """
    model = _describe(mix, metadata, tensors)
    return {name: TYPE_BY_NAME[_choose(model, tensor)] for name, tensor in tensors.items()}


def _describe(mix: Mix, metadata: Metadata, tensors: Mapping[str, TensorInfo]) -> _Model:
    arch = metadata.get("general.architecture", "llama")

    def number(key: str, default: int) -> int:
        value = metadata.get(f"{arch}.{key}", default)
        if isinstance(value, array) and value:
            value = value[0]  # of the layers' numbers, llama.cpp takes the first layer's
        return value if isinstance(value, int) and value > 0 else default

    heads = number("attention.head_count", 1)
    kv_heads = number("attention.head_count_kv", heads)
    layers = number("block_count", 1)
    return _Model(
        mix=mix,
        layers=layers,
        value_layers=tuple(sorted(_layer(name) for name in tensors if _kind(name) == "attn_v")),
        grouped_heads=heads // kv_heads,
        is_70b=arch in ("llama", "qwen2") and layers == LAYERS_OF_70B and heads != kv_heads,
        experts=number("expert_count", 0),
        tied="output.weight" not in tensors,
    )


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else 0


def _kind(name: str) -> str:
    """What a tensor is for, as far as the choice depends on it."""
    if name in ("output.weight", "token_embd.weight", "per_layer_token_embd.weight"):
        return name.removesuffix(".weight").removeprefix("per_layer_")
    return next((kind for part, kind in _KINDS if part in name), "")


def _choose(model: _Model, tensor: TensorInfo) -> str:
    if len(tensor.shape) < 2 or "_norm." in tensor.name:
        return "F32" if tensor.type.is_float else tensor.type.name
    if not tensor.name.endswith("weight") or _KEPT.search(tensor.name):
        return tensor.type.name
    base = model.mix.base
    if TYPE_BY_NAME[base].is_float:
        return base
    columns = tensor.shape[-1]
    kind = _kind(tensor.name)
    if kind == "output" or (model.tied and kind == "token_embd"):
        whole = columns % TYPE_BY_NAME[base].block_size == 0
        chosen = "Q6_K" if whole and base != "Q8_0" else "Q8_0"
    else:
        rule = _RULES.get(kind)
        chosen = (rule(model, _layer(tensor.name)) if rule else None) or base
    return _that_fits(chosen, columns)


def _that_fits(chosen: str, columns: int) -> str:
    """The type, or one with smaller blocks where rows are not whole blocks."""
    if columns % TYPE_BY_NAME[chosen].block_size:
        chosen = _FALLBACKS.get(chosen, "F16")
    return "F16" if columns % TYPE_BY_NAME[chosen].block_size else chosen


def _is_sensitive(index: int, count: int) -> bool:
    """The first and last eighth, and every third between them."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _value_type(model: _Model, layer: int) -> str | None:
    """The value matrix (or one that it is part of), counted among its like."""
    if model.experts == 8:
        return "Q8_0"
    index, count = model.value_layers.index(layer), len(model.value_layers)
    by_mix = {
        "Q2_K": "Q4_K" if model.grouped_heads >= MANY_GROUPED_HEADS else "Q3_K",
        "Q3_K_M": "Q5_K" if index < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if index < 4 else None,
        "Q4_K_M": "Q6_K" if _is_sensitive(index, count) else None,
        "Q5_K_M": "Q6_K" if _is_sensitive(index, count) else None,
    }
    chosen = by_mix.get(model.mix.name) or model.mix.base
    return "Q5_K" if model.is_70b and chosen in ("Q3_K", "Q4_K") else chosen


def _key_type(model: _Model, layer: int) -> str | None:
    return "Q8_0" if model.experts == 8 else None


def _down_type(model: _Model, layer: int) -> str | None:
    """The matrix that leads back from the feed-forward width."""
    layers = model.layers
    return {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if layer < layers // 16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if layer < layers // 8 else None,
        "Q4_K_M": "Q6_K" if _is_sensitive(layer, layers) else None,
        "Q5_K_M": "Q6_K" if _is_sensitive(layer, layers) else None,
    }.get(model.mix.name)


def _attention_output_type(model: _Model, layer: int) -> str | None:
    if model.experts == 8:
        return "Q5_K" if model.mix.name in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M") else None
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(model.mix.name)


_RULES = {
    "attn_v": _value_type,
    "attn_k": _key_type,
    "ffn_down": _down_type,
    "attn_output": _attention_output_type,
}
"""Where a mix differs from its base type; None stands for the base type."""
