"""A delta net's tensors of Hugging Face's format as GGUF has them.

There the value heads that share a key head lie side by side; in GGUF they take the key heads in turn: the first of each
key head, then the second of each; Qwen3-Next's stay where they are. Source: both in llama.cpp's converter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.head_order import columns_of_heads, rows_of_heads
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BY_ROWS = ("attn_qkv", "ssm_conv1d", "attn_gate", "ssm_beta", "ssm_alpha")
_BY_COLUMNS = ("ssm_out", "ssm_a", "ssm_dt")
_ONE_NUMBER = ("ssm_beta", "ssm_alpha", "ssm_a", "ssm_dt")
"""Tensors whose rows or columns belong to value heads, and those with one for each."""


def as_delta_net(tensor: TensorInfo, metadata: Metadata) -> TensorInfo:
    """The tensor, of GGUF's name already, as GGUF has it; any that is none of a delta net's stays as it is."""
    arch, part = metadata.text("general.architecture"), tensor.name.split(".")[2]
    if part == "ssm_conv1d" and len(tensor.shape) == 3 and tensor.shape[1] == 1:
        tensor = replace(tensor, shape=(tensor.shape[0], tensor.shape[2]))
    if part == "ssm_a":
        tensor = _negative_exponential(tensor)
    n_keys, n_values, dim = (
        metadata.integer(f"{arch}.ssm.{key}", low=1, high=MAX_WIDTH)
        for key in ("group_count", "time_step_rank", "state_size")
    )
    if arch == "qwen3next" or n_keys == n_values or part not in _BY_ROWS + _BY_COLUMNS:
        return tensor
    width = 1 if part in _ONE_NUMBER else dim
    begin = 2 * n_keys * dim if part in ("attn_qkv", "ssm_conv1d") else 0
    size = tensor.shape[0 if part in _BY_ROWS else -1]
    if n_values % n_keys or size != begin + n_values * width:
        raise UnsupportedModelError(
            f"{tensor.path}: heads of {tensor.name}, of shape {tensor.shape}, cannot be put in GGUF's order.",
            "Choose the model as GGUF; merge an adapter first.",
        )
    order = [group * (n_values // n_keys) + i for i in range(n_values // n_keys) for group in range(n_keys)]
    if part in _BY_ROWS:
        return rows_of_heads(tensor, begin, width, order)
    return columns_of_heads(tensor, len(order), order)


def _negative_exponential(tensor: TensorInfo) -> TensorInfo:
    kind = TYPE_BY_NAME["F32"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        return float_bytes(-np.exp(read_floats(tensor, first, count)), kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)
