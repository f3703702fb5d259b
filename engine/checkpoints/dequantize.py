"""Stored weights as numbers, in plain NumPy: for what must be added up, and for what must be checked.

Source of the block layouts: ggml-common.h and ggml-quants.c in the llama.cpp repository.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints.tensor_types import TensorType
from engine.errors import UnsupportedModelError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def dequantize_rows(rows: Bytes, kind: TensorType) -> Floats:
    """Rows of a tensor as numbers: uint8 (count, bytes of a row) of type `kind` → float32 (count, columns).

    Raises UnsupportedModelError for types that are not read here.
    """
    try:
        dequantize_blocks = _BLOCKS[kind.name]
    except KeyError:
        raise UnsupportedModelError(
            f"Weights stored as {kind.name} cannot be turned into numbers here.",
            f"These can: {', '.join(_BLOCKS)}.",
        ) from None
    count, row_bytes = rows.shape
    if row_bytes % kind.block_bytes:
        raise ValueError(f"rows of {row_bytes} bytes are not whole blocks of {kind.name}")
    blocks = np.ascontiguousarray(rows).reshape(-1, kind.block_bytes)
    return dequantize_blocks(blocks).reshape(count, row_bytes // kind.block_bytes * kind.block_size)


def can_dequantize(kind: TensorType) -> bool:
    """Whether dequantize_rows reads this type."""
    return kind.name in _BLOCKS


def _f32(blocks: Bytes) -> Floats:
    return blocks.view(np.float32).copy()


def _f16(blocks: Bytes) -> Floats:
    return blocks.view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (blocks.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_fields(blocks[:, 2:18], 4, 16).astype(np.float32) - np.float32(8))


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _fields(blocks[:, 4:20], 4, 16).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_five_bits(blocks[:, 2:6], blocks[:, 6:22]) - np.float32(16))


def _q5_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _five_bits(blocks[:, 4:8], blocks[:, 8:24]) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * blocks[:, 2:34].view(np.int8).astype(np.float32)


def _q2_k(blocks: Bytes) -> Floats:
    """16 groups of 16: a nibble of scale and one of minimum each, then two bits a weight."""
    groups = blocks[:, 0:16]
    scale = _half(blocks, 80) * (groups & 15).astype(np.float32)
    minimum = _half(blocks, 82) * (groups >> 4).astype(np.float32)
    values = _fields(blocks[:, 16:80], 2, 32).reshape(-1, 16, 16).astype(np.float32)
    return _flat(scale[:, :, None] * values - minimum[:, :, None])


def _q3_k(blocks: Bytes) -> Floats:
    """16 groups of 16 with a 6-bit scale each; the third bit of a weight is inverted: absent, it takes 4 away."""
    low, high = _fields(blocks[:, 96:104], 4, 8), _fields(blocks[:, 104:108], 2, 4)
    scale = _half(blocks, 108) * ((low | high << 4).astype(np.float32) - np.float32(32))
    values = _fields(blocks[:, 32:96], 2, 32) | _fields(blocks[:, 0:32], 1, 32) << 2
    return _flat(scale[:, :, None] * (values.reshape(-1, 16, 16).astype(np.float32) - np.float32(4)))


def _q4_k(blocks: Bytes) -> Floats:
    scale, minimum = _scales_and_minima(blocks)
    values = _fields(blocks[:, 16:144], 4, 32).reshape(-1, 8, 32).astype(np.float32)
    return _flat(scale * values - minimum)


def _q5_k(blocks: Bytes) -> Floats:
    scale, minimum = _scales_and_minima(blocks)
    values = _fields(blocks[:, 48:176], 4, 32) | _fields(blocks[:, 16:48], 1, 32) << 4
    return _flat(scale * values.reshape(-1, 8, 32).astype(np.float32) - minimum)


def _q6_k(blocks: Bytes) -> Floats:
    """16 groups of 16 with an 8-bit scale each; four bits of a weight in one place, two in another."""
    values = _fields(blocks[:, 0:128], 4, 64) | _fields(blocks[:, 128:192], 2, 32) << 4
    scale = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return _flat(scale[:, :, None] * (values.reshape(-1, 16, 16).astype(np.float32) - np.float32(32)))


def _half(blocks: Bytes, at: int) -> Floats:
    """The half-precision number at this byte of each block: (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _fields(raw: Bytes, bits: int, width: int) -> Bytes:
    """Fields of so many bits: of each run of `width` bytes first the lowest fields, then the next higher ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    runs = raw.reshape(len(raw), -1, 1, width)
    fields: Bytes = (runs >> shifts & np.uint8((1 << bits) - 1)).reshape(len(raw), -1)
    return fields


def _five_bits(high: Bytes, low: Bytes) -> Floats:
    """Weights of which the lower four bits are nibbles and the fifth is a bit of a 32-bit number."""
    fifth = np.unpackbits(np.ascontiguousarray(high), axis=1, bitorder="little")
    return (_fields(low, 4, 16) | fifth << 4).astype(np.float32)


def _scales_and_minima(blocks: Bytes) -> tuple[Floats, Floats]:
    """Scale and minimum of the 8 groups of a Q4_K or Q5_K block, 6 bits each in 12 bytes: (blocks, 8, 1) twice.

    Bytes 0-3 and 4-7 begin the first four scales and minima; their top two bits belong to the last four, whose lower
    bits are the nibbles of bytes 8-11.
    """
    first, second, rest = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([first & 63, rest & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    return (
        (_half(blocks, 0) * scales.astype(np.float32))[:, :, None],
        (_half(blocks, 2) * minima.astype(np.float32))[:, :, None],
    )


def _flat(values: Floats) -> Floats:
    return values.reshape(len(values), -1)


_BLOCKS: dict[str, Callable[[Bytes], Floats]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
"""Each takes uint8 (blocks, bytes of a block)."""
