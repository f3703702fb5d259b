"""A program: the steps of a forward pass as a table that the team runs, and the buffers that the steps share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedModelError
from engine.kernels.number_formats import Reads
from engine.kernels.records import BLOCK_BYTES, MOST_UNITS, STEP_FIELDS, WORD_BLOCK_BYTES
from engine.kernels.sizes import BLOCK, TOKEN_PAD
from engine.machine_code import Function, prepare
from engine.reports import ReportKernels

LINE_BYTES = 64
"""Rows begin on cache lines."""


def aligned_zeros(n_bytes: int, alignment: int = LINE_BYTES) -> NDArray[np.uint8]:
    """So many zeros, from the beginning of a cache line on, or of something larger."""
    memory = np.zeros(n_bytes + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + n_bytes]


@dataclass(frozen=True, slots=True)
class Rows:
    """A buffer with a row per token. stride: bytes from row to row."""

    array: NDArray[np.uint8]
    stride: int

    @property
    def address(self) -> int:
        """Where row 0 begins."""
        return int(self.array.ctypes.data)

    @property
    def where(self) -> tuple[int, int]:
        """Address and stride, as steps have them among their parameters."""
        return self.address, self.stride

    def row(self, index: int, n_floats: int) -> NDArray[np.float32]:
        """A view of one row as float32."""
        return self.array.reshape(-1)[index * self.stride :][: 4 * n_floats].view(np.float32)

    def behind(self, n_floats: int) -> Rows:
        """The same rows from their n-th float32 on."""
        return Rows(self.array.reshape(-1)[4 * n_floats :], self.stride)


class Program:
    """Collects steps, and buffers for them, for batches of up to max_tokens tokens."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._steps: list[tuple[Function, list[int]]] = []
        self._kept: list[object] = []

    def floats(self, width: int, rows: int | None = None, over: Rows | None = None) -> Rows:
        """Rows of `width` float32, zeros at first, with room up to a whole block and a vector more.

        over: rows that are never in use at the same time, nor need zeros anywhere; their memory is taken if it is large
        enough.
        """
        return self._rows(-(-width // BLOCK) * BLOCK * 4 + 64, rows, over)

    def quants(self, width: int, rows: int | None = None) -> Rows:
        """Rows of `width` quantised activations."""
        return self._rows(-(-width // BLOCK) * BLOCK_BYTES, rows)

    def words(self, width: int, rows: int | None = None) -> Rows:
        """Rows of `width` activations as 16-bit words."""
        return self._rows(-(-width // BLOCK) * WORD_BLOCK_BYTES, rows)

    def _rows(self, row_bytes: int, rows: int | None, over: Rows | None = None) -> Rows:
        count = -(-(rows or self.max_tokens) // TOKEN_PAD) * TOKEN_PAD
        stride = -(-row_bytes // LINE_BYTES) * LINE_BYTES
        if stride // LINE_BYTES % 2 == 0:
            stride += LINE_BYTES  # an odd number of lines: rows spread over the cache's sets
        if over is not None and over.array.size >= count * stride:
            return Rows(over.array.reshape(-1)[: count * stride].reshape(count, stride), stride)
        memory = aligned_zeros(count * stride)
        self.keep(memory)
        return Rows(memory.reshape(count, stride), stride)

    def keep(self, *objects: object) -> None:
        """Hold what steps point to."""
        self._kept.extend(objects)

    def add(self, function: Function, unit_kind: int, units: int, chunk_units: int, *parameters: int) -> None:
        """Append a step. Raises UnsupportedModelError for more units than the team counts."""
        if units > MOST_UNITS:
            raise UnsupportedModelError(
                f"A step of this model has {units} units of work; this engine counts to {MOST_UNITS}.",
                "Choose another model.",
            )
        step = [unit_kind, units, chunk_units, *parameters]
        self._steps.append((function, step + [0] * (STEP_FIELDS - 1 - len(step))))

    def compile(self, report: ReportKernels) -> NDArray[np.int64]:
        """The steps as the team reads them; every kernel is compiled, or found in the cache."""
        prepare([function for function, _ in self._steps], report)
        return np.array([[function.address, *rest] for function, rest in self._steps], np.int64)


class Activations:
    """Rows that products read, in each form that weights are multiplied with.

    Whatever computes them writes floats and quants; whoever adds a product of words adds the step that fills those.
    floats: rows at least as wide that nothing else is in any more, instead of new ones.
    """

    def __init__(self, p: Program, width: int, rows: int | None = None, floats: Rows | None = None) -> None:
        self.width = width
        self.floats, self.quants = floats or p.floats(width, rows), p.quants(width, rows)
        self._program, self._row_count = p, rows

    @cached_property
    def words(self) -> Rows:
        """The rows as words; there is no such buffer before somebody asks."""
        return self._program.words(self.width, self._row_count)

    @property
    def where(self) -> tuple[int, int, int, int]:
        """Where floats and quants are, as steps have them among their parameters."""
        return *self.floats.where, *self.quants.where

    def form(self, reads: Reads) -> Rows:
        """The rows in the form that a weight format reads."""
        if reads == "words":
            return self.words
        return self.floats if reads == "floats" else self.quants


def float_bits(value: float) -> int:
    """A float32 as the integer of the same bits, for a record."""
    return int(np.float32(value).view(np.int32))
