"""Which databases this process has open: nobody else in it may open and close such a file.

POSIX lets go of all that a process has locked in a file as soon as it closes any descriptor of it. Without SQLite's
locks another process takes itself for the last one with the database, and removes the log that is still written here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_File = tuple[int, int]

_held: Counter[_File] = Counter()
# In the block of unheld, its thread may connect.
_lock = threading.RLock()


class HoldingConnection(sqlite3.Connection):
    """A connection whose file counts as open until it is closed."""

    _file: _File | None = None
    _path = Path()

    def hold(self, file: _File, path: Path) -> None:
        """Let go of a file that is held when this is closed."""
        self._file, self._path = file, path

    def is_of_same_file_as(self, other: HoldingConnection) -> bool:
        """Whether both were opened on one file, and not on two that had the same name one after the other."""
        return self._file == other._file

    @property
    def has_moved(self) -> bool:
        """Whether the open file is not in its place any more: what is written in it, nobody finds."""
        try:
            return self._file is not None and self._path.stat().st_ino != self._file[1]
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close it, and let go of the file."""
        super().close()
        file, self._file = self._file, None
        if file is not None:
            _let_go(file)


def connect(path: Path, parameters: str = "", *, timeout_s: float) -> sqlite3.Connection:
    """Open a database that is there; parameters: of its URI, as in ``mode=ro``. Raises OSError, sqlite3.Error."""
    file = _identity(path)
    with _lock:
        _held[file] += 1
    try:
        conn = sqlite3.connect(
            f"{path.absolute().as_uri()}?{parameters}",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            factory=HoldingConnection,
        )
    except BaseException:
        _let_go(file)
        raise
    conn.hold(file, path.absolute())
    return conn


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Whether the file is not open here, nor will be before the block ends. Raises OSError."""
    with _lock:
        yield not _held[_identity(path)]


def _identity(path: Path) -> _File:
    found = path.stat()
    return found.st_dev, found.st_ino


def _let_go(file: _File) -> None:
    with _lock:
        _held[file] -= 1
        if not _held[file]:
            del _held[file]
