"""The prepared weights on disk: which there are, which were used last, and which go when all take too much room.

A prepared file is a model's weights arranged for the processor (`engine.panels`). Each can be made again from its model
at any time, so none is asked about before it goes. One that an engine has mapped may go too: it ends with the engine.
Importing this costs nothing: the commands use it without the engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.new_file import clear_parts

PREPARED = "panels"
"""The folder of the files, in the cache directory."""

SUFFIX = ".panels"

MAX_NAME_BYTES = 120
"""Of a model's name, so much stands in that of its file."""


class PreparedFile(msgspec.Struct, frozen=True):
    """A prepared file. used_s: when it was mapped last, in seconds since 1970."""

    path: Path
    size_bytes: int
    used_s: float

    @property
    def model(self) -> str:
        """The name of the model that it was made of, or how it begins."""
        return self.path.stem.rpartition("-")[0]


def prepared_name(model: str, key: str) -> str:
    """The name of the file that is made of a model of this name; key: what it is good for."""
    # A file's name is limited in bytes, and Ollama's names can have folders.
    stem = os.fsencode(model.replace("/", "_"))[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return f"{stem}-{key[:16]}{SUFFIX}"


def list_prepared(directory: Path) -> list[PreparedFile]:
    """All prepared files, the one that was used last first; none where there is no such folder."""
    found = []
    for path in directory.glob(f"*{SUFFIX}"):
        # Another engine may remove it in the meantime.
        with suppress(OSError):
            status = path.stat()
            found.append(PreparedFile(path, status.st_size, status.st_atime))
    return sorted(found, key=lambda file: file.used_s, reverse=True)


def mark_used(path: Path) -> None:
    """Say that a file is used now; on a disk that cannot be written the order stays as it is."""
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def make_room(directory: Path, needed_bytes: int, limit_bytes: int) -> bool:
    """Remove what was used longest ago until needed_bytes more stay within the limit; False if they never can."""
    clear_parts(directory)
    if needed_bytes > limit_bytes:
        return False
    files = list_prepared(directory)
    used = sum(file.size_bytes for file in files)
    while files and used + needed_bytes > limit_bytes:
        oldest = files.pop()
        used -= oldest.size_bytes
        remove([oldest])
    return True


def remove(files: Iterable[PreparedFile]) -> int:
    """Remove files; returns the bytes that they took. Raises OSError where one cannot be removed."""
    freed = 0
    for file in files:
        file.path.unlink(missing_ok=True)
        freed += file.size_bytes
    return freed
