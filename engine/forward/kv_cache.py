"""Keys and values of the positions read so far; grows by doubling up to the context's size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.architecture.config import Attention, ModelConfig
from engine.errors import ContextFullError
from engine.forward.program import aligned_zeros, float_bits
from engine.kernels import records
from engine.kernels.kv_types import kv_type
from engine.kernels.records import CACHE, CAPACITY, KEY_PAIR_BYTES, PARTIALS, RANGE_BYTES, SCALES_AT, VALUES_AT
from engine.kernels.sizes import BLOCK, LANES, RANGE, head_blocks, partials_floats, value_panels_of
from engine.memory import forget

FIRST_CAPACITY = 1024
"""Positions reserved at first."""

ALIGNMENT = 4096
"""Vectors that lie on cache lines are read faster."""

SPARE_QUERIES = 32
"""Query rows after the last one of a key-value head, for rows that are taken together."""


class KVCache:
    """The memory for all layers' keys and values: a part for each shape that their attention has.

    kv_name: "f16" or "q8_0". A layer that does not attend has no place in it; one that shares has another's.
    """

    def __init__(self, config: ModelConfig, batch_size: int, max_seq_len: int, kv_name: str) -> None:
        self.max_seq_len, self.kv_name = max_seq_len, kv_name
        own = _own_layers(config)
        records_of = {shape: attention_record(config, shape, batch_size, kv_name) for shape in own}
        self.parts = {shape: CachePart(records_of[shape], shape, len(own[shape]), kv_name) for shape in own}
        self._places = {layer: (self.parts[shape], place) for shape in own for place, layer in enumerate(own[shape])}
        self._attention = config.attention
        self.partials: NDArray[np.float32] = np.zeros(0, np.float32)
        self._bytes_per_token = self.bytes_per_token(config, kv_name)
        self.reserve(min(FIRST_CAPACITY, max_seq_len))

    @staticmethod
    def bytes_per_token(config: ModelConfig, kv_name: str) -> int:
        """What one position takes."""
        ranges = (
            len(layers) * shape.n_kv_heads * sum(kv_type(kv_name).range_parts(shape.head_dim, shape.value_dim))
            for shape, layers in _own_layers(config).items()
        )
        return sum(ranges) // RANGE

    def place(self, layer: int) -> tuple[CachePart, int]:
        """The part that has the keys and values which a layer reads, and which of that part's layers they are."""
        shared_from = self._attention[layer].shared_from
        return self._places[layer if shared_from is None else shared_from]

    @property
    def capacity(self) -> int:
        """Positions that there is room for."""
        return min((part.capacity for part in self.parts.values()), default=self.max_seq_len)

    @property
    def n_bytes(self) -> int:
        """What is reserved."""
        return sum(int(part.ranges.nbytes) for part in self.parts.values()) + int(self.partials.nbytes)

    def reserve(self, n_positions: int, *, keep: bool = False) -> None:
        """Make room for so many positions. No kernel may be running.

        keep: whether what was stored stays. Each layer is forgotten when it is copied, so that no more than the new
        room is ever taken.
        """
        if n_positions <= self.capacity:
            return
        wanted = max(n_positions, min(2 * self.capacity, self.max_seq_len))
        n_ranges = -(-wanted // RANGE)
        parts = list(self.parts.values())
        if not keep:
            for part in parts:
                part.ranges = part.zeros(0)
        ranges = [part.zeros(n_ranges) for part in parts]
        partials = np.zeros(max(part.partials_floats(n_ranges * RANGE) for part in parts), np.float32)
        # All memory is there: from here on nothing fails half-way.
        self.partials = partials
        for part, new in zip(parts, ranges, strict=True):
            part.move(new, partials)

    @property
    def layout(self) -> str:
        """Names the order and type of what `save` writes."""
        parts = (
            f"{len(p.ranges)} {shape.n_kv_heads} {shape.head_dim}"
            + (f" {shape.value_dim}" if shape.value_dim != shape.head_dim else "")
            for shape, p in self.parts.items()
        )
        return f"{self.kv_name} {', '.join(parts)}, {LANES} {RANGE} 5"

    def saved_bytes(self, n_positions: int) -> int:
        """What `save` writes for so many positions."""
        return -(-n_positions // BLOCK) * BLOCK * self._bytes_per_token

    def save(self, file: BinaryIO, n_positions: int) -> int:
        """Write the first positions, layer by layer: whole ranges, then what the last one has, in whole blocks.

        Returns the sum of the words that were written, modulo 2^64.
        """
        total = 0
        for piece in self._pieces(n_positions):
            whole = np.ascontiguousarray(piece)
            file.write(whole.data)
            total += sum_of_words(whole)
        return total % (1 << 64)

    def restore(self, file: BinaryIO, offset: int, n_positions: int) -> int:
        """Take back what `save` wrote at an offset of an open file; returns the sum of its words."""
        if n_positions > self.max_seq_len:
            raise ContextFullError(n_positions, self.max_seq_len)
        self.reserve(n_positions, keep=True)
        if not self.parts:
            return 0
        saved = np.memmap(file, np.uint8, "r", offset, (self.saved_bytes(n_positions),))
        at = total = 0
        for piece in self._pieces(n_positions):
            whole = np.array(saved[at : at + piece.size])
            piece[:] = whole.reshape(piece.shape)
            total += sum_of_words(whole)
            at += piece.size
        return total % (1 << 64)

    def _pieces(self, n_positions: int) -> Iterator[NDArray[np.uint8]]:
        return chain.from_iterable(part.pieces(n_positions) for part in self.parts.values())


class CachePart:
    """The memory for layers whose attention has one shape, and the shape record that kernels read.

    ranges: uint8 (layers, n_kv_heads, capacity / RANGE, bytes of a range); see kernels/cache_layout.py.
    """

    def __init__(self, record: NDArray[np.int64], shape: Attention, n_layers: int, kv_name: str) -> None:
        self.record, self._shape, self._n_layers, self._kv = record, shape, n_layers, kv_type(kv_name)
        self._section_bytes = keys, values, scales = self._kv.range_parts(shape.head_dim, shape.value_dim)
        record[KEY_PAIR_BYTES], record[VALUES_AT] = 2 * self._kv.key_panel_bytes(shape.head_dim), keys
        record[SCALES_AT], record[RANGE_BYTES] = keys + values, keys + values + scales
        self.ranges = self.zeros(0)

    @property
    def capacity(self) -> int:
        """Positions that there is room for."""
        return int(self.ranges.shape[2]) * RANGE

    def zeros(self, n_ranges: int) -> NDArray[np.uint8]:
        """Memory for so many ranges of each head."""
        shape = (self._n_layers, self._shape.n_kv_heads, n_ranges, sum(self._section_bytes))
        return aligned_zeros(math.prod(shape), ALIGNMENT).reshape(shape)

    def partials_floats(self, capacity: int) -> int:
        """float32 that partial results over so many positions may take."""
        shape = self._shape
        return partials_floats(shape.n_heads, shape.n_kv_heads, shape.value_dim, capacity)

    def move(self, ranges: NDArray[np.uint8], partials: NDArray[np.float32]) -> None:
        """Take what is stored along to larger memory; a layer is forgotten as soon as it is copied."""
        for layer, old in zip(ranges, self.ranges, strict=True):
            layer[:, : old.shape[1]] = old
            forget(old)
        self.ranges = ranges
        self.record[CAPACITY], self.record[CACHE] = self.capacity, ranges.ctypes.data
        self.record[PARTIALS] = partials.ctypes.data

    def pieces(self, n_positions: int) -> Iterator[NDArray[np.uint8]]:
        """Views of what the first positions take, in whole blocks."""
        whole, rest = divmod(n_positions, RANGE)
        for layer in self.ranges:
            yield layer[:, :whole]
            if rest:
                yield from self._pieces_of_range(layer[:, whole], -(-rest // BLOCK))

    def _pieces_of_range(self, ranges: NDArray[np.uint8], blocks: int) -> Iterator[NDArray[np.uint8]]:
        """Views of the first blocks of positions in one range of each head: keys, values pair by pair, scales."""
        heads, kv, all_blocks = len(ranges), self._kv, RANGE // BLOCK
        keys, values, scales = np.split(ranges, np.cumsum(self._section_bytes)[:-1], axis=1)
        yield keys.reshape(heads, all_blocks, -1)[:, :blocks]
        panels = value_panels_of(self._shape.value_dim)
        pair_bytes = 2 * RANGE * kv.value_bytes
        for first in range(0, panels, 2):
            pair = values[:, first // 2 * pair_bytes : (first // 2 + 1) * pair_bytes]
            yield pair.reshape(heads, all_blocks, -1)[:, :blocks]
        yield scales.reshape(heads, kv.scales_of(self._shape.value_dim), all_blocks, -1)[:, :, :blocks]


def attention_record(config: ModelConfig, shape: Attention, batch_size: int, kv_name: str) -> NDArray[np.int64]:
    """The shape record of attention, int64 (SHAPE_FIELDS,): see records; the cache adds its part."""
    record = np.zeros(records.SHAPE_FIELDS, np.int64)
    row_bytes = kv_type(kv_name).query_bytes(shape.head_dim)
    record[records.HEADS], record[records.KV_HEADS] = shape.n_heads, shape.n_kv_heads
    record[records.HEAD_DIM], record[records.HEAD_PAD] = shape.head_dim, head_blocks(shape.head_dim) * BLOCK
    record[records.VALUE_DIM] = shape.value_dim
    record[records.ROTARY_PAIRS] = shape.rope_dim // 2
    record[records.HALF_APART] = config.architecture.rope_order == "neox"
    record[records.NORMED_TURNED] = config.architecture.late_qk_norms
    record[records.UNIT_VALUES] = config.architecture.unit_values
    record[records.KEYS_AS_VALUES] = shape.keys_as_values
    record[records.Q_HEAD_BYTES] = (batch_size * (shape.n_heads // shape.n_kv_heads) + SPARE_QUERIES) * row_bytes
    record[records.Q_ROW_BYTES], record[records.Q_SCALE] = row_bytes, float_bits(config.query_scale)
    return record


def _own_layers(config: ModelConfig) -> dict[Attention, list[int]]:
    """The layers that have keys and values of their own, by the shape of their attention."""
    own: dict[Attention, list[int]] = {shape: [] for shape in config.shapes}
    for layer, attention in enumerate(config.attention):
        if attention.n_kv_heads and attention.shared_from is None:
            own[attention.shape].append(layer)
    return own


def sum_of_words(values: NDArray[np.uint8]) -> int:
    """The sum of 64-bit words, modulo 2^64; every part of a cache and of a state is made of whole ones."""
    return int(values.reshape(-1).view(np.uint64).sum(dtype=np.uint64))
