"""A place in memory for the sessions that the database cannot take at the moment: the disk is full, or read-only.

A session comes here whole, with the first thing that could not be written of it, and is then read and written here.
When the database can be written again, it goes back. What still is here at the end is written to a file to be imported;
what an app leaves here that is killed, the next start stores.
Nothing is deleted, pinned or archived here alone: it would come back, and the history lists what the database says.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.typed_path import typed_path
from storage import answers, claims, sessions, tree
from storage.app_settings import get_setting, set_setting
from storage.database import Database
from storage.deletion import delete_session, deleted_sessions, purge_deleted, purge_session, restore_session
from storage.errors import (
    CorruptDatabaseError,
    DatabaseAccessError,
    DatabaseBusyError,
    DiskFullError,
    NoSuchMessageError,
    NoSuchSessionError,
    ReadOnlyDatabaseError,
    StorageError,
)
from storage.export import all_sessions_json, export_session, session_ids
from storage.importers.storing import said_of_it
from storage.merging import merge_session, session_of, store_left_session, take_session, texts_of
from storage.portable import PortableSession
from storage.transactions import writes
from tui.log import start_log
from tui.services.shelter_folder import MEMORY, ShelterFolder
from tui.text import first_line

if TYPE_CHECKING:
    import sqlite_utils

_PASSING = (DiskFullError, ReadOnlyDatabaseError, DatabaseBusyError, DatabaseAccessError)
"""What may be over in a while."""

_SAID_BEFORE = "said_before:"
_TEXTS_BEFORE = "texts_before:"
"""What the shelter's own database keeps of a session that it took in, under these and its id: for the next start."""

WRITES: frozenset[Callable[..., Any]] = frozenset(
    [
        answers.begin_answer,
        answers.checkpoint_answer,
        answers.finish_answer,
        answers.resume_answer,
        claims.claim_session,
        sessions.create_session,
        sessions.rename_session,
        sessions.set_draft,
        sessions.set_settings,
        sessions.set_system,
        sessions.set_template,
        tree.append_message,
        tree.edit_message,
        tree.fork_session,
        tree.switch_to,
    ]
)
"""What adds something."""

IN_BOTH: frozenset[Callable[..., Any]] = frozenset(
    [
        answers.drop_empty_answer,
        delete_session,
        purge_deleted,
        restore_session,
        sessions.set_archived,
        sessions.set_pinned,
        tree.delete_message,
    ]
)
"""What is done in the database first, and not at all where that refuses it."""


TellDeleted = Callable[[PortableSession, str | None], None]
"""Called with a session and the id of the one that has what was said in it since, None where that is nothing."""


def can_pass(error: StorageError) -> bool:
    """Whether what failed may work in a while."""
    return isinstance(error, _PASSING)


def can_shelter(function: Callable[..., Any], error: StorageError) -> bool:
    """Whether what failed can be done here instead."""
    # What is damaged stays so, but nobody has to stop talking for that: in the end, there is a file.
    return function in WRITES and (can_pass(error) or isinstance(error, CorruptDatabaseError))


