"""Keys and values of the positions read so far; grows by doubling up to the context's size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.errors import ContextFullError
from engine.kernels.kv_types import kv_type
from engine.kernels.records import CAPACITY, KEYS, PARTIALS, VALUE_SCALES, VALUES
from engine.kernels.sizes import LANES, RANGE, head_blocks, partials_floats, value_panels_of

FIRST_CAPACITY = 1024
"""Positions reserved at first."""


class KVCache:
    """The cache's memory, and its part of the shape record that kernels read.

    kv_name: "f16" or "q8_0". All arrays are uint8, with axes (n_layers, n_kv_heads, …): keys (…, capacity / LANES,
    bytes of a panel); values (…, head_dim / LANES, capacity, bytes of LANES values); value_scales (…, head_dim / 32,
    capacity, 2), with capacity 0 where values have none. See kernels/cache_layout.py.
    """

    def __init__(self, shape: NDArray[np.int64], config: ModelConfig, max_seq_len: int, kv_name: str) -> None:
        self.shape, self.max_seq_len, self.kv_name = shape, max_seq_len, kv_name
        self._config, self._kv = config, kv_type(kv_name)
        self.capacity = 0
        self.keys, self.values, self.value_scales = self._arrays(0)
        self.partials: NDArray[np.float32] = np.zeros(0, np.float32)
        self.reserve(min(FIRST_CAPACITY, max_seq_len))

    @staticmethod
    def bytes_per_token(config: ModelConfig, kv_name: str) -> int:
        """What one position takes."""
        kv, head_dim = kv_type(kv_name), config.head_dim
        keys = kv.key_panel_bytes(head_dim) // LANES
        values = value_panels_of(head_dim) * kv.value_bytes + 2 * head_blocks(head_dim) * kv.scaled
        return config.n_layers * config.n_kv_heads * (keys + values)

    @property
    def n_bytes(self) -> int:
        """What is reserved."""
        return int(self.keys.nbytes + self.values.nbytes + self.value_scales.nbytes + self.partials.nbytes)

    def reserve(self, n_positions: int) -> None:
        """Make room for so many positions; what was stored stays. No kernel may be running."""
        if n_positions <= self.capacity:
            return
        config = self._config
        wanted = max(n_positions, min(2 * self.capacity, self.max_seq_len))
        capacity = -(-wanted // RANGE) * RANGE
        keys, values, scales = self._arrays(capacity)
        keys[:, :, : self.capacity // LANES] = self.keys
        values[:, :, :, : self.capacity] = self.values
        scales[:, :, :, : self.capacity] = self.value_scales
        self.keys, self.values, self.value_scales, self.capacity = keys, values, scales, capacity
        self.partials = np.zeros(
            partials_floats(config.n_heads, config.n_kv_heads, config.head_dim, capacity), np.float32
        )
        self.shape[CAPACITY] = capacity
        self.shape[KEYS], self.shape[VALUES] = keys.ctypes.data, values.ctypes.data
        self.shape[VALUE_SCALES], self.shape[PARTIALS] = scales.ctypes.data, self.partials.ctypes.data

    def _arrays(self, capacity: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        kv, head_dim, heads = self._kv, self._config.head_dim, (self._config.n_layers, self._config.n_kv_heads)
        keys = np.zeros((*heads, capacity // LANES, kv.key_panel_bytes(head_dim)), np.uint8)
        values = np.zeros((*heads, value_panels_of(head_dim), capacity, kv.value_bytes), np.uint8)
        scales = np.zeros((*heads, head_blocks(head_dim), capacity if kv.scaled else 0, 2), np.uint8)
        return keys, values, scales

    @property
    def layout(self) -> str:
        """Names the order and type of what `save` writes."""
        config = self._config
        return f"{self.kv_name} {config.n_layers} {config.n_kv_heads} {config.head_dim} {LANES} 2"

    def saved_bytes(self, n_positions: int) -> int:
        """What `save` writes for so many positions."""
        return -(-n_positions // LANES) * LANES * self.bytes_per_token(self._config, self.kv_name)

    def save(self, file: BinaryIO, n_positions: int) -> None:
        """Write the first positions, layer by layer: keys, values, their scales, in whole panels."""
        for part in self._parts(n_positions):
            file.write(np.ascontiguousarray(part).data)

    def restore(self, path: str | Path, offset: int, n_positions: int) -> None:
        """Take back what `save` wrote at an offset of a file."""
        if n_positions > self.max_seq_len:
            raise ContextFullError(n_positions, self.max_seq_len)
        self.reserve(n_positions)
        saved = np.memmap(path, np.uint8, "r", offset, (self.saved_bytes(n_positions),))
        at = 0
        for part in self._parts(n_positions):
            part[:] = saved[at : at + part.size].reshape(part.shape)
            at += part.size

    def _parts(self, n_positions: int) -> Iterator[NDArray[np.uint8]]:
        """Views of what the first positions take, in whole panels."""
        panels = -(-n_positions // LANES)
        for keys, values, scales in zip(self.keys, self.values, self.value_scales, strict=True):
            yield keys[:, :panels]
            yield values[:, :, : panels * LANES]
            yield scales[:, :, : panels * LANES]
