"""Rows of a GGUF tensor into panels: the bytes of a block move, none of them changes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types

from engine.kernels.formats import PanelFormat, QuantFormat
from engine.kernels.jit import OPTIONS
from engine.kernels.simd import I16, I32, LANES, Emit, emitted


def _copier(kind: ir.Type) -> Any:
    @emitted(lambda source, target: types.void(types.int64, types.int64))
    def copy(e: Emit, _types: Any, source: ir.Value, target: ir.Value) -> None:
        e.store(e.load(source, kind), target)

    return copy


copy_2, copy_4 = _copier(I16), _copier(I32)


@njit(cache=True, **OPTIONS)
def pack_rows(source, row_bytes, n_rows, n_blocks, halves, unit, units, target, panel_bytes, first_row):
    """Move n_rows rows to rows first_row… of the panels at target.

    A source block is `halves` half-precision scales, then `units` pieces of `unit` bytes (2 or 4); in the panel every
    such piece stands beside the same piece of the other rows.
    """
    source_block = 2 * halves + unit * units
    target_block = source_block * LANES
    for row in range(n_rows):
        lane = (first_row + row) % LANES
        out = target + (first_row + row) // LANES * panel_bytes
        for block in range(n_blocks):
            src = source + row * row_bytes + block * source_block
            dst = out + block * target_block
            for i in range(halves):
                copy_2(src + 2 * i, dst + (i * LANES + lane) * 2)
            src += 2 * halves
            dst += 2 * halves * LANES
            if unit == 4:
                for i in range(units):
                    copy_4(src + 4 * i, dst + (i * LANES + lane) * 4)
            else:
                for i in range(units):
                    copy_2(src + 2 * i, dst + (i * LANES + lane) * 2)


def pack_arguments(fmt: PanelFormat) -> tuple[int, int, int]:
    """(halves, unit, units) of a source block of 32 columns for pack_rows."""
    if isinstance(fmt, QuantFormat):
        halves = 1 + fmt.has_min
        return halves, 4, (fmt.block_bytes // LANES - 2 * halves) // 4
    size = fmt.block_bytes // LANES // 32
    return 0, size, 32
