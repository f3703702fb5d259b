"""Panels in a file that is written once and mapped ever after, or in memory."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.checkpoints import Checkpoint, TensorInfo
from engine.checkpoints.rows import read_rows
from engine.kernels.sizes import BLOCK
from engine.new_file import NewFile
from engine.panels.layout import ALIGNMENT, LAYOUT_VERSION, Matrix, MatrixPlan, total_bytes
from engine.panels.packing import pack_rows
from engine.prepared_files import SUFFIX, make_room, mark_used

log = logging.getLogger(__name__)

MAGIC = b"llm-tui panels\n"
"""How a prepared file begins; the rest of its first page is the key, so that a foreign file is never mapped."""

PIECE_BYTES = 8 << 20
"""Source bytes packed at a time: what a thread holds, and how fine progress is."""

Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass
class PanelStore:
    """All matrices of a model, mapped or in memory. path: the prepared file, if it is one."""

    matrices: dict[str, Matrix]
    n_bytes: int
    path: Path | None
    _buffer: mmap.mmap

    def close(self) -> None:
        """Give the memory back; no kernel may run any more."""
        self.matrices.clear()
        with contextlib.suppress(BufferError):
            self._buffer.close()


def panel_key(checkpoint: Checkpoint, plans: Sequence[MatrixPlan]) -> str:
    """What a prepared file is good for: these files, as they are now, in this layout."""
    digest = hashlib.sha256(f"layout {LAYOUT_VERSION}".encode())
    for file in checkpoint.files:
        status = file.stat()
        digest.update(f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}".encode())
    for plan in plans:
        sources = ",".join(f"{s.name}@{s.offset}" for s in plan.sources)
        digest.update(f"{plan.name}|{plan.format.layout}|{plan.rows}x{plan.columns}|{sources}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class PanelFolder:
    """Where prepared files are kept, and how much all of them may take; None for as much as there is."""

    path: Path
    limit_bytes: int | None = None


def open_panels(
    checkpoint: Checkpoint, plans: Sequence[MatrixPlan], folder: PanelFolder | None, threads: int, report: Report
) -> PanelStore:
    """Map the prepared file, writing it first where there is none; without a folder or room there, use memory."""
    if folder is None:
        return _in_memory(plans, threads, report)
    directory = folder.path
    key = panel_key(checkpoint, plans)
    path = directory / f"{checkpoint.path.stem[:60]}-{key[:16]}{SUFFIX}"
    size = ALIGNMENT + total_bytes(plans)
    if not _is_prepared(path, key, size):
        if folder.limit_bytes is not None and not make_room(directory, size, folder.limit_bytes):
            log.warning("The panels take %d bytes, more than may be kept on disk; they stay in memory.", size)
            return _in_memory(plans, threads, report)
        try:
            _write(path, key, size, plans, threads, report)
        except OSError as error:
            log.warning("The panels cannot be kept in %s (%s); they stay in memory.", directory, error)
            return _in_memory(plans, threads, report)
    mark_used(path)
    with path.open("rb") as file:
        buffer = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
    return PanelStore(_place(plans, buffer, ALIGNMENT), size, path, buffer)


def _in_memory(plans: Sequence[MatrixPlan], threads: int, report: Report) -> PanelStore:
    buffer = mmap.mmap(-1, total_bytes(plans))
    matrices = _place(plans, buffer, 0)
    _fill(list(matrices.values()), threads, report)
    return PanelStore(matrices, len(buffer), None, buffer)


def _address(buffer: mmap.mmap) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)


def _place(plans: Sequence[MatrixPlan], buffer: mmap.mmap, start: int) -> dict[str, Matrix]:
    address = _address(buffer) + start
    matrices = {}
    for plan in plans:
        matrices[plan.name] = Matrix(plan, address)
        address += plan.n_bytes
    return matrices


def _header(key: str) -> bytes:
    return (MAGIC + key.encode()).ljust(ALIGNMENT, b"\0")


def _is_prepared(path: Path, key: str, size: int) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(ALIGNMENT) == _header(key) and os.fstat(file.fileno()).st_size == size
    except OSError:
        return False


def _write(path: Path, key: str, size: int, plans: Sequence[MatrixPlan], threads: int, report: Report) -> None:
    """Write the prepared file; of one that is not finished, even by a process that is killed, nothing stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NewFile(path, replace=True) as file:
        _reserve(file.fileno(), size)
        with mmap.mmap(file.fileno(), size) as buffer:
            matrices = _place(plans, buffer, ALIGNMENT)
            _fill(list(matrices.values()), threads, report)
            matrices.clear()
            buffer[:ALIGNMENT] = _header(key)
        file.keep()


def _reserve(descriptor: int, size: int) -> None:
    """Take the room on disk now: a full disk is an error here, and would be a crash while writing to the map."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _fill(matrices: Sequence[Matrix], threads: int, report: Report) -> None:
    """Pack every matrix, a piece of rows at a time, on all threads."""
    total = sum(source.n_bytes for m in matrices for source in m.plan.sources)
    done = 0
    report(0, total)
    with ThreadPoolExecutor(threads) as pool:
        pieces = [piece for matrix in matrices for piece in _pieces(matrix)]
        for size in pool.map(lambda piece: _pack(*piece), pieces):
            done += size
            report(done, total)


def _pieces(matrix: Matrix) -> list[tuple[Matrix, TensorInfo, int, int, int]]:
    """(matrix, tensor, first row, rows, row in the matrix): whole rows of about PIECE_BYTES."""
    found: list[tuple[Matrix, TensorInfo, int, int, int]] = []
    below = 0
    for source in matrix.plan.sources:
        rows, row_bytes = source.shape[0], source.n_bytes // source.shape[0]
        step = max(1, PIECE_BYTES // row_bytes // 16) * 16
        found += [(matrix, source, row, min(step, rows - row), below + row) for row in range(0, rows, step)]
        below += rows
    return found


def _pack(matrix: Matrix, tensor: TensorInfo, row: int, rows: int, target_row: int) -> int:
    """Pack some rows of a tensor; returns the source bytes read."""
    plan = matrix.plan
    data = read_rows(tensor, row, rows)
    row_bytes, read = data.shape[1], int(data.nbytes)
    if plan.columns % BLOCK:
        item = row_bytes // plan.columns
        data = np.pad(data, ((0, 0), (0, plan.n_blocks * BLOCK * item - row_bytes)))
    pack_rows(plan.format, data, matrix.address, plan.panel_bytes, target_row)
    return read
