"""Stored weights as numbers: for what must be added up, and for what must be checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints.tensor_types import TensorType
from engine.machine_code import Function, function

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def dequantizer(name: str) -> Function:
    """The kernel for a type: (address of stored weights, how many blocks, address of float32).

    It returns the largest size, and NaN where a weight is not finite. A block of plain numbers is 16 of them.
    """
    path = "dequantize.widen" if name in ("F32", "F16", "BF16") else "dequantize.dequantize"
    return function(path, "float32", "int64", "int64", "int64", made_for=(name,))


def dequantize_rows(rows: Bytes, kind: TensorType) -> Floats:
    """Rows of a tensor as numbers: uint8 (count, bytes of a row) of type `kind` → float32 (count, columns).

    The type is one of DEQUANTIZABLE.
    """
    count, row_bytes = rows.shape
    if row_bytes % kind.block_bytes:
        raise ValueError(f"rows of {row_bytes} bytes are not whole blocks of {kind.name}")
    stored = np.ascontiguousarray(rows)
    match kind.name:
        case "F32":
            return stored.view(np.float32).copy()
        case "F16":
            return stored.view(np.float16).astype(np.float32)
        case "BF16":
            return (stored.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    n_blocks = stored.size // kind.block_bytes
    numbers = np.empty((count, row_bytes // kind.block_bytes * kind.block_size), np.float32)
    dequantizer(kind.name)(stored.ctypes.data, n_blocks, numbers.ctypes.data)
    return numbers
