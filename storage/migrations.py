"""Bring a database to the newest schema: numbered steps, each all or nothing, a copy made before."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from . import schema
from .errors import CorruptDatabaseError, ForeignDatabaseError, NewerDatabaseError, OlderDatabaseError, StrayLogError
from .held_files import unheld
from .owners import is_running

# Step N makes schema N out of schema N - 1. Released steps never change: what a later release needs is a new step.
MIGRATIONS: Sequence[str] = (schema.FIRST_RELEASE, schema.ANSWER_TOKENS)

APPLICATION_ID = int.from_bytes(b"lltu", "big")

_COPY = ".before-v"
_PART = re.compile(r"(\d+)\.part(?:-journal)?")
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_VERSION_WITHOUT_LOG = b"\x01"
"""A database says so in its header before it may have a log; a copy (`copy_database`) has none."""


def check_readable(path: Path) -> None:
    """Refuse a database that a newer program or another program wrote, without changing a byte of it or beside it.

    Refuses one beside which another's log lies, too.

    Looks at the file's header first, unless this process has the file open and thus has looked. Only when another
    program may have left changes beside the file (a ``-wal``), it asks SQLite, which merges them into what it reads.
    """
    # Looked for first: another app may just be making this database one with a log.
    had_log = has_log(path)
    with unheld(path) as may_look:
        header = _header(path) if may_look else None
    if header is not None:
        if not header and had_log:
            # SQLite would take it for a new database and throw away what is in the log.
            raise CorruptDatabaseError(str(path), "it is empty, but its log (-wal) is not")
        if not header.startswith(_MAGIC):
            return
        _check_version(
            path, int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"), len(MIGRATIONS)
        )
        if had_log and header[18:19] == _VERSION_WITHOUT_LOG:
            raise StrayLogError(str(path))
    if has_log(path):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as conn:
            _check_version(path, _pragma(conn, "application_id"), _pragma(conn, "user_version"), len(MIGRATIONS))


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def has_log(path: Path) -> bool:
    """Whether changes may lie beside the database that are not in it yet."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def is_ours(path: Path) -> bool:
    """Whether a SQLite database, which must not be open in this process, is this program's, of whatever version."""
    if not has_log(path):
        return int.from_bytes(_header(path)[68:72], "big") == APPLICATION_ID
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as conn:
        return _pragma(conn, "application_id") == APPLICATION_ID


def check_current(conn: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that would first have to be migrated."""
    version = _pragma(conn, "user_version")
    if version < len(MIGRATIONS):
        raise OlderDatabaseError(str(path), version, len(MIGRATIONS))


def migrate(conn: sqlite3.Connection, path: Path | None, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Apply the steps that a database lacks; with data in it, first copy it to ``NAME.before-vN`` beside it.

    conn: in driver autocommit mode. path: None for a database in memory.
    """
    version = _pragma(conn, "user_version")
    if version == len(migrations):
        return
    if version > 0 and path is not None:
        copy_database(conn, path.with_name(f"{path.name}{_COPY}{len(migrations)}"), version)
    conn.execute("BEGIN IMMEDIATE")
    try:
        # Another app may have migrated while this one waited for the lock.
        version = _pragma(conn, "user_version")
        _check_version(path or Path(":memory:"), _pragma(conn, "application_id"), version, len(migrations))
        for number, script in enumerate(migrations[version:], start=version + 1):
            for statement in statements(script):
                conn.execute(statement)
            conn.execute(f"PRAGMA user_version = {number}")
        conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        conn.execute("COMMIT")
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def copies_of(path: Path) -> list[Path]:
    """The copies that migrations have made of a database."""
    start = f"{path.name}{_COPY}"
    return [file for file in _beside(path) if file.name.startswith(start) and file.name[len(start) :].isdecimal()]


def left_parts(path: Path) -> list[Path]:
    """What is left of such copies whose making was killed: no less than a whole one, it may have what was deleted."""
    start = f"{path.name}{_COPY}"
    names = [(file, file.name.removeprefix(start).partition(".")) for file in _beside(path)]
    return [file for file, (version, _, rest) in names if version.isdecimal() and _is_left(rest)]


def tidy_up(path: Path) -> None:
    """Remove them, where that is possible."""
    with suppress(OSError):
        for part in left_parts(path):
            part.unlink(missing_ok=True)


def copy_database(conn: sqlite3.Connection, target: Path, version: int | None = None) -> None:
    """Copy a database that may be in use to a file of its own; the file appears when the copy is whole.

    version: the schema to copy; where another app has migrated meanwhile, its own copy stays.
    """
    _tidy_parts(target)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    _remove(part)
    try:
        part.touch(mode=0o600)
        with closing(sqlite3.connect(part)) as copy:
            conn.backup(copy)
            # A copy is one file, without a log beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            found = _pragma(copy, "user_version")
        if version in (None, found):
            part.replace(target)
    finally:
        _remove(part)


def _tidy_parts(target: Path) -> None:
    """Remove what copies that were killed have left beside their target."""
    # Whoever makes the next copy need not be who may do that.
    with suppress(OSError):
        for file in _beside(target):
            if _is_left(file.name.removeprefix(f"{target.name}.")):
                file.unlink(missing_ok=True)


def _is_left(name: str) -> bool:
    """Whether a name's end is that of a part which nobody is writing any more."""
    begun = _PART.fullmatch(name)
    # In a container, an app that was started anew often gets the number of the one that was killed.
    return begun is not None and (int(begun[1]) == os.getpid() or not is_running(int(begun[1])))


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}-journal").unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def statements(script: str) -> Iterator[str]:
    """Cut a script into its statements; triggers stay whole."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement.strip()
            statement = ""


def _check_version(path: Path, application_id: int, version: int, known: int) -> None:
    if application_id not in (0, APPLICATION_ID):
        raise ForeignDatabaseError(str(path))
    if application_id == APPLICATION_ID and version > known:
        raise NewerDatabaseError(str(path), version, known)


def _pragma(conn: sqlite3.Connection, name: str) -> int:
    return int(conn.execute(f"PRAGMA {name}").fetchone()[0])
