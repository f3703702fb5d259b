"""Kernels under test: one step run by itself, on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.records import (
    BATCH_FIELDS,
    BLOCK_BYTES,
    CLAIM_BYTES,
    CLAIMS,
    N_OUT,
    N_TOKENS,
    POS,
    SCRATCH,
    SCRATCH_BYTES,
    STEP_FIELDS,
    TOKENS,
    WORD_BLOCK_BYTES,
)
from engine.kernels.sizes import TILE_BYTES


class Runner:
    """Runs single steps of a program."""

    def __init__(self, scratch_bytes: int = TILE_BYTES) -> None:
        self._scratch = np.zeros(scratch_bytes, np.uint8)
        self._claim = np.zeros(CLAIM_BYTES, np.uint8)

    def __call__(self, kernel, parameters, units, *, n_tokens=1, pos=0, n_out=1, tokens=None) -> None:
        step = np.zeros(STEP_FIELDS, np.int64)
        step[4 : 4 + len(parameters)] = parameters
        batch = np.zeros(BATCH_FIELDS, np.int64)
        batch[[N_TOKENS, POS, N_OUT, SCRATCH, SCRATCH_BYTES]] = (
            n_tokens,
            pos,
            n_out,
            self._scratch.ctypes.data,
            self._scratch.size,
        )
        batch[CLAIMS] = self._claim.ctypes.data
        if tokens is not None:
            batch[TOKENS] = tokens.ctypes.data
        kernel(step.ctypes.data, batch.ctypes.data, 0, units, 0)


@pytest.fixture
def run_step() -> Runner:
    return Runner(1 << 20)


def quantize_rows(x):
    """The oracle of activation quantisation: (rows, columns) float32 to (rows, blocks, BLOCK_BYTES) uint8."""
    blocks = x.reshape(len(x), -1, 32)
    peak = np.abs(blocks).max(-1, keepdims=True)
    scale = peak * np.float32(1 / 127)
    inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 0)
    quants = np.rint(blocks * inverse).astype(np.int8)
    out = np.zeros((*blocks.shape[:2], BLOCK_BYTES), np.uint8)
    out[..., :32] = quants.view(np.uint8)
    out[..., 32:36] = scale.view(np.uint8)
    sums = quants.reshape(*blocks.shape[:2], 2, 16).sum(-1, dtype=np.int32)
    out[..., 36:44] = np.ascontiguousarray(sums).view(np.uint8).reshape(*blocks.shape[:2], 8)
    out[..., 44:48] = sums.sum(-1, keepdims=True).astype(np.float32).view(np.uint8)
    return out


def dequantized(x):
    """What the quantised activations stand for."""
    blocks = quantize_rows(x)
    scale = np.ascontiguousarray(blocks[..., 32:36]).view(np.float32)
    return (blocks[..., :32].view(np.int8) * scale).reshape(x.shape)


def widen_rows(x):
    """The oracle of activations as words: (rows, columns) float32 to (rows, blocks, WORD_BLOCK_BYTES) uint8."""
    blocks = x.reshape(len(x), -1, 32)
    peak = np.abs(blocks).max(-1, keepdims=True)
    inverse = np.divide(np.float32(8191), peak, out=np.zeros_like(peak), where=peak > 0)
    out = np.zeros((*blocks.shape[:2], WORD_BLOCK_BYTES), np.uint8)
    out[..., :64] = np.rint(blocks * inverse).astype(np.int16).view(np.uint8)
    out[..., 64:] = (peak * np.float32(1 / 8191)).view(np.uint8)
    return out


def prepared(x, reads):
    """Activations in the form that a format reads, and what they then stand for."""
    if reads == "floats":
        return x, x
    if reads == "bytes":
        return quantize_rows(x), dequantized(x)
    blocks = widen_rows(x)
    scale = np.ascontiguousarray(blocks[..., 64:]).view(np.float32)
    return blocks, (np.ascontiguousarray(blocks[..., :64]).view(np.int16) * scale).reshape(x.shape)


@pytest.fixture
def prepare_activations():
    return prepared


@pytest.fixture
def quantize():
    return quantize_rows
