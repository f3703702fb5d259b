"""Sizes that kernels and those who lay memory out for them agree on. Nothing here needs Numba."""

from __future__ import annotations

from engine.kernels.records import BLOCK_BYTES, FEW_TOKENS

LANES = 16
"""Output rows, or cache positions, that lie side by side in a panel."""

BLOCK = 32
"""Columns of a block, of weights as of quantised activations."""

TOKEN_PAD = 16
"""Every buffer's rows are a multiple of this: the rows of an AMX register."""

TILE_BLOCKS = 32
"""Blocks of a panel that are unpacked at a time: 1,024 columns, about 20 kB, so that a tile stays in the L1 cache."""

TILE_BYTES = TILE_BLOCKS * LANES * BLOCK * 4
"""Scratch for the largest tile (float32)."""

RANGE = 256
"""Positions of one partial result of attention."""

ROWS_BLOCK = 64
"""Query rows (token, head) that one unit of a prompt's attention takes through the cache together."""

QUERIES_TOGETHER = 4
"""The most query rows that attention computes at once, on any processor."""

LOGITS_BLOCK = 64
"""Logits that share a maximum and a sum, so that a search skips most of a vocabulary."""

SUPERBLOCK = 256
"""Weights of a superblock of the K types."""

QUANTIZE_SCRATCH_BYTES = SUPERBLOCK * 4 * LANES + (32 + 16 + 16) * 4 * LANES + SUPERBLOCK * LANES
"""Scratch for quantising: see superblocks.py; that of plain blocks is smaller."""


def partial_floats(value_dim: int) -> int:
    """float32 of one partial result: values padded to whole vectors, then largest score, sum and padding."""
    return -(-value_dim // LANES) * LANES + LANES


def partials_floats(n_heads: int, n_kv_heads: int, value_dim: int, capacity: int) -> int:
    """float32 that the partial results of FEW_TOKENS tokens may take."""
    rows = FEW_TOKENS * n_heads // n_kv_heads + QUERIES_TOGETHER
    return n_kv_heads * (capacity // RANGE) * rows * partial_floats(value_dim)


def attention_scratch_bytes(head_dim: int) -> int:
    """Scratch that one thread needs for attention and for storing what it reads: see attention_range.py.

    head_dim: of keys; values are no wider.
    """
    limits, scores = 512, 2 * QUERIES_TOGETHER * RANGE * 4
    states = (ROWS_BLOCK + 3 * QUERIES_TOGETHER) * partial_floats(head_dim) * 4
    return max(limits + scores + states, head_blocks(head_dim) * BLOCK * 4 + BLOCK_BYTES)


def head_blocks(head_dim: int) -> int:
    """Blocks of 32 dimensions of a head."""
    return -(-head_dim // BLOCK)


def value_panels_of(value_dim: int) -> int:
    """Panels of LANES dimensions of a head's values."""
    return -(-value_dim // LANES)
