"""Rows of a tensor to their places in panels."""

from __future__ import annotations

import numpy as np

from engine.kernels.formats import FORMATS, BlockFormat, PanelFormat
from engine.kernels.sizes import BLOCK, LANES
from engine.machine_code import function

PACK_QUANTS = function("pack.pack_quants", "void", *("int64",) * 14)
PACK_FLOATS = function("pack.pack_floats", "void", *("int64",) * 8)
FUNCTIONS = (PACK_QUANTS, PACK_FLOATS)

KINDS = tuple(FORMATS)
"""What the kernel calls the types: their number."""


def pack_rows(fmt: PanelFormat, source: np.ndarray, target: int, panel_bytes: int, first_row: int) -> None:
    """Move rows of a tensor (uint8, rows by bytes) to rows first_row… of the panels at address `target`."""
    n_rows, row_bytes = source.shape
    if not isinstance(fmt, BlockFormat):
        item = fmt.block_bytes // LANES // BLOCK
        PACK_FLOATS(source.ctypes.data, row_bytes, n_rows, row_bytes // item, item, target, panel_bytes, first_row)
        return
    n_supers = panel_bytes // fmt.super_bytes
    layout = (fmt.per_super, fmt.halves, fmt.scale_bytes, fmt.high, fmt.low)
    PACK_QUANTS(
        KINDS.index(fmt.name), source.ctypes.data, row_bytes, n_rows, n_supers, row_bytes // n_supers,
        target, panel_bytes, first_row, *layout,
    )  # fmt: skip
