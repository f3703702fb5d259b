"""A database of our own: a backup, a plain copy, or that of another folder, even while it is in use."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from ..connections import BUSY_TIMEOUT_S, open_database
from ..errors import CorruptDatabaseError, ImportFileError, NewerDatabaseError, translate
from ..export import export_session, session_ids
from ..held_files import connect
from ..migrations import check_readable, copy_database, has_log
from ..portable import PortableSession


def read(path: Path, file: Path) -> list[PortableSession]:
    """Read all sessions but deleted ones; path: what errors call the file. Raises ImportFileError, StrayLogError."""
    try:
        check_readable(file)
        with tempfile.TemporaryDirectory(prefix="llm-tui-") as folder:
            # An older one is brought up to date, and SQLite leaves files beside what it reads: both in a copy.
            copy = Path(folder) / "sessions.db"
            _copy(file, copy)
            with closing(open_database(copy)) as db:
                return [export_session(db, session_id) for session_id in session_ids(db)]
    except NewerDatabaseError as error:
        raise ImportFileError(f"{path} was written by a newer llm-tui.", "Update llm-tui.") from error
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
    except CorruptDatabaseError as error:
        raise ImportFileError(
            f"{path} is damaged: {error.detail}.", "Rescue what is in it with `sqlite3 FILE .recover`."
        ) from error


def _copy(file: Path, copy: Path) -> None:
    if not has_log(file):
        # SQLite would leave files beside it, or could not, where it may not write.
        before = _state(file)
        shutil.copyfile(file, copy)
        if _state(file) == before and not has_log(file):
            return
        copy.unlink()
    # Somebody may be writing in it.
    with closing(connect(file, "mode=ro", timeout_s=BUSY_TIMEOUT_S)) as conn:
        copy_database(conn, copy)


def _state(file: Path) -> tuple[int, int, int]:
    """What is another once somebody has written in a file."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
