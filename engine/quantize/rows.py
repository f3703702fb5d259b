"""Rows of a tensor from any type to any other that can be written, on the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints import TensorType
from engine.kernels import quantize_blocks, quantize_k_minima, quantize_k_signed, superblocks
from engine.kernels.dequantize import dequantizer
from engine.kernels.simd import LANES

HALF_LIMIT = 65520.0
"""From here on, half precision (a weight of F16, a scale of the others) rounds to infinity."""

Bytes = NDArray[np.uint8]
Kernel = Callable[[int, int, int, int], None]

_NARROW: dict[str, tuple[Kernel, int]] = {
    "F16": (quantize_blocks.narrow_f16, LANES),
    "BF16": (quantize_blocks.narrow_bf16, LANES),
    "Q4_0": (quantize_blocks.quantize_q4_0, quantize_blocks.SIZE),
    "Q4_1": (quantize_blocks.quantize_q4_1, quantize_blocks.SIZE),
    "Q5_0": (quantize_blocks.quantize_q5_0, quantize_blocks.SIZE),
    "Q5_1": (quantize_blocks.quantize_q5_1, quantize_blocks.SIZE),
    "Q8_0": (quantize_blocks.quantize_q8_0, quantize_blocks.SIZE),
    "Q2_K": (quantize_k_minima.quantize_q2_k, superblocks.SIZE),
    "Q3_K": (quantize_k_signed.quantize_q3_k, superblocks.SIZE),
    "Q4_K": (quantize_k_minima.quantize_q4_k, superblocks.SIZE),
    "Q5_K": (quantize_k_minima.quantize_q5_k, superblocks.SIZE),
    "Q6_K": (quantize_k_signed.quantize_q6_k, superblocks.SIZE),
}
"""Kernels by target type, and how many weights one of their blocks has."""

_PADDING = superblocks.SIZE * LANES
"""Kernels work on whole tiles: so many weights behind the last one may be read."""


class NotFiniteError(ValueError):
    """Among the weights is one that is no number, or infinite."""


class TooLargeError(ValueError):
    """A weight is larger than the type can hold."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self.size = size


def compile_for(source: TensorType, target: TensorType) -> None:
    """Have the kernels for this conversion ready before it begins."""
    if source == target:
        return
    dequantizer(source.name)(0, 0, 0)
    if target.name in _NARROW:
        _NARROW[target.name][0](0, 0, 0, 0)


class RowConverter:
    """Converts rows; has the memory that one thread needs for that, and reuses it."""

    def __init__(self) -> None:
        self._floats = np.zeros(0, np.float32)
        self._result = np.zeros(0, np.uint8)
        self._scratch = np.zeros(max(quantize_blocks.SCRATCH_BYTES, superblocks.SCRATCH_BYTES), np.uint8)

    def convert(self, rows: Bytes, source: TensorType, target: TensorType) -> Bytes:
        """uint8 (count, bytes of a row) in `source` to the bytes in `target`, good until the next call.

        Rows are whole blocks of both types. Raises NotFiniteError and TooLargeError.
        """
        if source == target:
            return np.ascontiguousarray(rows).reshape(-1)
        n_weights = rows.size // source.block_bytes * source.block_size
        self._widen(rows, source, n_weights, target)
        if target.name == "F32":
            return self._floats[:n_weights].view(np.uint8)
        kernel, size = _NARROW[target.name]
        n_bytes = target.row_bytes(n_weights)
        n_blocks = -(-n_weights // size)
        self._result = _at_least(self._result, target.row_bytes(n_blocks * size))
        kernel(_address(self._floats), n_blocks, _address(self._result), _address(self._scratch))
        return self._result[:n_bytes]

    def _widen(self, rows: Bytes, source: TensorType, n_weights: int, target: TensorType) -> None:
        """Weights to self._floats."""
        block = max(source.block_size, LANES)
        n_blocks = -(-n_weights // block)
        missing = source.row_bytes(n_blocks * block) - rows.size
        raw = np.pad(rows.reshape(-1), (0, missing)) if missing else np.ascontiguousarray(rows)
        self._floats = _at_least(self._floats, n_weights + _PADDING)
        peak = dequantizer(source.name)(_address(raw), n_blocks, _address(self._floats))
        if not np.isfinite(peak):
            raise NotFiniteError
        if peak >= HALF_LIMIT and target.name not in ("F32", "BF16"):
            raise TooLargeError(float(peak))


def _at_least(memory: NDArray[Any], size: int) -> NDArray[Any]:
    return memory if memory.size >= size else np.zeros(size, memory.dtype)


def _address(memory: NDArray[Any]) -> int:
    return int(memory.ctypes.data)
