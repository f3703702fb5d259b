"""The database for an app that must never wait for it: on threads of its own, behind an event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from .connections import data_version, open_database
from .errors import DatabaseAccessError, StorageError
from .held_files import HoldingConnection
from .on_thread import on_thread
from .patience import Patience
from .reader import Reader
from .transactions import has_moved, only_reads, translated

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

P = ParamSpec("P")
R = TypeVar("R")


class Database:
    """The database of an app.

    Calls run one after the other in the order in which they were made. A call that was made is carried out, even when
    nobody waits for it any more: a message sent is a message stored. Reads run beside them, also while calls wait for
    another program to let go of the database, and those that nobody waits for any more are broken off.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage")
        self._reader = Reader(path, self._is_open_here)
        self._looker = Reader(path, self._is_open_here)
        self._patience = Patience()
        self._db: SqliteDatabase | None = None
        self._seen_version = 0
        self._closing = False

    @classmethod
    async def open(cls, path: Path | str, *, read_only: bool = False) -> Database:
        """Open it as open_database does, on its thread."""
        database = cls(Path(path), read_only=read_only)
        try:
            await database._run(database._open)
            if not read_only:
                # Now, while the file surely is in its place; where this fails, the first look tries again.
                with suppress(StorageError):
                    await database._looker.open()
        except BaseException:
            # It may be opened by now, when only the waiting was cancelled.
            database._looker.let_go()
            database._thread.submit(database._close)
            database._thread.shutdown(wait=False)
            raise
        return database

    async def call(self, function: Callable[Concatenate[SqliteDatabase, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function of this package on the database's thread and return what it returns."""
        self._refuse_closed()

        def work() -> R:
            db = self._opened()
            takes_lock = not only_reads(function)
            with self._patience.around(db, takes_lock=takes_lock), translated(str(self.path)):
                return function(db, *args, **kwargs)

        return await self._run(work)

    async def look(self, function: Callable[Concatenate[SqliteDatabase, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that only reads, and not for long, on a connection beside that of call.

        It sees what the calls that have ended have written, and waits for none of those that go on. When the waiting
        is cancelled, so is the reading.
        """
        return await self._read_by(self._looker, function, *args, **kwargs)

    async def read(self, function: Callable[Concatenate[SqliteDatabase, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for what may take long, like search; what is only looked up does not wait for it."""
        return await self._read_by(self._reader, function, *args, **kwargs)

    async def _read_by(
        self, reader: Reader, function: Callable[Concatenate[SqliteDatabase, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        if self._read_only:
            # Nothing is written here that a read would have to wait for, and where no log can be made, SQLite lets
            # nobody have a second connection.
            return await self.call(function, *args, **kwargs)
        self._refuse_closed()
        return await reader.call(lambda db: function(db, *args, **kwargs))

    async def changed_elsewhere(self) -> bool:
        """Tell whether another connection has written since this was last asked. Raises StorageError."""
        self._refuse_closed()

        def look() -> bool:
            with translated(str(self.path)):
                before, self._seen_version = self._seen_version, data_version(self._opened())
            return before != self._seen_version

        return await self._run(look)

    async def settle(self) -> None:
        """Wait until the calls that were made by now have ended, in whichever way."""
        self._refuse_closed()
        await self._run(lambda: None)

    async def close(self) -> None:
        """Finish what was asked for, fold the log into the file, and let go of it; nothing can be asked any more."""
        if not self._closing:
            self._closing = True
            await self._reader.close()
            await self._looker.close()
            await self._run(self._close)
            self._thread.shutdown(wait=False)

    def _refuse_closed(self) -> None:
        if self._closing:
            raise DatabaseAccessError(f"{self.path} is closed.")

    async def _run(self, work: Callable[[], R]) -> R:
        return await on_thread(self._thread, work)

    def _open(self) -> None:
        self._db = open_database(self.path, read_only=self._read_only)
        self._seen_version = data_version(self._db)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is None:
            return
        # Another app may be reading, or the disk be full; the log stays then and is as good as the file. Beside a file
        # that was moved, the log may be another's by now.
        with suppress(sqlite3.Error):
            if not has_moved(db):
                db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.close()

    def _is_open_here(self, read: SqliteDatabase) -> bool:
        """Whether a connection has the file that this one has."""
        written = self._opened().conn
        assert isinstance(written, HoldingConnection) and isinstance(read.conn, HoldingConnection)
        return read.conn.is_of_same_file_as(written)

    def _opened(self) -> SqliteDatabase:
        if self._db is None:
            raise DatabaseAccessError(f"{self.path} is closed.")
        return self._db
