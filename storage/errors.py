"""Everything that can go wrong with stored sessions, as sentences that say what, why and what to do next."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path


class StorageError(Exception):
    """An error for the user: `message` says what and why, `hint` what to do."""

    hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class DatabaseAccessError(StorageError):
    """The database cannot be opened, read or written, and no other class says it better."""

    hint = "Check the disk and the permissions of the data directory, then try again."


class NewerDatabaseError(StorageError):
    """The database was written by a newer llm-tui."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a newer llm-tui: its schema is version {found}, this program knows up to {known}.",
            "Nothing in it was changed. Update llm-tui, or set LLM_TUI_HOME to another folder.",
        )
        self.path = path
        self.found = found
        self.known = known


class OlderDatabaseError(StorageError):
    """The database is of an older llm-tui and may only be read, so that it cannot be brought up to date."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by an older llm-tui: its schema is version {found}, this program needs {known}.",
            "Make it writable and start llm-tui once; it is brought up to date then.",
        )
        self.path = path
        self.found = found
        self.known = known


class ForeignDatabaseError(StorageError):
    """The file is a sound SQLite database, but another program's."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is a database of another program.",
            "Nothing in it was changed. Move it away, or set LLM_TUI_HOME to another folder.",
        )
        self.path = path


class CorruptDatabaseError(StorageError):
    """The file is not a SQLite database, or a damaged one."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(
            f"{path} is damaged: {detail}.",
            "Move it away together with its -wal and -shm files, then restore a backup or rescue what is in it with"
            " `sqlite3 FILE .recover`.",
        )
        self.path = path
        self.detail = detail


class StrayLogError(StorageError):
    """Beside the database lies the log (``-wal``) of the one that was there before; SQLite would put both together."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}-wal is not the log of {path}, but of a database that was there before.",
            f"Nothing was changed. If you have restored a backup, remove {path}-wal and {path}-shm, then start again.",
        )
        self.path = path


class ReadOnlyDatabaseError(StorageError):
    """The database, its directory or its disk does not allow writing."""

    hint = "Nothing can be stored until the file and its directory are writable."


class DiskFullError(StorageError):
    """The disk has no room for what was to be stored."""

    hint = "Make room there."


class DatabaseBusyError(StorageError):
    """Another program held the database for longer than we wait."""

    hint = "Close the other program, or try again in a moment."


class DatabaseMovedError(DatabaseAccessError):
    """The file was moved or removed, or another one was put in its place, while it was open."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was moved, or another file was put in its place, while it was in use.",
            "Put it back, or close llm-tui everywhere and start it again.",
        )
        self.path = path


class LinkedDatabaseError(DatabaseAccessError):
    """The file has two names (a hard link). Its log goes by one of them: who uses the other loses what is in it."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} has another name, too (a hard link): what is written under both of them would be lost.",
            "Remove the other name, or put a copy of the file in its place.",
        )
        self.path = path


class NoSuchSessionError(StorageError):
    """There is no session with this id."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"There is no session {session_id}.", "`llm-tui sessions list` shows those that there are.")
        self.session_id = session_id


class NoSuchMessageError(StorageError):
    """There is no message with this id."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"There is no message {message_id}.", "It was deleted, perhaps in another window.")
        self.message_id = message_id


class AnswerStateError(StorageError):
    """An answer cannot go from the state that it is in to the one that was asked for."""


class SessionHeldError(StorageError):
    """Another running llm-tui has the session open for writing."""

    def __init__(self, session_id: str, host: str, pid: int) -> None:
        super().__init__(
            f"Session {session_id} is open in another llm-tui (process {pid} on {host}).",
            "Close it there, or fork it in the app to go on in a copy.",
        )
        self.session_id = session_id
        self.host = host
        self.pid = pid


class ImportFileError(StorageError):
    """A file to import is not in a form that we read; nothing of it was imported."""


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY_CODE = 0xFF
# Less than SQLite takes for the files beside a database.
_FULL_BYTES = 64 * 1024


def translate(error: sqlite3.Error, path: str) -> StorageError:
    """Say in our words what SQLite said in its own; path: the database that it was about."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
    if code in _BUSY:
        return DatabaseBusyError(f"{path} is in use by another program.")
    if code in _CORRUPT:
        return CorruptDatabaseError(path, str(error))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return DiskFullError(f"There is no room left on the disk of {path}.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return ReadOnlyDatabaseError(f"{path} cannot be written: {error}.")
    return DatabaseAccessError(f"{path} could not be used: {error}.")


def _is_full(path: str) -> bool:
    try:
        return shutil.disk_usage(Path(path).parent).free < _FULL_BYTES
    except OSError:
        return False
