"""The database, opened in the background on its own thread: everybody may call it before it is there.

What it cannot take for the moment is kept in a shelter in memory, and tried again. Where it cannot be written from the
start, it is read meanwhile; where it cannot even be read, all is in memory until it can.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from storage.errors import DatabaseAccessError, DatabaseBusyError, StorageError
from storage.transactions import only_reads
from tui.language import _
from tui.messages import Post, Trouble
from tui.sentences import system_words
from tui.services import background
from tui.services.background import to_the_end
from tui.services.shelter_folder import ShelterFolder
from tui.text import safe_line

if TYPE_CHECKING:
    import sqlite_utils

    from storage.database import Database
    from storage.portable import PortableSession
    from tui.services.shelter import Shelter

RETRY_S = 5.0
"""The time between two attempts to store what could not be stored."""

LAST_PATIENCE_S = 3.0
"""A program that holds the database at the end is given so long, before what is in memory goes to a file."""

_LAST_RETRY_S = 0.1

_IDS = frozenset(["session_id", "message_id", "ids"])

P = ParamSpec("P")
R = TypeVar("R")


class Store:
    """A database that is opened once; calls wait for it, and fail with its error where it cannot be opened.

    tell: called with the reason when something cannot be stored and is kept in memory, and with None when all of it is
    stored after all. post: gets what nobody foresaw. waits: called when the end has to wait for another program.
    rescued: after close, the file with what could not be stored at all, if there is such a thing.
    """

    def __init__(
        self,
        tell: Callable[[StorageError | None], None],
        retry_s: float = RETRY_S,
        post: Post | None = None,
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = Path()
        self._identity = ""
        self._database: asyncio.Future[Database] | None = None
        self._replaced: Database | None = None
        self._temporary: Shelter | None = None
        self._tell = tell
        self._post = post
        self._waits = waits
        self._retry_s = retry_s
        self._shelter: Shelter | None = None
        self._became: dict[str, str] = {}
        self._sheltering = asyncio.Lock()
        self._retrying: asyncio.Task[None] | None = None
        self.is_read_only = False
        self.rescued: Path | None = None

    @property
    def is_sheltering(self) -> bool:
        """Whether something is in memory that the database could not take."""
        return self._shelter is not None

    async def open_temporary(self, error: StorageError | None = None) -> None:
        """Open an empty database in memory, where the real one cannot be used. Raises StorageError.

        At the end, the real one is tried again. error: why it cannot be used; if that may pass, it is tried from time
        to time.
        """
        from tui.services.shelter import Shelter, can_pass

        try:
            self._temporary = await Shelter.open(self._path, self._identity)
        except OSError as error:
            raise _not_opened(error.filename, error) from error
        self._database = _result(self._temporary.database)
        if error is not None and can_pass(error):
            self._retry_soon()

    async def open(self, path: Path) -> None:
        """Open the database, creating it and its folder where there is none. Raises StorageError."""
        self._path = path
        self._database = asyncio.get_running_loop().create_future()
        try:
            # SQLite's helpers take long to import, so that happens beside the first paint.
            await asyncio.to_thread(_database_class)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database.set_result(await self._open_for_now())
        except (StorageError, OSError) as error:
            reason = error if isinstance(error, StorageError) else _not_opened(path, error)
            self._database.set_exception(reason)
            self._database.exception()
            raise reason from error
        except asyncio.CancelledError:
            # Who waits for it is not cancelled: it is no database that one can use.
            self._database.set_exception(_not_open())
            self._database.exception()
            raise

    async def _open_for_now(self) -> Database:
        """Open the database; only to read, where it cannot be written for a while."""
        from storage.app_settings import IDENTITY, get_setting

        try:
            return await self._open_to_write()
        except StorageError as error:
            from tui.services.shelter import can_pass

            if not can_pass(error):
                raise
            try:
                database = await _database_class().open(self._path, read_only=True)
            except StorageError:
                raise error from None
            with suppress(StorageError):
                self._identity = await database.look(get_setting, IDENTITY) or ""
            self.is_read_only = True
            self._tell(error)
            self._retry_soon()
            return database

    async def _open_to_write(self) -> Database:
        """Open the database and store what apps that were killed have left in memory."""
        from storage.app_settings import identify

        database = await _database_class().open(self._path)
        # Made with the first start: later, when it is wanted, the database may be one that cannot be written.
        with suppress(StorageError):
            self._identity = await database.call(identify)
        if left := ShelterFolder.left_for(self._path, self._identity):
            from tui.services.shelter import take_over

            await take_over(left, database, self._tell_deleted)
        return database

    async def _reopen(self) -> None:
        """Open the database for writing, too. Raises StorageError where it still cannot be written.

        What was said in the temporary one is then to be given back.
        """
        from storage.answers import recover_interrupted

        assert self._database is not None
        database = await self._open_to_write()
        # Calls may be under way in the other one.
        self._replaced, self._database = self._database.result(), _result(database)
        self.is_read_only = False
        if self._temporary is not None:
            self._shelter, self._temporary = self._temporary, None
        with suppress(StorageError):
            await database.call(recover_interrupted)

    async def call(
        self, function: Callable[Concatenate[sqlite_utils.Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function of the storage package: on the database's thread, or beside it what only reads.

        Raises StorageError. What it is about, an id or several, comes first and by its place: the shelter looks there.
        """
        if not args and not _IDS.isdisjoint(kwargs):
            raise TypeError(f"{function.__name__} has to be told by place what it is about.")
        args = self._followed(args)
        database = await self._opened()
        # What is written while a session is being taken into the shelter must not miss it there.
        if self._shelter is not None or (self._sheltering.locked() and not only_reads(function)):
            async with self._sheltering:
                if self._shelter is not None and await self._shelter.holds(args):
                    return cast(R, await self._shelter.call(await self._opened(), function, *args, **kwargs))
            # What was in memory may be stored by now.
            args = self._followed(args)
        if only_reads(function):
            return await database.look(function, *args, **kwargs)
        try:
            return await database.call(function, *args, **kwargs)
        except StorageError as error:
            from tui.services.shelter import can_shelter

            if not can_shelter(function, error):
                raise
            # What was asked for is done, whoever still waits, as in the database; and no half of a shelter stays.
            return cast(R, await to_the_end(self._call_in_shelter(error, function, *args, **kwargs)))

    def _followed(self, args: Any) -> Any:
        """What a call is about, with the ids that sessions have by now."""
        if self._became and args and isinstance(args[0], str):
            return (self._became.get(args[0], args[0]), *args[1:])
        return args

    async def _opened(self) -> Database:
        if self._database is None:
            raise _not_open()
        return await asyncio.shield(self._database)

    async def _call_in_shelter(
        self, error: StorageError, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        from tui.services.shelter import Shelter

        async with self._sheltering:
            database = await self._opened()
            try:
                shelter = self._shelter or await Shelter.open(self._path, self._identity)
            except (StorageError, OSError):
                raise error from None
            try:
                # A call behind the one that failed may still be carried out: the copy is to have that, too.
                await database.settle()
                await shelter.take_in(database, args)
            except StorageError:
                if self._shelter is None:
                    await shelter.close()
                raise error from None
            if self._shelter is None:
                self._shelter = shelter
                if not self.is_read_only:
                    self._tell(error)
                self._retry_soon()
            return await shelter.call(database, function, *args, **kwargs)

    def _retry_soon(self) -> None:
        if self._retrying is None or self._retrying.done():
            self._retrying = background.begin(self._retry(), "store what is in memory", self._post)

    async def _retry(self) -> None:
        while self._shelter is not None or self._lacks_real_one:
            await asyncio.sleep(self._retry_s)
            with suppress(StorageError):
                await self._give_back()

    @property
    def _lacks_real_one(self) -> bool:
        """Whether there is no database that can be written, but for one in memory."""
        return self.is_read_only or self._temporary is not None

    async def _give_back(self) -> None:
        """Store what is in memory. Raises StorageError."""
        if self._lacks_real_one:
            await self._reopen()
        # Half of a session that is stored and not yet forgotten here would be stored once more.
        await to_the_end(self._hand_back())
        self._tell(None)

    async def _hand_back(self) -> None:
        async with self._sheltering:
            if self._shelter is not None:
                await self._shelter.give_back(await self._opened(), self._tell_deleted)
                shelter, self._shelter = self._shelter, None
                await shelter.close()

    def _tell_deleted(self, session: PortableSession, became: str | None) -> None:
        """A session that was kept in memory was deleted elsewhere. became: the one that has what was said in it since.

        Whoever still goes on in it goes on in that.
        """
        if became is None:
            return
        self._became[session.id] = became
        if self._post is not None:
            told = _(
                "“{title}” was deleted elsewhere and stays deleted."
                " What was said in it since then is a session of its own.",
                title=safe_line(session.title, 60),
            )
            self._post(Trouble(told, "warning"))

    async def read(
        self, function: Callable[Concatenate[sqlite_utils.Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function that only reads and may take long, beside the calls; cancelling breaks it off."""
        database = await self._opened()
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
        async with self._sheltering:
            # What is being handed back is not in memory any more then, and what is on its way there is.
            pass
        with suppress(StorageError, OSError):
            await self._save_last()
        if self._shelter is not None:
            await self._shelter.leave()
        if self._replaced is not None:
            with suppress(StorageError):
                await self._replaced.close()
        # The last one: what can only read leaves SQLite's log beside the file.
        with suppress(StorageError):
            await (await self._database).close()

    async def _save_last(self) -> None:
        """Store what is still in memory, or write it to a file; where neither works, the next start has it."""
        if self._shelter is not None or self._temporary is not None:
            with suppress(StorageError):
                await self._give_back_patiently()
        if self._temporary is not None:
            self._shelter, self._temporary = self._temporary, None
        if self._shelter is not None:
            self.rescued = await self._shelter.rescue()
            await self._shelter.close()
            self._shelter = None

    async def _give_back_patiently(self) -> None:
        limit_s = time.monotonic() + LAST_PATIENCE_S
        is_told = False
        while True:
            try:
                return await self._give_back()
            except DatabaseBusyError:
                if time.monotonic() > limit_s:
                    raise
                if not is_told:
                    self._waits()
                    is_told = True
                await asyncio.sleep(_LAST_RETRY_S)


def _not_open() -> StorageError:
    return StorageError(_("The database is not open."))


def _not_opened(path: Path | str, error: OSError) -> StorageError:
    message = _("{path} cannot be opened: {error}.", path=path, error=system_words(error))
    return StorageError(message, DatabaseAccessError.hint)


def _result(database: Database) -> asyncio.Future[Database]:
    future: asyncio.Future[Database] = asyncio.get_running_loop().create_future()
    future.set_result(database)
    return future


def _database_class() -> type[Database]:
    from storage.database import Database

    return Database
