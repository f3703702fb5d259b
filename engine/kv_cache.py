"""Keys and values of the positions read so far; grows by doubling up to the context's size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.errors import ContextFullError
from engine.kernels.kv_types import kv_type
from engine.kernels.records import CACHE, CAPACITY, KEY_PAIR_BYTES, PARTIALS, RANGE_BYTES, SCALES_AT, VALUES_AT
from engine.kernels.sizes import BLOCK, LANES, RANGE, partials_floats, value_panels_of
from engine.memory import forget

FIRST_CAPACITY = 1024
"""Positions reserved at first."""


ALIGNMENT = 4096
"""Vectors that lie on cache lines are read faster."""


class KVCache:
    """The cache's memory, and its part of the shape record that kernels read.

    kv_name: "f16" or "q8_0". ranges: uint8 (n_layers, n_kv_heads, capacity / RANGE, bytes of a range); see
    kernels/cache_layout.py.
    """

    def __init__(self, shape: NDArray[np.int64], config: ModelConfig, max_seq_len: int, kv_name: str) -> None:
        self.shape, self.max_seq_len, self.kv_name = shape, max_seq_len, kv_name
        self._config, self._kv = config, kv_type(kv_name)
        self._part_bytes = keys, values, scales = self._kv.range_parts(config.head_dim)
        shape[KEY_PAIR_BYTES], shape[VALUES_AT] = 2 * self._kv.key_panel_bytes(config.head_dim), keys
        shape[SCALES_AT], shape[RANGE_BYTES] = keys + values, keys + values + scales
        self.ranges = self._zeros(0)
        self.partials: NDArray[np.float32] = np.zeros(0, np.float32)
        self.reserve(min(FIRST_CAPACITY, max_seq_len))

    @staticmethod
    def bytes_per_token(config: ModelConfig, kv_name: str) -> int:
        """What one position takes."""
        range_bytes = sum(kv_type(kv_name).range_parts(config.head_dim))
        return config.n_layers * config.n_kv_heads * range_bytes // RANGE

    @property
    def capacity(self) -> int:
        """Positions that there is room for."""
        return int(self.ranges.shape[2]) * RANGE

    @property
    def n_bytes(self) -> int:
        """What is reserved."""
        return int(self.ranges.nbytes + self.partials.nbytes)

    def reserve(self, n_positions: int, *, keep: bool = False) -> None:
        """Make room for so many positions. No kernel may be running.

        keep: whether what was stored stays. Each layer is forgotten when it is copied, so that no more than the new
        room is ever taken.
        """
        if n_positions <= self.capacity:
            return
        config = self._config
        wanted = max(n_positions, min(2 * self.capacity, self.max_seq_len))
        if not keep:
            self.ranges = self._zeros(0)
        ranges = self._zeros(-(-wanted // RANGE))
        capacity = int(ranges.shape[2]) * RANGE
        partials = np.zeros(partials_floats(config.n_heads, config.n_kv_heads, config.head_dim, capacity), np.float32)
        # All memory is there: from here on nothing fails half-way.
        for layer, old in zip(ranges, self.ranges, strict=True):
            layer[:, : old.shape[1]] = old
            forget(old)
        self.ranges, self.partials = ranges, partials
        self.shape[CAPACITY], self.shape[CACHE] = self.capacity, ranges.ctypes.data
        self.shape[PARTIALS] = self.partials.ctypes.data

    def _zeros(self, n_ranges: int) -> NDArray[np.uint8]:
        shape = (self._config.n_layers, self._config.n_kv_heads, n_ranges, sum(self._part_bytes))
        memory = np.zeros(int(np.prod(shape)) + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + int(np.prod(shape))].reshape(shape)

    @property
    def layout(self) -> str:
        """Names the order and type of what `save` writes."""
        config = self._config
        return f"{self.kv_name} {config.n_layers} {config.n_kv_heads} {config.head_dim} {LANES} {RANGE} 4"

    def saved_bytes(self, n_positions: int) -> int:
        """What `save` writes for so many positions."""
        return -(-n_positions // BLOCK) * BLOCK * self.bytes_per_token(self._config, self.kv_name)

    def save(self, file: BinaryIO, n_positions: int) -> int:
        """Write the first positions, layer by layer: whole ranges, then what the last one has, in whole blocks.

        Returns the sum of the words that were written, modulo 2^64.
        """
        total = 0
        for part in self._parts(n_positions):
            whole = np.ascontiguousarray(part)
            file.write(whole.data)
            total += _sum(whole)
        return total % (1 << 64)

    def restore(self, file: BinaryIO, offset: int, n_positions: int) -> int:
        """Take back what `save` wrote at an offset of an open file; returns the sum of its words."""
        if n_positions > self.max_seq_len:
            raise ContextFullError(n_positions, self.max_seq_len)
        self.reserve(n_positions, keep=True)
        saved = np.memmap(file, np.uint8, "r", offset, (self.saved_bytes(n_positions),))
        at = total = 0
        for part in self._parts(n_positions):
            whole = np.array(saved[at : at + part.size])
            part[:] = whole.reshape(part.shape)
            total += _sum(whole)
            at += part.size
        return total % (1 << 64)

    def _parts(self, n_positions: int) -> Iterator[NDArray[np.uint8]]:
        """Views of what the first positions take, in whole blocks."""
        whole, rest = divmod(n_positions, RANGE)
        for layer in self.ranges:
            yield layer[:, :whole]
            if rest:
                yield from self._parts_of_range(layer[:, whole], -(-rest // BLOCK))

    def _parts_of_range(self, ranges: NDArray[np.uint8], blocks: int) -> Iterator[NDArray[np.uint8]]:
        """Views of the first blocks of positions in one range of each head: keys, values pair by pair, scales."""
        heads, kv, all_blocks = len(ranges), self._kv, RANGE // BLOCK
        keys, values, scales = np.split(ranges, np.cumsum(self._part_bytes)[:-1], axis=1)
        yield keys.reshape(heads, all_blocks, -1)[:, :blocks]
        panels = value_panels_of(self._config.head_dim)
        pair_bytes = 2 * RANGE * kv.value_bytes
        for first in range(0, panels, 2):
            pair = values[:, first // 2 * pair_bytes : (first // 2 + 1) * pair_bytes]
            yield pair.reshape(heads, all_blocks, -1)[:, :blocks]
        yield scales.reshape(heads, kv.scales_of(self._config.head_dim), all_blocks, -1)[:, :, :blocks]


def _sum(values: NDArray[np.uint8]) -> int:
    """The sum of 64-bit words; every part of a cache is made of whole ones."""
    return int(values.reshape(-1).view(np.uint64).sum(dtype=np.uint64))
