"""Rows of a tensor to their places in panels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.kernels.formats import FORMATS, BlockFormat
from engine.kernels.number_formats import PanelFormat
from engine.kernels.sizes import BLOCK
from engine.machine_code import Function, function

FETCH_AGAIN = "The file is damaged or was written wrongly: fetch it again."

NUMBERS = {"F32": "pack_floats", "F16": "pack_f16", "BF16": "pack_bf16"}
"""Kernels for plain numbers; one maker has all others."""


def packer(fmt: PanelFormat) -> Function:
    """What moves rows of that type into panels."""
    name, made_for = (NUMBERS[fmt.name], ()) if fmt.name in NUMBERS else ("pack_quants", (fmt.name,))
    return function(f"pack.{name}", "int64", *("int64",) * 7, made_for=made_for)


def functions_for(types: Iterable[str]) -> list[Function]:
    """What packing tensors of these types needs, as far as they can be packed."""
    return [packer(FORMATS[name]) for name in sorted(set(types) & set(FORMATS))]


def pack_rows(fmt: PanelFormat, source: np.ndarray, target: int, panel_bytes: int, first_row: int) -> bool:
    """Move rows of a tensor (uint8, rows by bytes) to rows first_row… of the panels at address `target`.

    Returns whether all their scales and plain numbers are finite.
    """
    n_rows, row_bytes = source.shape
    if isinstance(fmt, BlockFormat):
        units = panel_bytes // fmt.super_bytes
    else:
        units = row_bytes // 4 if fmt.name == "F32" else row_bytes // 2 // BLOCK
    return not packer(fmt)(source.ctypes.data, row_bytes, n_rows, units, target, panel_bytes, first_row)
