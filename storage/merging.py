"""Bring a session up to what was written of it in another database, while this one could not be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .deletion import restore_session
from .errors import NoSuchSessionError
from .export import export_session
from .importers.storing import other_id, said_of_it, store_sessions, update_message
from .nodes import leaf_under, move_head
from .portable import PortableMessage, PortableSession, stored_message
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


@reads
def session_of(db: SqliteDatabase, id_: str) -> str | None:
    """The id of the session that an id means, its own or that of one of its messages; None where it is unknown."""
    row = db.execute(
        "SELECT id FROM sessions WHERE id = :id UNION ALL SELECT s.id FROM messages m"
        " JOIN sessions s ON s.key = m.session_key WHERE m.id = :id",
        {"id": id_},
    ).fetchone()
    return None if row is None else str(row[0])


@writes
def take_session(db: SqliteDatabase, session_id: str) -> tuple[PortableSession, str | None]:
    """A session for merge_session, deleted or not, and when it was deleted. Raises NoSuchSessionError."""
    row = db.execute("SELECT deleted_utc FROM sessions WHERE id = ?", [session_id]).fetchone()
    if row is None:
        raise NoSuchSessionError(session_id)
    # Only what is not deleted can be exported.
    restore_session(db, session_id)
    session = export_session(db, session_id)
    _mark_deleted(db, session_id, row[0])
    return session, row[0]


@writes
def merge_session(
    db: SqliteDatabase,
    session: PortableSession,
    deleted_utc: str | None = None,
    before: PortableSession | None = None,
) -> None:
    """Store a session, or what is newer in it: its messages, its branch, its title and settings.

    Messages that are only here stay. deleted_utc: when it was deleted, if it was. before: the session as it was when
    the other database took it over; what is still the same in it may have been changed here since, and stays. Raises
    ImportFileError where it is not a tree.
    """
    row = db.execute("SELECT key FROM sessions WHERE id = ?", [session.id]).fetchone()
    if row is not None:
        known = {message.id: _said(message) for message in before.messages} if before is not None else {}
        for message in session.messages:
            if known.get(message.id) == _said(message):
                continue
            if (key := _key_of(db, row[0], session.id, message.id)) is not None:
                update_message(db, key, stored_message(message, session.id, message.id), message.tokens)
    store_sessions(db, [session])
    if deleted_utc is not None:
        _mark_deleted(db, session.id, deleted_utc)
    if row is None:
        return
    same = said_of_it(before) if before is not None else {}
    for column, value in said_of_it(session).items():
        if column not in same or same[column] != value:
            # The columns are our own words.
            db.execute(f"UPDATE sessions SET {column} = ? WHERE key = ?", [value, row[0]])
    head = _head(session)
    if head is not None and (before is None or head != _head(before)):
        key = _key_of(db, row[0], session.id, head)
        move_head(db, row[0], None if key is None else leaf_under(db, key))


@writes
def store_left_session(db: SqliteDatabase, session: PortableSession, before: dict[str, str | None] | None) -> None:
    """Store what is new in a session that was left, as an import would, and how it is called and goes on by now.

    before: what said_of_it told when the other database took it over, None where it began there; what has changed
    here since stays.
    """
    store_sessions(db, [session])
    for column, value in said_of_it(session).items():
        if before is not None and value != before[column]:
            # The columns are our own words.
            sql = f"UPDATE sessions SET {column} = ? WHERE id = ? AND {column} IS ?"
            db.execute(sql, [value, session.id, before[column]])


def _said(message: PortableMessage) -> PortableMessage:
    """A message without its place among the others."""
    return msgspec.structs.replace(message, on_path=False, shown=None)


def _head(session: PortableSession) -> str | None:
    return next((message.id for message in reversed(session.messages) if message.on_path), None)


def _mark_deleted(db: SqliteDatabase, session_id: str, deleted_utc: str | None) -> None:
    db.execute("UPDATE sessions SET deleted_utc = ? WHERE id = ?", [deleted_utc, session_id])


def _key_of(db: SqliteDatabase, session: int, session_id: str, message_id: str) -> int | None:
    """The key of a message in the session, under whichever id it is there; None where it is not."""
    row = db.execute(
        "SELECT key FROM messages WHERE session_key = ? AND id IN (?, ?)",
        [session, message_id, other_id(session_id, message_id)],
    ).fetchone()
    return None if row is None else int(row[0])