class Shelter:
    """A database in memory beside the real one, or in place of it. Closed, it leaves nothing behind."""

    def __init__(self, folder: ShelterFolder, database: Database) -> None:
        self._folder = folder
        self._database = database
        self._taken_in: dict[str, PortableSession] = {}

    @classmethod
    async def open(cls, path: Path, identity: str) -> Shelter:
        """Make an empty one for the database at a path. Raises StorageError, OSError."""
        folder = ShelterFolder.make(path, identity)
        try:
            return cls(folder, await Database.open(folder.database))
        except BaseException:
            folder.remove()
            raise

    @property
    def database(self) -> Database:
        """The one in memory."""
        return self._database

    async def holds(self, arguments: tuple[Any, ...]) -> bool:
        """Whether a call with these arguments is about a session that is here."""
        return bool(await _sessions_of(self._database, arguments))

    async def take_in(self, real: Database, arguments: tuple[Any, ...]) -> None:
        """Copy the session that a call is about, if there is one yet. Raises StorageError where it cannot be read."""
        for session_id in await _sessions_of(real, arguments):
            if not await self.holds((session_id,)):
                await self._database.call(merge_session, await real.look(export_session, session_id))
                taken = self._taken_in[session_id] = await self._database.call(export_session, session_id)
                await self._database.call(set_setting, _SAID_BEFORE + session_id, said_of_it(taken))
                await self._database.call(set_setting, _TEXTS_BEFORE + session_id, texts_of(taken))

    async def call(self, real: Database, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a function of the storage package on what is here, and on the database where both must agree.

        Raises StorageError where the database refuses it; nothing has changed then.
        """
        if function is claims.claim_session:
            # Here is nobody else who could hold it.
            holder = await real.look(claims.holder_of, arguments[0])
            if holder is not None and holder.id != arguments[1].id:
                return holder
        if function in IN_BOTH and await _sessions_of(real, arguments):
            # Another app may have deleted it there.
            with suppress(NoSuchSessionError, NoSuchMessageError):
                await real.call(function, *arguments, **options)
        return await self._database.call(function, *arguments, **options)

    async def give_back(self, real: Database, tell_deleted: TellDeleted) -> None:
        """Store what is here in the database. Raises StorageError when that cannot be; the rest then stays here.

        What was deleted goes too, as deleted: it can still be brought back. What others have changed there meanwhile
        stays where it was not changed here, like an answer that another app has ended. tell_deleted: called for each
        session that was deleted there meanwhile.
        """
        for session_id in [*await self._database.call(session_ids), *await self._database.call(deleted_sessions)]:
            session, deleted_utc = await self._database.call(take_session, session_id)
            stored_id = await real.call(merge_session, session, deleted_utc, self._taken_in.get(session_id))
            if stored_id != session_id:
                tell_deleted(session, stored_id)
            await self._database.call(purge_session, session_id)

    async def rescue(self) -> Path | None:
        """Write what is here to a file, wherever there is room; None where nothing is.

        The file is what `llm-tui sessions import` reads. Raises OSError where no folder takes it.
        """
        for session in self._taken_in.values():
            with suppress(NoSuchSessionError):
                await self._database.call(_set_draft_apart, session)
        return await self._database.call(_write_all)

    async def close(self) -> None:
        """Forget what is here."""
        with suppress(StorageError):
            await self._database.close()
        self._folder.remove()

    async def leave(self) -> None:
        """Let the next start have what is here."""
        with suppress(StorageError):
            await self._database.close()
        self._folder.leave()


async def _sessions_of(database: Database, arguments: tuple[Any, ...]) -> list[str]:
    """The sessions of a database that a call is about: its first argument is an id, or several."""
    first = arguments[0] if arguments else None
    ids = first if isinstance(first, list) else [first]
    found = [await database.look(session_of, id_) for id_ in ids if isinstance(id_, str)]
    return [session_id for session_id in found if session_id is not None]


async def take_over(folders: Iterable[ShelterFolder], real: Database, tell_deleted: TellDeleted) -> None:
    """Store what killed apps have left in memory; what was changed or deleted in the database since stays so."""
    for folder in folders:
        try:
            await _take_over(folder, real, tell_deleted)
        except (StorageError, OSError) as error:
            start_log().error("What an app has left in %s was not stored: %s", folder.database, error)
            folder.leave()
        else:
            folder.remove()


async def _take_over(folder: ShelterFolder, real: Database, tell_deleted: TellDeleted) -> None:
    left = await Database.open(folder.database)
    try:
        # An answer grows only where nobody writes it.
        await real.call(answers.recover_interrupted)
        for session_id in await left.call(session_ids):
            before, texts_before = [
                await left.call(get_setting, about + session_id) for about in (_SAID_BEFORE, _TEXTS_BEFORE)
            ]
            session = await left.call(export_session, session_id)
            stored_id = await real.call(store_left_session, session, before, texts_before)
            if stored_id != session_id:
                tell_deleted(session, stored_id)
    finally:
        await left.close()


@writes
def _set_draft_apart(db: sqlite_utils.Database, before: PortableSession) -> None:
    """Make a session of a draft that was typed since: an import leaves those of sessions that it knows as they are."""
    session = sessions.get_session(db, before.id)
    if session.draft == before.draft or not session.draft.strip():
        return
    apart = sessions.create_session(
        db,
        model=session.model,
        system=session.system,
        settings=session.settings,
        template=session.template,
        title=first_line(session.draft),
    )
    sessions.set_draft(db, apart.id, session.draft)
    known = {message.id for message in before.messages}
    said = [message.content.strip() for message in tree.all_messages(db, session.id) if message.id not in known]
    # What was just being sent when the session came here is no draft any more.
    sessions.set_draft(db, session.id, "" if before.draft.strip() in said else before.draft)


def _write_all(db: sqlite_utils.Database) -> Path | None:
    if not session_ids(db):
        return None
    text = "".join(all_sessions_json(db))
    error: OSError | None = None
    for folder in (typed_path("~"), Path(tempfile.gettempdir()), MEMORY):
        try:
            return _write_file(folder, text)
        except OSError as reason:
            error = error or reason
    raise error or OSError("no folder takes a file")


def _write_file(folder: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="llm-tui-unsaved-", suffix=".json", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path
