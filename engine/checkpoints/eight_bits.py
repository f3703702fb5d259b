"""Weights of eight bits with scales beside them, as Hugging Face's folders have them for GPUs, as plain numbers.

Source: FP8 in the transformers repository (DeepSeek's and Qwen's blocks of 128 × 128), and compressed-tensors, whose
scales are of a row, or of the whole matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.small_floats import e4m3_numbers
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SCALE = re.compile(r"(.+)_scale(?:_inv)?")
_OF_ACTIVATIONS = re.compile(r".+(?:\.input_scale|activation_scale|\.[kv]_scale)")
"""Scales of what is computed, and of the cache; activations are quantised here as everywhere else."""

ANY = 1 << 62
"""So many rows or columns share a scale that all do."""


@dataclass(frozen=True, slots=True)
class Block:
    """How many rows and columns of a matrix share a scale."""

    rows: int
    columns: int


def eight_bit_block(how: Mapping[str, object], values: Metadata) -> Block | None:
    """What shares a scale by a `quantization_config`; None where weights are kept in another way, not known here."""
    method = how.get("quant_method")
    if method == "fp8":
        return _block(how, "weight_block_size", values)
    groups = how.get("config_groups")
    if method != "compressed-tensors" or how.get("format") != "float-quantized" or not isinstance(groups, dict):
        return None
    weights = [group.get("weights") for group in groups.values() if isinstance(group, dict)]
    if len(weights) != 1 or not isinstance(weights[0], dict):
        return None
    kind = weights[0].get("type"), weights[0].get("num_bits"), weights[0].get("strategy")
    if kind == ("float", 8, "block"):
        return _block(weights[0], "block_structure", values)
    return Block(1, ANY) if kind in (("float", 8, "channel"), ("float", 8, "tensor")) else None


def _block(how: Mapping[str, object], key: str, values: Metadata) -> Block:
    """The rows and columns that a setting has; without it, all of a row share one, or all of the matrix."""
    sizes = how.get(key)
    if sizes is None:
        return Block(1, ANY)
    if not isinstance(sizes, list) or len(sizes) != 2:
        raise values.error(f"{key} should be two numbers.")
    rows, columns = (Metadata({key: size}, values.path).integer(key, low=1, high=MAX_WIDTH) for size in sizes)
    return Block(rows, columns)


def with_scales(tensors: Mapping[str, TensorInfo], block: Block) -> dict[str, TensorInfo]:
    """The tensors without scales, their weights multiplied by them, as F16. Raises ModelFileError for misfits."""
    scales: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        found = _SCALE.fullmatch(name)
        if found and found[1] in tensors:
            scales[found[1]] = tensor
    return {
        name: _scaled(tensor, scales[name], block) if name in scales else tensor
        for name, tensor in tensors.items()
        if not _OF_ACTIVATIONS.fullmatch(name) and not ((found := _SCALE.fullmatch(name)) and found[1] in tensors)
    }


def _scaled(tensor: TensorInfo, scales: TensorInfo, block: Block) -> TensorInfo:
    if tensor.type.name != "F8_E4M3":
        raise ModelFileError(
            f"{tensor.path}: {tensor.name} is {tensor.type.name}, its scales are those of eight bits.",
            "Fetch all parts of the model.",
        )
    if not scales.type.is_float or len(tensor.shape) < 2:
        raise _unfit(tensor, scales)
    n_scale_rows, n_scale_columns, height = _layout(tensor, scales, block)
    kind, n_columns = TYPE_BY_NAME["F16"], tensor.shape[-1]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        weights = e4m3_numbers()[np.asarray(read_rows(tensor, first, count))]
        every = read_floats(scales, 0, scales.n_rows).reshape(-1, n_scale_columns)
        matrix, row = np.divmod(np.arange(first, first + count), tensor.shape[-2])
        of_rows = every[matrix * n_scale_rows + row // height]
        if n_scale_columns > 1:
            of_rows = np.repeat(of_rows, block.columns, axis=1)[:, :n_columns]
        return float_bytes(weights * of_rows, kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)


def _layout(tensor: TensorInfo, scales: TensorInfo, block: Block) -> tuple[int, int, int]:
    """Of a matrix: how many rows and columns of scales it has, and how many of its rows share one of those."""
    *stack, n_rows, n_columns = tensor.shape
    if scales.shape in ((1,), (1, 1)) and not stack:
        return 1, 1, ANY
    expected = (*stack, -(-n_rows // block.rows), -(-n_columns // block.columns))
    if _without_last_one(scales.shape) != _without_last_one(expected):
        raise _unfit(tensor, scales)
    return expected[-2], expected[-1], block.rows


def _without_last_one(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape, (rows, 1) as (rows,)."""
    return tuple(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape)


def _unfit(tensor: TensorInfo, scales: TensorInfo) -> ModelFileError:
    return ModelFileError(
        f"{scales.path}: {scales.name}, of shape {scales.shape}, does not fit weights of shape {tensor.shape}.",
        "The configuration and the weights disagree: fetch both again.",
    )
