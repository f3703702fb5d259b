"""A second connection, for what may take long to read: a search never delays what is being written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .connections import open_database

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

R = TypeVar("R")


# So many steps of SQLite's machine (a millisecond or less) between two looks at whether anybody still waits.
_STEPS = 10_000


class Reader:
    """A connection that only reads, on a thread of its own. What nobody waits for any more is broken off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-reader")
        self._db: SqliteDatabase | None = None
        self._unwanted: set[threading.Event] = set()

    async def call(self, work: Callable[[SqliteDatabase], R]) -> R:
        """Run a function that reads, after those that were asked for before."""
        unwanted = threading.Event()

        def run() -> R:
            if self._db is None:
                self._db = open_database(self._path, read_only=True)
            self._db.conn.set_progress_handler(unwanted.is_set, _STEPS)
            return work(self._db)

        self._unwanted.add(unwanted)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except asyncio.CancelledError:
            unwanted.set()
            raise
        finally:
            self._unwanted.discard(unwanted)

    async def close(self) -> None:
        """Break off what is being read and let go of the file."""
        for unwanted in self._unwanted:
            unwanted.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
