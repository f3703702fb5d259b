"""All panels as the bytes of one file, made a window at a time.

The system keeps a file's content in pages as large as what was written at once, if that is aligned. Memory is read a
third faster through large pages, so windows begin at multiples of their size. Panels are packed beside their place and
then written: a mapped file would be ten times as slow to write to.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints.rows import read_rows
from engine.errors import ModelFileError
from engine.kernels.sizes import BLOCK, LANES
from engine.panels.layout import MatrixPlan, total_bytes
from engine.panels.packing import FETCH_AGAIN, pack_rows
from engine.reports import ReportBytes
from engine.thread_pool import thread_pool

WINDOW_BYTES = 4 << 20
"""Two large pages: what a thread holds, and how fine progress is."""

Put = Callable[[int, memoryview], None]
"""Takes bytes that belong at an offset; several threads may call it at once."""


def fill(plans: Sequence[MatrixPlan], start: int, threads: int, report: ReportBytes, put: Put) -> None:
    """Pack every matrix on all threads; the first one begins at offset `start`, before it there are zeros.

    Where the system gives fewer threads, those or the calling one do.
    Raises ModelFileError for a tensor that nothing can be computed with.
    """
    panels = _Panels(plans, start)
    size = start + total_bytes(plans)
    report(0, size)

    def pack(begin: int) -> int:
        end = min(begin + WINDOW_BYTES, size)
        put(begin, panels.between(begin, end))
        return end

    pool = thread_pool(threads, "panels")
    with pool or nullcontext():
        for done in (pool.map if pool else map)(pack, range(0, size, WINDOW_BYTES)):
            report(done, size)


class _Panels:
    """Where each matrix lies in the file."""

    def __init__(self, plans: Sequence[MatrixPlan], start: int) -> None:
        self._plans = plans
        self._offsets: list[int] = []
        for plan in plans:
            self._offsets.append(start)
            start += plan.n_bytes
        self._margin = max((plan.panel_bytes for plan in plans), default=0)
        self._own = threading.local()

    def _buffer(self) -> NDArray[np.uint8]:
        """The calling thread's buffer: new memory for every window would take as long as packing."""
        if not hasattr(self._own, "buffer"):
            self._own.buffer = np.empty(self._margin + WINDOW_BYTES + self._margin, np.uint8)
        buffer: NDArray[np.uint8] = self._own.buffer
        return buffer

    def between(self, begin: int, end: int) -> memoryview:
        """The file's bytes from begin to end, until the calling thread asks for others.

        Panels that lie on a border are packed for either side.
        """
        buffer = self._buffer()
        buffer.fill(0)
        base = buffer.ctypes.data + self._margin - begin
        for plan, offset in self._touching(begin, end):
            first = max(0, begin - offset) // plan.panel_bytes
            last = min(plan.n_panels, -(-(end - offset) // plan.panel_bytes))
            if first < last:
                _pack(plan, first * LANES, min(last * LANES, plan.rows), base + offset + first * plan.panel_bytes)
        return buffer[self._margin : self._margin + end - begin].data

    def _touching(self, begin: int, end: int) -> Iterator[tuple[MatrixPlan, int]]:
        index = max(0, bisect_right(self._offsets, begin) - 1)
        while index < len(self._plans) and self._offsets[index] < end:
            yield self._plans[index], self._offsets[index]
            index += 1


def _pack(plan: MatrixPlan, first: int, last: int, target: int) -> None:
    """Rows first to last of a matrix to the panels at an address; `first` is a panel's first row.

    Raises ModelFileError if one of them has a scale or a number that is infinite or none.
    """
    above = 0
    for source in plan.sources:
        begin, end = max(first, above), min(last, above + source.shape[0])
        if begin < end:
            data = _padded(plan, read_rows(source, begin - above, end - begin))
            if not pack_rows(plan.format, data, target, plan.panel_bytes, begin - first):
                raise ModelFileError(
                    f"{source.path}: {source.name} has numbers in it that are not finite.", FETCH_AGAIN
                )
        above += source.shape[0]


def _padded(plan: MatrixPlan, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows with zeros up to whole blocks."""
    if plan.columns % BLOCK == 0:
        return data
    row_bytes = data.shape[1]
    item = row_bytes // plan.columns
    return np.pad(data, ((0, 0), (0, plan.n_blocks * BLOCK * item - row_bytes)))
