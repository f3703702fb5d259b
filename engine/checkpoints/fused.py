"""Matrices that Hugging Face's format keeps in one tensor and GGUF apart: gates and ups, and a delta net's first two.

Source: the models in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import columns_as_rows, derived, joined_rows, rows_of_each
from engine.checkpoints.huggingface_latent import KEYS_APART
from engine.checkpoints.latents import keys_and_values
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import without_prefixes
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXPERTS = {
    "mlp.experts.gate_up_proj": ("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "mlp.experts.down_proj": ("ffn_down_exps.weight",),
    "mlp.experts.gate_up_proj_bias": ("ffn_gate_exps.bias", "ffn_up_exps.bias"),
    "mlp.experts.down_proj_bias": ("ffn_down_exps.bias",),
    "feed_forward.experts.gate_up_proj": ("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "feed_forward.experts.down_proj": ("ffn_down_exps.weight",),
    "block_sparse_moe.input_linear": ("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "block_sparse_moe.output_linear": ("ffn_down_exps.weight",),
    "experts.gate_up_proj": ("ffn_gate_up_exps.weight",),
    "experts.down_proj": ("ffn_down_exps.weight",),
    "shared_mlp.input_linear": ("ffn_gate_shexp.weight", "ffn_up_shexp.weight"),
}
"""Parts of a layer with all their experts, and what they become: rows of gates come before those of ups."""

_DELTA_NET = "linear_attn.in_proj_qkvz"
"""Of every key head its queries, its keys, and then its value heads' values and gates."""

_KEYS_AND_VALUES = "self_attn.kv_b_proj"
"""Of every head its keys, then its values, made of a latent vector."""

_FIRST_MATRIX = re.compile(r"(blk\.\d{1,4}\.)ssm_in\.weight")
"""The same in the first GGUFs of Qwen3-Next."""

_IN_TURN = ("gpt-oss",)
"""Architectures whose rows of gate and up alternate."""

_INPUTS_FIRST = (*_IN_TURN, "llama4")
"""Architectures whose experts' matrices always lie with their inputs first."""

_BLOCKS, _SCALES = "_blocks", "_scales"
"""How the names of the two tensors end that MXFP4 is kept in."""

_LAYER = re.compile(r"layers\.(\d{1,4})\.(.+?)(?:\.weight|_blocks)?")


