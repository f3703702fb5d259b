"""LoRA adapters on a base model: weights of which W + (alpha / r)·B·A is read in the place of W.

Source: Hu et al. 2021, section 4.1; names and options of Hugging Face's peft, and of llama.cpp's converters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.attention_groups import groups_apart
from engine.checkpoints.checkpoint import Checkpoint, TensorInfo, without_leading_ones
from engine.checkpoints.dequantizable import DEQUANTIZABLE
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.experts import place_in_stack
from engine.checkpoints.fused import taken_apart
from engine.checkpoints.huggingface import as_gguf
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import from_hugging_face
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_RANK = 4096
_DAMAGED = "The adapter is damaged: fetch it again."


@dataclass(frozen=True, slots=True)
class LoraPair:
    """What is added to one matrix: scale·B·A. a: (rank, inputs). b: (outputs, rank)."""

    a: TensorInfo
    b: TensorInfo
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter by the names of the matrices. replaced: whole tensors that were trained besides.

    hugging_face_order: tensors are as Hugging Face has them, such as the rows of queries and keys. hugging_face_names:
    the names are Hugging Face's too, else GGUF's. base_name: what it was trained on.
    """

    path: Path
    format: str
    pairs: Mapping[str, LoraPair]
    replaced: Mapping[str, TensorInfo]
    hugging_face_order: bool
    files: tuple[Path, ...]
    base_name: str = ""
    hugging_face_names: bool = False


OF_KEYS = ".attn_k_b.weight"
"""How the name ends of what has the columns of another matrix as rows: what is added to that is no product there."""


def with_adapter(base: Checkpoint, adapter: Adapter) -> Checkpoint:
    """The model that an adapter makes of its base. Raises ModelFileError where they do not fit together."""
    tensors = dict(base.tensors)
    if adapter.hugging_face_order and base.metadata.get("general.architecture") == "falcon-h1":
        # What is added would have to be multiplied by the factors of the base model's configuration.
        raise UnsupportedModelError(f"{adapter.path} changes a falcon-h1 model.", "Merge it into that model first.")
    base = replace(base, tensors=_with_output(base.tensors))
    changes: dict[str, dict[int, LoraPair]] = {}
    for foreign, pair in adapter.pairs.items():
        for b in _as_gguf(base, adapter, foreign, pair.b):
            if b.name.endswith(OF_KEYS):
                raise UnsupportedModelError(
                    f"{adapter.path} changes {foreign}, of which the base model {base.path} has two with other rows.",
                    "Merge it first.",
                )
            _check_shape(base, adapter, b.name, (b.shape[0], pair.a.shape[1]))
            place, number = place_in_stack(b.name) or (b.name, 0)
            changes.setdefault(place, {})[number] = replace(pair, b=b)
    for name, pairs in changes.items():
        tensors[name] = _adapted(base.tensors[name], pairs)
    for foreign, tensor in adapter.replaced.items():
        for part in _as_gguf(base, adapter, foreign, tensor):
            _check_shape(base, adapter, part.name, part.shape)
            tensors[part.name] = part
    metadata = Metadata(base.metadata, adapter.path)
    metadata.pop("general.file_type", None)
    metadata["general.name"] = adapter.path.name if adapter.path.is_dir() else adapter.path.stem
    files = (*base.files, *adapter.files)
    format_name = f"{base.format} with {adapter.format}"
    return Checkpoint(adapter.path, format_name, metadata, tensors, files, borrowed=frozenset(base.files))


