"""The folders that shelters are in: which database each stands in for, and which of them a killed app has left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

MEMORY = Path("/dev/shm")
"""A folder in memory, where the system has one."""

_PREFIX = "llm-tui-"
_NOTE = "stands-in-for"
_END_OF_PATH = "\0"


class ShelterFolder:
    """One of them. Its note names the database, and is locked by the process that it belongs to, until that ends."""

    def __init__(self, path: Path, note: IO[str]) -> None:
        self._path = path
        self._note = note

    @classmethod
    def make(cls, database: Path, identity: str = "") -> ShelterFolder:
        """Make one of our own. identity: of the database, "" where that is not known. Raises OSError."""
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
        try:
            with ExitStack() as failing:
                note = failing.enter_context(_open(path / _NOTE, "x"))
                # Nobody takes a folder whose note is still empty.
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note.write(f"{os.path.realpath(database)}{_END_OF_PATH}{identity}")
                note.flush()
                failing.pop_all()
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return cls(path, note)

    @classmethod
    def left_for(cls, database: Path, identity: str = "") -> list[ShelterFolder]:
        """Those that stand in for a database and belong to nobody any more; they are ours from now on.

        One that was moved is known by its identity, unless a database is where it was: this may be a copy of that.
        """
        path = os.path.realpath(database)
        found = [_take(note, path, identity) for note in _parent().glob(f"{_PREFIX}*/{_NOTE}")]
        return [folder for folder in found if folder is not None]

    @property
    def database(self) -> Path:
        """Where the shelter's own database is."""
        return self._path / "sessions.db"

    def leave(self) -> None:
        """Let another start have it."""
        self._note.close()

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self._path, ignore_errors=True)
        self._note.close()


def _parent() -> Path:
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


def _take(path: Path, wanted: str, identity: str) -> ShelterFolder | None:
    with suppress(OSError):
        # Anybody may put something there.
        if path.parent.is_symlink() or path.parent.stat().st_uid != os.getuid():
            return None
        note = _open(path, "r")
        with suppress(BlockingIOError):
            noted, _, noted_identity = note.read().partition(_END_OF_PATH)
            has_moved = identity and noted_identity == identity and not Path(noted).exists()
            if noted == wanted or has_moved:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return ShelterFolder(path.parent, note)
        note.close()
    return None


def _open(path: Path, mode: str) -> IO[str]:
    return open(path, mode, encoding="utf-8", errors="surrogateescape")