def taken_apart(foreign_name: str, tensors: Mapping[str, TensorInfo], metadata: Metadata) -> list[TensorInfo] | None:
    """What GGUF has for one of these tensors, by its name and in its order; None for a tensor of another kind.

    The scales of MXFP4 become nothing by themselves: whoever has their blocks has them.
    Raises ModelFileError for sizes that do not fit.
    """
    tensor, found = tensors[foreign_name], _LAYER.fullmatch(without_prefixes(foreign_name))
    if found is None:
        return None
    block, part = f"blk.{int(found[1])}.", found[2]
    if part == _DELTA_NET:
        return _delta_net(tensor, block, metadata)
    if part == _KEYS_AND_VALUES:
        return _keys_and_values(tensor, block, metadata)
    if part.removesuffix(_SCALES) in _EXPERTS and part.endswith(_SCALES):
        return []
    if part not in _EXPERTS:
        return None
    if foreign_name.endswith(_BLOCKS):
        tensor = _mxfp4(tensor, tensors.get(foreign_name.removesuffix(_BLOCKS) + _SCALES))
    elif _has_inputs_first(tensor, part, metadata):
        tensor = columns_as_rows(tensor)
    names = [block + name for name in _EXPERTS[part]]
    if len(names) == 1:
        return [replace(tensor, name=names[0])]
    axis = -1 if part.endswith("_bias") else -2
    rows = range(tensor.shape[axis] if len(tensor.shape) >= -axis else 1)
    if len(rows) % 2:
        raise _unfit(tensor)
    in_turn = metadata.text("general.architecture") in _IN_TURN
    halves = (rows[::2], rows[1::2]) if in_turn else (rows[: len(rows) // 2], rows[len(rows) // 2 :])
    parts = [rows_of_each(tensor, name, half, axis) for name, half in zip(names, halves, strict=True)]
    return [as_beside_experts(part, metadata) for part in parts]


def as_beside_experts(tensor: TensorInfo, metadata: Metadata) -> TensorInfo:
    """The tensor under GGUF's name in a Granite 4: what stands beside experts is the feed-forward layer without any."""
    arch = metadata.text("general.architecture")
    has_experts = f"{arch}.expert_count" in metadata or not arch.startswith("granite")
    return tensor if has_experts else replace(tensor, name=tensor.name.replace("_shexp.", "."))


def delta_nets_taken_apart(tensors: Mapping[str, TensorInfo], metadata: Metadata) -> Mapping[str, TensorInfo]:
    """A GGUF's tensors as later ones have them, where a Qwen3-Next is one of the first. Raises as taken_apart."""
    if metadata.get("general.architecture") != "qwen3next":
        return tensors
    taken: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        found = _FIRST_MATRIX.fullmatch(name)
        taken |= {part.name: part for part in (_delta_net(tensor, found[1], metadata) if found else [tensor])}
    return taken


def _has_inputs_first(tensor: TensorInfo, part: str, metadata: Metadata) -> bool:
    """Whether an expert's matrix lies with its inputs, not its outputs, one below the other."""
    arch = metadata.text("general.architecture")
    if len(tensor.shape) != 3:
        return False
    dim = metadata.integer(f"{arch}.embedding_length", low=1, high=MAX_WIDTH)
    return arch in _INPUTS_FIRST or tensor.shape[1 if "down" in part or "output" in part else 2] != dim


def _mxfp4(blocks: TensorInfo, scales: TensorInfo | None) -> TensorInfo:
    """Blocks of 16 bytes, (…, rows, blocks, 16), and their scales in one, as GGUF has them, with nibbles in halves."""
    if scales is None or len(blocks.shape) < 3 or blocks.shape != (*scales.shape, 16):
        raise ModelFileError(
            f"{blocks.path}: the scales of {blocks.name}, of shape {blocks.shape}, are missing or do not fit.",
            "Fetch all parts of the model.",
        )
    n_blocks, kind = blocks.shape[-2], TYPE_BY_NAME["MXFP4"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.ggml_blocks import pairs_to_halves
        from engine.checkpoints.rows import read_rows

        made = np.empty(count * n_blocks, np.dtype([("scale", "u1"), ("nibbles", "<u8", (2,))]))
        made["scale"] = np.asarray(read_rows(scales, first, count)).reshape(-1)
        nibbles = np.ascontiguousarray(read_rows(blocks, first * n_blocks, count * n_blocks)).view("<u4")
        pairs_to_halves(nibbles, made["nibbles"])
        return made.view(np.uint8).reshape(count, -1)

    return derived(blocks, make_rows, shape=(*blocks.shape[:-2], n_blocks * kind.block_size), kind=kind)


def _delta_net(tensor: TensorInfo, block: str, metadata: Metadata) -> list[TensorInfo]:
    arch = metadata.text("general.architecture")
    n_keys, n_values, dim = (
        metadata.integer(f"{arch}.ssm.{key}", low=1, high=MAX_WIDTH)
        for key in ("group_count", "time_step_rank", "state_size")
    )
    values = n_values // n_keys * dim
    width = 2 * dim + 2 * values
    if len(tensor.shape) != 2 or tensor.shape[0] != n_keys * width:
        raise _unfit(tensor)
    heads = replace(tensor, shape=(n_keys, width, tensor.shape[1]))

    def part(first: int, count: int) -> TensorInfo:
        rows = rows_of_each(heads, f"{block}attn_gate.weight", range(first, first + count))
        return replace(rows, shape=(n_keys * count, tensor.shape[1]))

    qkv = [part(0, dim), part(dim, dim), part(2 * dim, values)]
    return [joined_rows(f"{block}attn_qkv.weight", qkv), part(2 * dim + values, values)]


def _keys_and_values(tensor: TensorInfo, block: str, metadata: Metadata) -> list[TensorInfo] | None:
    """None where GGUF has them in one, too, as all of MiniCPM 3 do and older ones of DeepSeek."""
    arch = metadata.text("general.architecture")
    if arch != KEYS_APART or f"{arch}.attention.key_length_mla" not in metadata:
        return None
    n_heads, key_dim, turned = (
        metadata.integer(f"{arch}.{key}", low=1, high=MAX_WIDTH)
        for key in ("attention.head_count", "attention.key_length_mla", "rope.dimension_count")
    )
    return list(keys_and_values(replace(tensor, name=f"{block}attn_kv_b.weight"), n_heads, key_dim - turned))


def _unfit(tensor: TensorInfo) -> ModelFileError:
    return ModelFileError(
        f"{tensor.path}: {tensor.name}, of shape {tensor.shape}, cannot be taken apart.",
        "The configuration and the weights disagree: fetch both again.",
    )
