"""A connection beside the one that writes: reading never waits for what is being written, nor delays it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .connections import open_database
from .errors import DatabaseMovedError
from .on_thread import on_thread
from .patience import Patience
from .transactions import translated

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

R = TypeVar("R")


# So many steps of SQLite's machine (a millisecond or less) between two looks at whether anybody still waits.
_STEPS = 10_000


class Reader:
    """A connection that only reads, on a thread of its own. What nobody waits for any more is broken off.

    is_ours: whether what was opened is the file that is written, and not another one that was put in its place.
    """

    def __init__(self, path: Path, is_ours: Callable[[SqliteDatabase], bool]) -> None:
        self._path = path
        self._is_ours = is_ours
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-reader")
        self._db: SqliteDatabase | None = None
        self._patience = Patience()
        self._unwanted: set[threading.Event] = set()

    async def call(self, work: Callable[[SqliteDatabase], R]) -> R:
        """Run a function that reads, after those that were asked for before.

        Raises DatabaseMovedError where the file is not in its place any more, and what the function raises.
        """
        unwanted = threading.Event()

        def run() -> R:
            db = self._opened()
            db.conn.set_progress_handler(unwanted.is_set, _STEPS)
            with self._patience.around(db, takes_lock=True), translated(str(self._path)):
                return work(db)

        self._unwanted.add(unwanted)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except asyncio.CancelledError:
            unwanted.set()
            raise
        finally:
            self._unwanted.discard(unwanted)

    async def open(self) -> None:
        """Open the file now rather than for the first call. Raises as open_database does, and DatabaseMovedError."""
        await on_thread(self._thread, self._opened)

    async def close(self) -> None:
        """Break off what is being read and let go of the file."""
        for unwanted in self._unwanted:
            unwanted.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def let_go(self) -> None:
        """The same, for whoever cannot wait for it."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _opened(self) -> SqliteDatabase:
        if self._db is None:
            db = open_database(self._path, read_only=True)
            if not self._is_ours(db):
                db.close()
                raise DatabaseMovedError(str(self._path))
            self._db = db
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
