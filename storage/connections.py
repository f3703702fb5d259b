"""Open the database, or say why it cannot be opened; copy it, check it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import (
    CorruptDatabaseError,
    DatabaseAccessError,
    DatabaseBusyError,
    ForeignDatabaseError,
    LinkedDatabaseError,
    translate,
)
from .held_files import connect, unheld
from .lean_import import sqlite_database_class
from .migrations import check_current, check_readable, copy_database, migrate, tidy_up
from .transactions import translated

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

# Longer than any write of ours; who holds the lock longer than this is stuck or foreign.
BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 16 * 1024
_DATABASE = "the database"


def open_database(path: Path | str, *, read_only: bool = False) -> SqliteDatabase:
    """Open the database for reading and writing, made or migrated as needed.

    Raises NewerDatabaseError, ForeignDatabaseError, CorruptDatabaseError, StrayLogError, LinkedDatabaseError,
    ReadOnlyDatabaseError, DiskFullError, DatabaseBusyError or DatabaseAccessError, each with what to do. read_only:
    only look, which also works where nothing can be written; the database must be there and of this schema. Links are
    followed, as SQLite does: its log lies beside the file itself.
    """
    database_class = sqlite_database_class()
    file = Path(os.path.realpath(path))
    with translated(str(file)):
        try:
            if not read_only:
                # Not the folder to which a link leads: it may be of a disk that is not there.
                Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            conn = _connect_read_only(file) if read_only else _connect(file)
        except OSError as error:
            raise DatabaseAccessError(f"{file} cannot be opened: {error.strerror or error}.") from error
    return database_class(conn)


def open_empty() -> SqliteDatabase:
    """One in memory that has nothing in it: for whoever only reads, where there is none and none can be made."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    _set_up(conn)
    migrate(conn, None)
    return sqlite_database_class()(conn)


def _connect(file: Path) -> sqlite3.Connection:
    if file.exists():
        check_readable(file)
        if file.stat().st_nlink > 1:
            raise LinkedDatabaseError(str(file))
    else:
        # What is said is nobody else's on this machine; SQLite gives its log the permissions of the file.
        file.touch(mode=0o600)
    conn = connect(file, timeout_s=BUSY_TIMEOUT_S)
    try:
        _refuse_foreign(conn, file)
        if not conn.execute("PRAGMA page_count").fetchone()[0]:
            # Answers grow from nothing while they are written; smaller pages would be left half empty by that.
            conn.execute("PRAGMA page_size = 8192")
            conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if conn.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise DatabaseAccessError(f"{file} is on a file system that cannot keep a write-ahead log.")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA secure_delete = ON")
        _set_up(conn)
        migrate(conn, file)
        # SQLite opens what it may not write without a word; better said now than when the user has written something.
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("ROLLBACK")
        tidy_up(file)
    except BaseException:
        conn.close()
        raise
    return conn


def _connect_read_only(file: Path) -> sqlite3.Connection:
    check_readable(file)
    conn = connect(file, "mode=ro", timeout_s=BUSY_TIMEOUT_S)
    try:
        conn.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        conn.close()
        if isinstance(translate(error, str(file)), DatabaseBusyError):
            raise
        with unheld(file) as is_unlocked:
            if not is_unlocked:
                # A connection that knows of no locks would take those of the others away with it.
                raise
            # A log of its own cannot be made there; then nobody else can be writing either.
            conn = connect(file, "mode=ro&immutable=1", timeout_s=BUSY_TIMEOUT_S)
    except BaseException:
        conn.close()
        raise
    try:
        _refuse_foreign(conn, file)
        _set_up(conn)
        check_current(conn, file)
    except BaseException:
        conn.close()
        raise
    return conn


def _set_up(conn: sqlite3.Connection) -> None:
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    conn.execute("PRAGMA temp_store = MEMORY")


def _refuse_foreign(conn: sqlite3.Connection, file: Path) -> None:
    unnumbered = not conn.execute("PRAGMA user_version").fetchone()[0]
    if unnumbered and conn.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ForeignDatabaseError(str(file))


def data_version(db: SqliteDatabase) -> int:
    """Tell a number that changes when another connection has written."""
    return int(db.conn.execute("PRAGMA data_version").fetchone()[0])


def backup(db: SqliteDatabase, path: Path | str) -> None:
    """Copy the whole database to a file while it is in use (SQLite's online backup).

    A damaged one is refused (CorruptDatabaseError): its copy would take the place of one that is whole.
    """
    with translated(_DATABASE):
        if findings := _findings(db, "PRAGMA quick_check(1)"):
            raise CorruptDatabaseError(_DATABASE, findings[0])
    with translated(str(path)):
        try:
            copy_database(db.conn, Path(path))
        except OSError as error:
            raise DatabaseAccessError(
                f"{path} cannot be written: {error.strerror}.", "Check its folder, or name another file."
            ) from error


def check(db: SqliteDatabase) -> list[str]:
    """Look for damage; tells what was found, nothing when the database is whole."""
    with translated(_DATABASE):
        if findings := _findings(db, "PRAGMA quick_check(20)"):
            return findings
        # That leaves out whether indexes have what their tables have. By name: to check the words, SQLite would write.
        indexed = db.conn.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'index'").fetchall()
        return [finding for (table,) in indexed for finding in _findings(db, f"PRAGMA integrity_check({table})")]


def _findings(db: SqliteDatabase, pragma: str) -> list[str]:
    findings = [str(row[0]) for row in db.conn.execute(pragma)]
    return [] if findings == ["ok"] else findings
