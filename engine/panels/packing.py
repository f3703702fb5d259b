"""Rows of a tensor to their places in panels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.kernels.formats import FORMATS, BlockFormat
from engine.kernels.number_formats import PanelFormat
from engine.kernels.sizes import BLOCK
from engine.machine_code import Function, function

PACK_QUANTS = function("pack.pack_quants", "void", *("int64",) * 15)
PACK_NUMBERS = {
    name: function(f"pack.pack_{kernel}", "void", *("int64",) * 7)
    for name, kernel in {"F32": "floats", "F16": "f16", "BF16": "bf16"}.items()
}

KINDS = tuple(FORMATS)
"""What the kernel calls the types: their number."""


def functions_for(types: Iterable[str]) -> list[Function]:
    """What packing tensors of these types needs."""
    names = set(types)
    found = [pack for name, pack in PACK_NUMBERS.items() if name in names]
    return [*found, PACK_QUANTS] if names - set(PACK_NUMBERS) else found


def pack_rows(fmt: PanelFormat, source: np.ndarray, target: int, panel_bytes: int, first_row: int) -> None:
    """Move rows of a tensor (uint8, rows by bytes) to rows first_row… of the panels at address `target`."""
    n_rows, row_bytes = source.shape
    if not isinstance(fmt, BlockFormat):
        columns = row_bytes // 4 if fmt.name == "F32" else row_bytes // 2 // BLOCK
        PACK_NUMBERS[fmt.name](source.ctypes.data, row_bytes, n_rows, columns, target, panel_bytes, first_row)
        return
    n_supers = panel_bytes // fmt.super_bytes
    layout = (fmt.per_super, fmt.halves, fmt.head_bytes, fmt.scale_bytes, fmt.high, fmt.low)
    PACK_QUANTS(
        KINDS.index(fmt.name), source.ctypes.data, row_bytes, n_rows, n_supers, row_bytes // n_supers,
        target, panel_bytes, first_row, *layout,
    )  # fmt: skip
