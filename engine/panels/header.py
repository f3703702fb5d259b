"""The first page of a prepared file: what the file is good for, and how to tell that all of it reached the disk.

It is not written through to the disk, which would take as long as preparing it. So after a power failure, parts of it
may be zeros. Until the machine is started again, what the system has of it is whole; after that it is added up once.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.panels.windows import Put
from engine.reports import ReportBytes

HEADER_BYTES = 4096

MAGIC = "llm-tui panels 2"
"""How it begins, so that a foreign file is never mapped."""

PIECE_BYTES = 16 << 20

ON_DISK = "-"
"""In the place of a boot: it was added up since."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MODULUS = 1 << 64


@dataclass(frozen=True, slots=True)
class Header:
    """key: what the file is good for. total: the sum of all words behind the header. boot: when it was written."""

    key: str
    total: int
    boot: str

    def __bytes__(self) -> bytes:
        return "\n".join((MAGIC, self.key, str(self.total), self.boot, "")).encode().ljust(HEADER_BYTES, b"\0")

    @property
    def is_certain(self) -> bool:
        """Whether the file has all that was written to it, as far as the header knows."""
        return self.boot in (ON_DISK, this_boot())

    def on_disk(self) -> Header:
        """The same for a file that was added up."""
        return replace(self, boot=ON_DISK)


def read_header(file: BinaryIO) -> Header | None:
    """The header of an open file, None of a foreign one."""
    lines = file.read(HEADER_BYTES).rstrip(b"\0").decode(errors="replace").split("\n")
    if len(lines) != 5 or lines[0] != MAGIC or not lines[2].isdecimal():
        return None
    return Header(lines[1], int(lines[2]), lines[3])


def this_boot() -> str:
    """Since the machine was started it has had this name; without one, files are trusted."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ON_DISK


def total_of(file: BinaryIO, report: ReportBytes) -> int:
    """The sum of a file's words behind the header, modulo 2^64."""
    size, total = file.seek(0, os.SEEK_END), 0
    file.seek(HEADER_BYTES)
    buffer = np.empty(PIECE_BYTES // 8, np.uint64)
    piece = buffer.data.cast("B")
    while n_bytes := file.readinto(piece):  # type: ignore[attr-defined]
        total += int(buffer[: n_bytes // 8].sum())
        report(file.tell(), size)
    return total % _MODULUS


class Adding:
    """Writes pieces of whole words, on several threads, and adds them up."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._total = 0

    def __call__(self, offset: int, data: memoryview) -> None:
        """Write a piece at its place."""
        self._put(offset, data)
        piece = int(np.frombuffer(data, np.uint64).sum())
        with self._lock:
            self._total += piece

    @property
    def total(self) -> int:
        """The sum so far, modulo 2^64."""
        return self._total % _MODULUS
