"""The database, opened in the background on its own thread: everybody may call it before it is there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from storage.errors import StorageError

if TYPE_CHECKING:
    import sqlite_utils

    from storage.database import Database

P = ParamSpec("P")
R = TypeVar("R")


class Store:
    """A database that is opened once; calls wait for it, and fail with its error where it cannot be opened."""

    def __init__(self) -> None:
        self._database: asyncio.Future[Database] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def open_temporary(self) -> None:
        """Open an empty database that is gone at the end, where the real one cannot be used. Raises StorageError."""
        self._folder = tempfile.TemporaryDirectory(prefix="llm-tui-")
        await self.open(Path(self._folder.name) / "sessions.db")

    async def open(self, path: Path) -> None:
        """Open the database, creating it and its folder where there is none. Raises StorageError."""
        loop = asyncio.get_running_loop()
        self._database = loop.create_future()
        try:
            # SQLite's helpers take long to import, so that happens beside the first paint.
            database_class = await asyncio.to_thread(_database_class)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database.set_result(await database_class.open(path))
        except (StorageError, OSError) as error:
            reason = error if isinstance(error, StorageError) else StorageError(f"{path} cannot be opened: {error}.")
            self._database.set_exception(reason)
            self._database.exception()
            raise reason from error
        except asyncio.CancelledError:
            self._database.cancel()
            raise

    async def call(
        self, function: Callable[Concatenate[sqlite_utils.Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function of the storage package on the database's thread. Raises StorageError."""
        if self._database is None:
            raise StorageError("The database is not open.")
        database = await asyncio.shield(self._database)
        return await database.call(function, *args, **kwargs)

    async def read(
        self, function: Callable[Concatenate[sqlite_utils.Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function that only reads and may take long, beside the calls; cancelling breaks it off."""
        if self._database is None:
            raise StorageError("The database is not open.")
        database = await asyncio.shield(self._database)
        return await database.read(function, *args, **kwargs)

    async def changed_elsewhere(self) -> bool:
        """Tell whether another app has written since this was last asked."""
        if self._database is None:
            return False
        database = await asyncio.shield(self._database)
        return await database.changed_elsewhere()

    async def close(self) -> None:
        """Close the database; safe where it never opened."""
        if self._database is None:
            return
        with suppress(StorageError, asyncio.CancelledError):
            await (await self._database).close()
        if self._folder is not None:
            self._folder.cleanup()


def _database_class() -> type[Database]:
    from storage.database import Database

    return Database
