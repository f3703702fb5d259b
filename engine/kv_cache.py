"""Keys and values of the positions read so far, in half precision; grows by doubling up to the context's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.attention import RANGE, partials_floats
from engine.kernels.formats import BLOCK
from engine.kernels.rows import CAPACITY, KEYS, PARTIALS, VALUES
from engine.kernels.simd import LANES

FIRST_CAPACITY = 1024
"""Positions reserved at first."""


class KVCache:
    """The cache's memory, and its part of the shape record that kernels read.

    keys: float16 (n_layers, n_kv_heads, capacity / LANES, head_pad, LANES): panels of positions.
    values: float16 (n_layers, n_kv_heads, head_dim / LANES, capacity, LANES): panels of dimensions.
    """

    def __init__(
        self, shape: np.ndarray, n_layers: int, n_heads: int, n_kv_heads: int, head_dim: int, max_seq_len: int
    ) -> None:
        self.max_seq_len = max_seq_len
        self._shape = shape
        self._sizes = (n_layers, n_heads, n_kv_heads, head_dim)
        self.capacity = 0
        self.keys: NDArray[np.float16] = np.zeros(0, np.float16)
        self.values: NDArray[np.float16] = np.zeros(0, np.float16)
        self.partials: NDArray[np.float32] = np.zeros(0, np.float32)
        self.reserve(min(FIRST_CAPACITY, max_seq_len))

    @staticmethod
    def bytes_per_token(n_layers: int, n_kv_heads: int, head_dim: int) -> int:
        """What one position takes."""
        return n_layers * n_kv_heads * 2 * (_padded(head_dim, BLOCK) + _padded(head_dim, LANES))

    @property
    def n_bytes(self) -> int:
        """What is reserved."""
        return int(self.keys.nbytes + self.values.nbytes + self.partials.nbytes)

    def reserve(self, n_positions: int) -> None:
        """Make room for so many positions; what was stored stays. No kernel may be running."""
        if n_positions <= self.capacity:
            return
        n_layers, n_heads, n_kv_heads, head_dim = self._sizes
        wanted = max(n_positions, min(2 * self.capacity, self.max_seq_len))
        capacity = _padded(wanted, RANGE)
        keys = np.zeros((n_layers, n_kv_heads, capacity // LANES, _padded(head_dim, BLOCK), LANES), np.float16)
        values = np.zeros((n_layers, n_kv_heads, _padded(head_dim, LANES) // LANES, capacity, LANES), np.float16)
        if self.capacity:
            keys[:, :, : self.capacity // LANES] = self.keys
            values[:, :, :, : self.capacity] = self.values
        self.keys, self.values, self.capacity = keys, values, capacity
        self.partials = np.zeros(partials_floats(n_heads, n_kv_heads, head_dim, capacity), np.float32)
        self._shape[CAPACITY] = capacity
        self._shape[KEYS] = keys.ctypes.data
        self._shape[VALUES] = values.ctypes.data
        self._shape[PARTIALS] = self.partials.ctypes.data


def _padded(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