def _with_output(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors of a base model; where its output is the embedding, it can be changed without that."""
    embedding = tensors.get("token_embd.weight")
    output = {} if embedding is None else {"output.weight": replace(embedding, name="output.weight")}
    return output | dict(tensors)


def lora_pair(
    path: Path, name: str, a: TensorInfo, b: TensorInfo, alpha: float | None, rank: int | None = None
) -> LoraPair:
    """A pair with its scale. alpha: None for a scale of 1. rank: what the adapter says; None for what matrices show."""
    found = a.shape[0] if a.shape else 0
    if len(a.shape) != 2 or len(b.shape) != 2 or b.shape[1] != found or not 1 <= found <= MAX_RANK:
        raise ModelFileError(f"{path}: the matrices {a.shape} and {b.shape} for {name} are no pair.", _DAMAGED)
    if rank is not None and rank != found:
        raise ModelFileError(f"{path}: the matrices for {name} have rank {found}, by the settings {rank}.", _DAMAGED)
    for tensor in (a, b):
        if not tensor.type.is_float:
            raise UnsupportedModelError(
                f"{path}: {tensor.name} is stored as {tensor.type.name}.", "Choose another one."
            )
    return LoraPair(a, b, 1.0 if alpha is None else alpha / found)


def _adapted(weight: TensorInfo, pairs: Mapping[int, LoraPair]) -> TensorInfo:
    """A matrix with what is added to it, or a stack of matrices with what is added to some of them, by their number."""
    if weight.type.name not in DEQUANTIZABLE:
        raise UnsupportedModelError(
            f"{weight.path}: {weight.name} is stored as {weight.type.name}, to which no adapter can be added here.",
            "Take the base model in F16 or in a common quantization.",
        )

    @lru_cache(maxsize=1)
    def scaled_a(number: int) -> NDArray[np.float32]:
        pair = pairs[number]
        return read_floats(pair.a, 0, pair.a.shape[0]) * pair.scale

    kind = TYPE_BY_NAME["F32" if weight.type.name == "F32" else "F16"]
    n_rows = weight.shape[-2] if len(weight.shape) > 1 else 1

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        rows = read_floats(weight, first, count)
        for number in range(first // n_rows, -(-(first + count) // n_rows)):
            if number in pairs:
                start = number * n_rows
                begin, end = max(first, start), min(first + count, start + n_rows)
                b = read_floats(pairs[number].b, begin - start, end - begin)
                rows[begin - first : end - first] += b @ scaled_a(number)
        return float_bytes(rows, kind)

    return derived(weight, make_rows, shape=weight.shape, kind=kind)


def _gguf_name(base: Checkpoint, adapter: Adapter, foreign: str) -> str:
    """The name of a matrix in the base model."""
    if not adapter.hugging_face_names:
        return foreign
    name = from_hugging_face(foreign, base.metadata.text("general.architecture"))
    if name is None:
        raise UnsupportedModelError(
            f"{adapter.path}: {foreign} is for no part of a model that is known here.", "Merge it first."
        )
    return name


def _as_gguf(base: Checkpoint, adapter: Adapter, foreign: str, tensor: TensorInfo) -> list[TensorInfo]:
    """What the base model has for a tensor, or for the outputs of a matrix: one, or several that are one there."""
    metadata = base.metadata
    if adapter.hugging_face_names:
        parts = taken_apart(foreign, {foreign: tensor}, metadata) or []
        if parts and not any("_exps." in part.name for part in parts):
            return parts
        if (heads := groups_apart(foreign, tensor, metadata)) is not None:
            return [as_gguf(part, metadata) for part in heads]
    named = replace(tensor, name=_gguf_name(base, adapter, foreign))
    return [as_gguf(named, metadata) if adapter.hugging_face_order else named]


def _check_shape(base: Checkpoint, adapter: Adapter, name: str, shape: tuple[int, ...]) -> None:
    found = _shape_of(base, name)
    if found is None or without_leading_ones(found) != without_leading_ones(shape):
        has = "has no such matrix" if found is None else f"has {found}"
        raise ModelFileError(
            f"{adapter.path} changes {name} of shape {shape}, but the base model {base.path} {has}.",
            f"It was made for another base model{f': {adapter.base_name}' if adapter.base_name else ''}.",
        )


def _shape_of(base: Checkpoint, name: str) -> tuple[int, ...] | None:
    """The shape of a tensor or of one expert's matrix, None for what the base model has not."""
    place, number = place_in_stack(name) or (name, None)
    shape = base.tensors[place].shape if place in base.tensors else None
    if shape is None or number is None:
        return shape
    return shape[1:] if number < shape[0] else None
