"""Models that were given out as differences to LLaMA (Vicuna, Koala): every weight is base + difference.

Source: fastchat/model/apply_delta.py in the FastChat repository.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import Checkpoint, TensorInfo
from engine.checkpoints.dequantizable import DEQUANTIZABLE
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROWING = ("token_embd.weight", "output.weight")
"""Matrices with a row a token: where the difference has more tokens, their rows are its own."""

LARGEST_DIFFERENCE = 0.02
"""Mean size of a difference of norm weights. Those of a whole model are around 1."""


def with_delta(base: Checkpoint, delta: Checkpoint) -> Checkpoint:
    """The model that a difference makes of its base; its vocabulary and settings are the difference's.

    Raises ModelFileError where they do not fit together.
    """
    if not is_delta(delta):
        raise ModelFileError(
            f"{delta.path} is a whole model, neither an adapter nor a difference to another model.",
            "Use it without a base model.",
        )
    if missing := base.tensors.keys() - delta.tensors.keys() - {"rope_freqs.weight"}:
        raise ModelFileError(
            f"{delta.path} has no difference for {min(missing)} of {base.path}.", "Check that both are of one size."
        )
    tensors = {name: _sum(base, delta, name) for name in delta.tensors}
    files = (*base.files, *delta.files)
    format_name = f"{base.format} with a difference"
    return Checkpoint(delta.path, format_name, delta.metadata, tensors, files, borrowed=frozenset(base.files))


def _sum(base: Checkpoint, delta: Checkpoint, name: str) -> TensorInfo:
    difference = delta.tensors[name]
    if name == "rope_freqs.weight":
        return difference
    weight = base.tensors.get(name)
    if weight is None or not _fit(weight, difference):
        has = "has none" if weight is None else f"has {weight.shape}"
        raise ModelFileError(
            f"{delta.path} changes {name} of shape {difference.shape}, but the base model {base.path} {has}.",
            "Take the base model that the difference was made for.",
        )
    for tensor in (weight, difference):
        if tensor.type.name not in DEQUANTIZABLE:
            raise UnsupportedModelError(f"{tensor.path}: {name} is stored as {tensor.type.name}.", "Take one in F16.")
    is_vector = len(difference.shape) == 1
    kind = TYPE_BY_NAME["F32" if is_vector or weight.type.name == difference.type.name == "F32" else "F16"]
    shared = 1 if is_vector else weight.shape[0]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        rows = read_floats(difference, first, count)
        common = min(count, shared - first)
        if common > 0:
            rows[:common] += read_floats(weight, first, common)
        return float_bytes(rows, kind)

    return derived(difference, make_rows, shape=difference.shape, kind=kind)


def _fit(weight: TensorInfo, difference: TensorInfo) -> bool:
    if weight.name in GROWING and len(weight.shape) == len(difference.shape) == 2:
        return weight.shape[0] <= difference.shape[0] and weight.shape[1] == difference.shape[1]
    return weight.shape == difference.shape


def is_delta(checkpoint: Checkpoint) -> bool:
    """Whether it is a difference, by its last norm: what is around 1 in a model is next to nothing in a difference."""
    norm = checkpoint.tensors.get("output_norm.weight")
    if norm is None or len(norm.shape) != 1 or checkpoint.metadata.get("general.architecture") != "llama":
        return False
    values = _numbers(norm.path, norm)
    return bool(values) and sum(map(abs, values)) / len(values) < LARGEST_DIFFERENCE


def _numbers(path: Path, tensor: TensorInfo) -> tuple[float, ...]:
    """A vector's values as they are in its file, without NumPy: the app's process looks at models too."""
    try:
        with path.open("rb") as file:
            file.seek(tensor.offset)
            raw = file.read(tensor.n_bytes)
    except OSError:
        return ()
    if len(raw) < tensor.n_bytes:
        return ()
    if tensor.type.name == "BF16":
        raw = b"".join(b"\0\0" + raw[at : at + 2] for at in range(0, len(raw), 2))
    code = {"F32": "f", "BF16": "f", "F16": "e"}.get(tensor.type.name)
    return struct.unpack(f"<{tensor.n_elements}{code}", raw) if code else ()
