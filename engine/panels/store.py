"""Panels in a file that is written once and mapped ever after, or in memory."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.checkpoints import Checkpoint
from engine.checkpoints.finding import model_name
from engine.checkpoints.identity import identity
from engine.new_file import NewFile
from engine.panels.header import Adding, Header, read_header, this_boot, total_of
from engine.panels.layout import ALIGNMENT, LAYOUT_VERSION, Matrix, MatrixPlan, total_bytes
from engine.panels.windows import fill
from engine.prepared_files import make_room, mark_used, prepared_name
from engine.reports import ReportBytes

log = logging.getLogger(__name__)


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
    digest.update(identity(checkpoint.files))
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
    checkpoint: Checkpoint, plans: Sequence[MatrixPlan], folder: PanelFolder | None, threads: int, report: ReportBytes
) -> PanelStore:
    """Map the prepared file, writing it first where there is none; without a folder or room there, use memory."""
    if folder is None:
        return _in_memory(plans, threads, report)
    directory = folder.path
    key = panel_key(checkpoint, plans)
    path = directory / prepared_name(model_name(checkpoint.path), key)
    n_bytes = ALIGNMENT + total_bytes(plans)
    if not _is_prepared(path, key, n_bytes, report):
        if folder.limit_bytes is not None and not make_room(directory, n_bytes, folder.limit_bytes):
            log.warning("The panels take %d bytes, more than may be kept on disk; they stay in memory.", n_bytes)
            return _in_memory(plans, threads, report)
        try:
            _write(path, key, n_bytes, plans, threads, report)
        except OSError as error:
            log.warning("The panels cannot be kept in %s (%s); they stay in memory.", directory, error)
            return _in_memory(plans, threads, report)
    mark_used(path)
    try:
        with path.open("rb") as file:
            buffer = _in_large_pages(mmap.mmap(file.fileno(), n_bytes, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED))
    except (OSError, ValueError) as error:
        # Another engine, or the user, may have removed it to make room.
        log.warning("The panels in %s cannot be mapped (%s); they stay in memory.", path, error)
        return _in_memory(plans, threads, report)
    return PanelStore(_place(plans, buffer, ALIGNMENT), n_bytes, path, buffer)


def _in_memory(plans: Sequence[MatrixPlan], threads: int, report: ReportBytes) -> PanelStore:
    buffer = _in_large_pages(_private_memory(total_bytes(plans)))
    content = np.frombuffer(buffer, np.uint8)

    def put(offset: int, data: memoryview) -> None:
        content[offset : offset + len(data)] = data  # NumPy lets other threads run meanwhile, mmap does not

    fill(plans, 0, threads, report, put)
    return PanelStore(_place(plans, buffer, 0), len(buffer), None, buffer)


def _private_memory(n_bytes: int) -> mmap.mmap:
    """Zeros that no other process shares: as Python would have them by itself, Linux has no large pages for them."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, n_bytes)


def _in_large_pages(buffer: mmap.mmap) -> mmap.mmap:
    """Ask for large pages: they are read a third faster, and files come from the disk twice as fast."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _address(buffer: mmap.mmap) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)


def _place(plans: Sequence[MatrixPlan], buffer: mmap.mmap, start: int) -> dict[str, Matrix]:
    address = _address(buffer) + start
    matrices = {}
    for plan in plans:
        matrices[plan.name] = Matrix(plan, address)
        address += plan.n_bytes
    return matrices


def _is_prepared(path: Path, key: str, n_bytes: int, report: ReportBytes) -> bool:
    try:
        with path.open("rb") as file:
            header = read_header(file)
            if header is None or header.key != key or os.fstat(file.fileno()).st_size != n_bytes:
                return False
            if header.is_certain:
                return True
            if total_of(file, report) != header.total:
                log.warning("Parts of %s were lost when the machine went down; it is written anew.", path)
                return False
    except OSError:
        return False
    with contextlib.suppress(OSError), path.open("r+b") as file:
        file.write(bytes(header.on_disk()))
    return True


def _write(path: Path, key: str, n_bytes: int, plans: Sequence[MatrixPlan], threads: int, report: ReportBytes) -> None:
    """Write the prepared file; of one that is not finished, even by a process that is killed, nothing stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NewFile(path, replace=True) as file:
        _reserve(file.fileno(), n_bytes)
        added = Adding(file.write_at)
        fill(plans, ALIGNMENT, threads, report, added)
        file.write_at(0, bytes(Header(key, added.total, this_boot())))
        file.keep()


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the room on disk now: better to hear of a full disk before the work than after it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.ftruncate(descriptor, n_bytes)
