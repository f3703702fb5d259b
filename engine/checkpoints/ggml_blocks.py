"""The blocks of 2023 as today's: nibbles that were neighbours put half a block apart, scales from 32 to 16 bits.

Nothing else is lost or changed. Source of the layouts: the history of ggml.c in the llama.cpp repository.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Convert = Callable[[Bytes], Bytes]
"""Contiguous old rows, uint8 (count, bytes of an old row), to today's: uint8 (count, bytes of a row)."""

Records = NDArray[Any]
"""Blocks with named fields, (blocks,)."""

AT_ONCE = 4096
"""Blocks converted together: what the processor's cache holds."""

SPREADING = tuple(
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F))
)
"""Steps that give each of a 32-bit word's eight nibbles a byte of its own, in order."""


def float_blocks(n_scales: int, *, pairs: bool) -> Convert:
    """Blocks of so many f32 scales and 16 bytes of nibbles, in pairs or already in halves: Q4_0 and Q4_1."""
    old_type = np.dtype([("scales", "<f4", (n_scales,)), ("nibbles", "<u4", (4,))])

    def convert(rows: Bytes) -> Bytes:
        old = rows.reshape(-1).view(old_type)
        return _converted(len(rows), old["scales"], old["nibbles"], pairs=pairs)

    return convert


def whole_rows(n_scales: int) -> Convert:
    """Rows of 10 March 2023: all scales of a row, then all its nibbles in pairs. Of Q4_1 the minima come first."""

    def convert(rows: Bytes) -> Bytes:
        count, row_bytes = rows.shape
        n_blocks = row_bytes // (4 * n_scales + 16)
        cut = 4 * n_scales * n_blocks
        by_kind = np.ascontiguousarray(rows[:, :cut]).view("<f4").reshape(count, n_scales, n_blocks)
        scales = by_kind[:, ::-1].swapaxes(1, 2).reshape(-1, n_scales)
        return _converted(count, scales, np.ascontiguousarray(rows[:, cut:]).view("<u4").reshape(-1, 4), pairs=True)

    return convert


def five_bits(head: int) -> Convert:
    """Q5_0 and Q5_1 before May 2023: only their nibbles lay otherwise. head: bytes before them."""
    old_type = np.dtype([("head", f"V{head}"), ("nibbles", "<u4", (4,))])
    new_type = np.dtype([("head", f"V{head}"), ("nibbles", "<u8", (2,))])

    def convert(rows: Bytes) -> Bytes:
        old = rows.reshape(-1).view(old_type)
        new = np.empty(len(old), new_type)
        new["head"] = old["head"]
        for i in range(0, len(old), AT_ONCE):
            pairs_to_halves(old["nibbles"][i : i + AT_ONCE], new["nibbles"][i : i + AT_ONCE])
        return new.view(np.uint8).reshape(len(rows), -1)

    return convert


def eight_bits(rows: Bytes) -> Bytes:
    """Q8_0 before ggjt v3: an f32 scale, then 32 signed bytes."""
    old = rows.reshape(-1).view(np.dtype([("scale", "<f4"), ("quants", "V32")]))
    new = np.empty(len(old), np.dtype([("scale", "<f2"), ("quants", "V32")]))
    new["quants"] = old["quants"]
    with np.errstate(all="ignore"):
        new["scale"] = old["scale"]
    return new.view(np.uint8).reshape(len(rows), -1)


def pairs_to_halves(old: Records, new: Records) -> None:
    """Nibbles of blocks of 32, from byte j = elements 2j and 2j + 1 to byte j = elements j and j + 16.

    old: uint32 (blocks, 4). new: uint64 (blocks, 2), written.
    """
    words = np.ascontiguousarray(old.T).astype(np.uint64)
    shifted = np.empty_like(words)
    for shift, mask in SPREADING:
        np.left_shift(words, shift, out=shifted)
        words |= shifted
        words &= mask
    words[2:] <<= np.uint64(4)
    words[:2] |= words[2:]
    new[:, 0], new[:, 1] = words[0], words[1]


def _converted(n_rows: int, scales: Records, nibbles: Records, *, pairs: bool) -> Bytes:
    """Rows of blocks with f16 scales from f32 scales, (blocks, scales of each), and nibbles, uint32 (blocks, 4)."""
    n_scales = scales.shape[1]
    new = np.empty(len(scales), np.dtype([("scales", "<f2", (n_scales,)), ("nibbles", "<u8", (2,))]))
    for i in range(0, len(new), AT_ONCE):
        piece = slice(i, i + AT_ONCE)
        with np.errstate(all="ignore"):
            for scale in range(n_scales):
                new["scales"][piece, scale] = scales[piece, scale]
        if pairs:
            pairs_to_halves(nibbles[piece], new["nibbles"][piece])
        else:
            new["nibbles"][piece] = np.ascontiguousarray(nibbles[piece]).view("<u8")
    return new.view(np.uint8).reshape(n_rows, -1)
