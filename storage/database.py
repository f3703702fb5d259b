"""Open the database: for a command that does one thing, or for an app that must never wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from .errors import DatabaseAccessError, ForeignDatabaseError
from .lean_import import sqlite_database_class
from .migrations import check_current, check_readable, copy_database, migrate
from .transactions import translated

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

P = ParamSpec("P")
R = TypeVar("R")

# Longer than any write of ours; who holds the lock longer than this is stuck or foreign.
BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 16 * 1024


def open_database(path: Path | str, *, read_only: bool = False) -> SqliteDatabase:
    """Open the database for reading and writing, made or migrated as needed.

    Raises NewerDatabaseError, ForeignDatabaseError, CorruptDatabaseError, ReadOnlyDatabaseError, DiskFullError,
    DatabaseBusyError or DatabaseAccessError, each with what to do. read_only: only look, which also works where nothing
    can be written; the database must be there and of this schema.
    """
    database_class = sqlite_database_class()
    file = Path(path)
    with translated(str(file)):
        try:
            conn = _connect_read_only(file) if read_only else _connect(file)
        except OSError as error:
            raise DatabaseAccessError(f"{file} cannot be opened: {error.strerror or error}.") from error
    return database_class(conn)


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists():
        check_readable(file)
    else:
        # What is said is nobody else's on this machine; SQLite gives its log the permissions of the file.
        file.touch(mode=0o600)
    conn = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
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
    except BaseException:
        conn.close()
        raise
    return conn


def _connect_read_only(file: Path) -> sqlite3.Connection:
    check_readable(file)
    uri = f"{file.absolute().as_uri()}?mode=ro"
    conn = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        conn.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        # A log of its own cannot be made there; then nobody else can be writing either.
        conn.close()
        conn = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
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
    """Copy the whole database to a file while it is in use (SQLite's online backup)."""
    with translated(str(path)):
        try:
            copy_database(db.conn, Path(path))
        except OSError as error:
            raise DatabaseAccessError(f"{path} cannot be written: {error.strerror}.") from error


def check(db: SqliteDatabase) -> list[str]:
    """Look for damage; tells what was found, nothing when the database is whole."""
    with translated("the database"):
        findings = [str(row[0]) for row in db.conn.execute("PRAGMA quick_check(20)")]
    return [] if findings == ["ok"] else findings


class Database:
    """The database on a thread of its own, for an event loop that must not wait.

    Calls run one after the other in the order in which they were made. A call that was made is carried out, even when
    nobody waits for it any more: a message sent is a message stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage")
        self._db: SqliteDatabase | None = None
        self._seen_version = 0
        self._closed = False

    @classmethod
    async def open(cls, path: Path | str) -> Database:
        """Open it as open_database does, on its thread."""
        database = cls(Path(path))
        try:
            await database._run(database._open)
        except BaseException:
            # It may be opened by now, when only the waiting was cancelled.
            database._thread.submit(database._close)
            database._thread.shutdown(wait=False)
            raise
        return database

    async def call(self, function: Callable[Concatenate[SqliteDatabase, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function of this package on the database's thread and return what it returns."""

        def work() -> R:
            db = self._opened()
            with translated(str(self.path)):
                return function(db, *args, **kwargs)

        return await self._run(work)

    async def changed_elsewhere(self) -> bool:
        """Tell whether another connection has written since this was last asked."""

        def look() -> bool:
            before, self._seen_version = self._seen_version, data_version(self._opened())
            return before != self._seen_version

        return await self._run(look)

    async def close(self) -> None:
        """Finish what was asked for, fold the log into the file, and let go of it."""
        if not self._closed:
            await self._run(self._close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], R]) -> R:
        if self._closed:
            raise DatabaseAccessError(f"{self.path} is closed.")
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _open(self) -> None:
        self._db = open_database(self.path)
        self._seen_version = data_version(self._db)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is None:
            return
        # Another app may be reading, or the disk be full; the log stays then and is as good as the file.
        with suppress(sqlite3.Error):
            db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.close()

    def _opened(self) -> SqliteDatabase:
        if self._db is None:
            raise DatabaseAccessError(f"{self.path} is closed.")
        return self._db
