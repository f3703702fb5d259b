"""A second connection, for what may take long to read: a search never delays what is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .connections import open_database

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

R = TypeVar("R")


class Reader:
    """A connection that only reads, on a thread of its own. What nobody waits for any more is broken off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-reader")
        self._db: SqliteDatabase | None = None
        self._running: object = None

    async def call(self, work: Callable[[SqliteDatabase], R]) -> R:
        """Run a function that reads, after those that were asked for before."""
        job = object()

        def run() -> R:
            self._running = job
            try:
                if self._db is None:
                    self._db = open_database(self._path, read_only=True)
                return work(self._db)
            finally:
                self._running = None

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except asyncio.CancelledError:
            if self._running is job and self._db is not None:
                self._db.conn.interrupt()
            raise

    async def close(self) -> None:
        """Let go of the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
