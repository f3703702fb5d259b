"""Rows of a tensor from any type to any other that can be written, on the calling thread."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints import TensorType
from engine.checkpoints.dequantize import dequantizer
from engine.kernels.sizes import BLOCK, LANES, QUANTIZE_SCRATCH_BYTES, SUPERBLOCK
from engine.machine_code import Function, address_of, function, prepare
from engine.machine_code.compilers import dismiss
from engine.reports import ReportKernels

HALF_LIMIT = 65520.0
"""From here on, half precision (a weight of F16, a scale of the others) rounds to infinity."""

Bytes = NDArray[np.uint8]
_MODULES = {
    "quantize_blocks": ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    "quantize_k_minima": ("Q2_K", "Q4_K", "Q5_K"),
    "quantize_k_signed": ("Q3_K", "Q6_K"),
}
_ADDRESSES = ("int64",) * 4

_NARROW: dict[str, tuple[Function, int]] = {
    "F16": (function("quantize_blocks.narrow_f16", "void", *_ADDRESSES), LANES),
    "BF16": (function("quantize_blocks.narrow_bf16", "void", *_ADDRESSES), LANES),
} | {
    name: (
        function(f"{module}.quantize_{name.lower()}", "void", *_ADDRESSES),
        SUPERBLOCK if name.endswith("_K") else BLOCK,
    )
    for module, names in _MODULES.items()
    for name in names
}
"""Kernels by target type, and how many weights one of their blocks has."""

_PADDING = SUPERBLOCK * LANES
"""Kernels work on whole tiles: so many weights behind the last one may be read."""


class NotFiniteError(ValueError):
    """Among the weights is one that is no number, or infinite."""


class TooLargeError(ValueError):
    """A weight is larger than the type can hold."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self.size = size


def compile_for(pairs: Collection[tuple[TensorType, TensorType]], report: ReportKernels) -> None:
    """Have the kernels for conversions (from, to) ready before they begin."""
    changed = sorted({(source.name, target.name) for source, target in pairs if source != target})
    widen = [dequantizer(source) for source, _ in changed]
    narrow = [_NARROW[target][0] for _, target in changed if target in _NARROW]
    prepare([*widen, *narrow], report)
    dismiss()


class RowConverter:
    """Converts rows; has the memory that one thread needs for that, and reuses it."""

    def __init__(self) -> None:
        self._floats = np.zeros(0, np.float32)
        self._result = np.zeros(0, np.uint8)
        self._scratch = np.zeros(QUANTIZE_SCRATCH_BYTES, np.uint8)

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
        kernel(address_of(self._floats), n_blocks, address_of(self._result), address_of(self._scratch))
        return self._result[:n_bytes]

    def _widen(self, rows: Bytes, source: TensorType, n_weights: int, target: TensorType) -> None:
        """Weights to self._floats."""
        block = max(source.block_size, LANES)
        n_blocks = -(-n_weights // block)
        missing = source.row_bytes(n_blocks * block) - rows.size
        raw = np.pad(rows.reshape(-1), (0, missing)) if missing else np.ascontiguousarray(rows)
        self._floats = _at_least(self._floats, n_weights + _PADDING)
        peak = dequantizer(source.name)(address_of(raw), n_blocks, address_of(self._floats))
        if not np.isfinite(peak):
            raise NotFiniteError
        if peak >= HALF_LIMIT and target.name not in ("F32", "BF16"):
            raise TooLargeError(float(peak))


def _at_least(memory: NDArray[Any], size: int) -> NDArray[Any]:
    return memory if memory.size >= size else np.zeros(size, memory.dtype)
