"""The database, opened in the background on its own thread: everybody may call it before it is there.

What it cannot take for the moment is kept in a shelter in memory, and tried again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from storage.errors import StorageError
from tui.language import _

if TYPE_CHECKING:
    import sqlite_utils

    from storage.database import Database
    from tui.services.shelter import Shelter

RETRY_S = 5.0
"""The time between two attempts to store what could not be stored."""

P = ParamSpec("P")
R = TypeVar("R")


class Store:
    """A database that is opened once; calls wait for it, and fail with its error where it cannot be opened.

    tell: called with the reason when something cannot be stored and is kept in memory, and with None when all of it is
    stored after all. rescued: after close, the file with what could not be stored at all, if there is such a thing.
    """

    def __init__(self, tell: Callable[[StorageError | None], None], retry_s: float = RETRY_S) -> None:
        self._database: asyncio.Future[Database] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._tell = tell
        self._retry_s = retry_s
        self._shelter: Shelter | None = None
        self._sheltering = asyncio.Lock()
        self._retrying: asyncio.Task[None] | None = None
        self.rescued: Path | None = None

    @property
    def is_sheltering(self) -> bool:
        """Whether something is in memory that the database could not take."""
        return self._shelter is not None

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
            reason: StorageError | OSError = error
            if not isinstance(error, StorageError):
                reason = StorageError(_("{path} cannot be opened: {error}.", path=path, error=error))
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
            raise StorageError(_("The database is not open."))
        database = await asyncio.shield(self._database)
        if self._shelter is not None:
            async with self._sheltering:
                if self._shelter is not None and await self._shelter.holds(args):
                    return cast(R, await self._shelter.call(database, function, *args, **kwargs))
        try:
            return await database.call(function, *args, **kwargs)
        except StorageError as error:
            from tui.services.shelter import can_shelter

            if not can_shelter(function, error):
                raise
            return cast(R, await self._call_in_shelter(database, error, function, *args, **kwargs))

    async def _call_in_shelter(
        self, database: Database, error: StorageError, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        from tui.services.shelter import Shelter

        async with self._sheltering:
            try:
                shelter = self._shelter or await Shelter.open()
            except (StorageError, OSError):
                raise error from None
            try:
                await shelter.take_in(database, args)
            except StorageError:
                if self._shelter is None:
                    await shelter.close()
                raise error from None
            if self._shelter is None:
                self._shelter = shelter
                self._tell(error)
                self._retrying = asyncio.create_task(self._retry(), name="store what is in memory")
            return await shelter.call(database, function, *args, **kwargs)

    async def _retry(self) -> None:
        while self._shelter is not None:
            await asyncio.sleep(self._retry_s)
            with suppress(StorageError):
                await self._give_back()

    async def _give_back(self) -> None:
        assert self._database is not None
        async with self._sheltering:
            shelter = self._shelter
            if shelter is None:
                return
            await shelter.give_back(await self._database)
            self._shelter = None
            await shelter.close()
        self._tell(None)

    async def read(
        self, function: Callable[Concatenate[sqlite_utils.Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function that only reads and may take long, beside the calls; cancelling breaks it off."""
        if self._database is None:
            raise StorageError(_("The database is not open."))
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
        if self._retrying is not None:
            self._retrying.cancel()
        with suppress(StorageError, OSError, asyncio.CancelledError):
            await self._save_last()
        if self._shelter is not None:
            await self._shelter.close()
        with suppress(StorageError, asyncio.CancelledError):
            await (await self._database).close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _save_last(self) -> None:
        """Store what is still in memory, or write it to a file."""
        assert self._database is not None
        if self._folder is not None:
            from tui.services.shelter import rescue

            self.rescued = await rescue(await self._database)
        with suppress(StorageError):
            await self._give_back()
        if self._shelter is not None:
            self.rescued = await self._shelter.rescue()


def _database_class() -> type[Database]:
    from storage.database import Database

    return Database
