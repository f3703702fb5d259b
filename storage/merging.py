"""Bring a session up to what was written of it in another database, while this one could not be written.

What was deleted here meanwhile stays deleted. What was said in it there since becomes a session of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from .deletion import restore_session
from .errors import NoSuchSessionError
from .export import export_session
from .importers.storing import derived_id, other_id, said_of_it, store_sessions, update_message
from .nodes import leaf_under, move_head
from .portable import PortableMessage, PortableSession, stored_message
from .records import now_utc
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

_TITLE_CHARS = 60


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
) -> str | None:
    """Store a session, or what is newer in it: its messages, its branch, its title and settings. Returns its id.

    Messages that are only here stay. deleted_utc: when it was deleted, if it was. before: the session as it was when
    the other database took it over; what is still the same in it may have been changed here since, and stays. Where it
    was deleted here since, another id is returned: of a session with what is new; None where nothing is. Raises
    ImportFileError where it is not a tree.
    """
    if before is not None and deleted_utc is None and not _is_kept(db, session.id):
        return _store_apart(db, session, texts_of(before), before.draft)
    row = db.execute("SELECT key FROM sessions WHERE id = ?", [session.id]).fetchone()
    if row is not None:
        if before is not None:
            session = _without_deleted(db, row[0], session, texts_of(before))
        _update_messages(db, row[0], session, before)
    store_sessions(db, [session])
    if deleted_utc is not None:
        _mark_deleted(db, session.id, deleted_utc)
    if row is not None:
        _update_session(db, row[0], session, before)
    return session.id


def _update_messages(db: SqliteDatabase, key: int, session: PortableSession, before: PortableSession | None) -> None:
    known = {message.id: _said(message) for message in before.messages} if before is not None else {}
    for message in session.messages:
        if known.get(message.id) == _said(message):
            continue
        if (message_key := _key_of(db, key, session.id, message.id)) is not None:
            update_message(db, message_key, stored_message(message, session.id, message.id), message.tokens)


def _update_session(db: SqliteDatabase, key: int, session: PortableSession, before: PortableSession | None) -> None:
    same = said_of_it(before) if before is not None else {}
    for column, value in said_of_it(session).items():
        if column not in same or same[column] != value:
            # The columns are our own words.
            db.execute(f"UPDATE sessions SET {column} = ? WHERE key = ?", [value, key])
    head = _head(session)
    if head is not None and (before is None or head != _head(before)):
        head_key = _key_of(db, key, session.id, head)
        move_head(db, key, None if head_key is None else leaf_under(db, head_key))


@writes
def store_left_session(
    db: SqliteDatabase,
    session: PortableSession,
    before: dict[str, str | None] | None,
    texts_before: Mapping[str, str] | None,
) -> str | None:
    """Store what is new in a session that was left, as an import would, and how it is called and goes on by now.

    before, texts_before: what said_of_it and texts_of told when the other database took it over, None where it began
    there; what has changed here since stays. Returns an id as merge_session does.
    """
    if before is not None and texts_before is not None and not _is_kept(db, session.id):
        return _store_apart(db, session, texts_before, before["draft"] or "")
    row = db.execute("SELECT key FROM sessions WHERE id = ?", [session.id]).fetchone()
    if row is not None and texts_before is not None:
        session = _without_deleted(db, row[0], session, texts_before)
    store_sessions(db, [session])
    for column, value in said_of_it(session).items():
        if before is not None and value != before[column]:
            # The columns are our own words.
            sql = f"UPDATE sessions SET {column} = ? WHERE id = ? AND {column} IS ?"
            db.execute(sql, [value, session.id, before[column]])
    return session.id


def texts_of(session: PortableSession) -> dict[str, str]:
    """By the ids of a session's messages, what tells whether a text is another one: for store_left_session."""
    return {message.id: hashlib.sha256(message.content.encode()).hexdigest() for message in session.messages}


def _is_kept(db: SqliteDatabase, session_id: str) -> bool:
    """Whether there is such a session that is not deleted."""
    return bool(db.execute("SELECT 1 FROM sessions WHERE id = ? AND deleted_utc IS NULL", [session_id]).fetchone())


def _store_apart(
    db: SqliteDatabase, session: PortableSession, texts_before: Mapping[str, str], draft_before: str
) -> str | None:
    """Store what is new in a session that is deleted as one of its own; None where nothing is.

    A message keeps its id, under which it may still be written.
    """
    texts = texts_of(session)
    messages = _left_of(session, {id_ for id_, text in texts.items() if texts_before.get(id_) == text})
    draft = session.draft if session.draft != draft_before else ""
    if not (messages or draft.strip()):
        return None
    words = next((text for text in [*(message.content for message in messages), draft] if text.strip()), "")
    title = words.strip().partition("\n")[0][:_TITLE_CHARS]
    apart = msgspec.structs.replace(
        session,
        # Always the same: whoever is killed before that is noted stores it again.
        id=derived_id(f"{session.id} apart: {messages[0].id if messages else draft}"),
        title=title,
        title_source="auto",
        messages=messages,
        draft=draft,
        created_utc=messages[0].created_utc if messages else now_utc(),
        pinned=False,
        archived=False,
    )
    store_sessions(db, [apart])
    return apart.id


def _without_deleted(
    db: SqliteDatabase, key: int, session: PortableSession, texts_before: Mapping[str, str]
) -> PortableSession:
    """The session without the messages that are the same as before and were deleted here since."""
    texts = texts_of(session)
    gone = {
        id_
        for id_, text in texts.items()
        if texts_before.get(id_) == text and _key_of(db, key, session.id, id_) is None
    }
    return msgspec.structs.replace(session, messages=_left_of(session, gone)) if gone else session


def _left_of(session: PortableSession, gone: set[str]) -> list[PortableMessage]:
    """The other messages of a session; what followed one that is gone follows what came before that."""
    parents = {message.id: message.parent_id for message in session.messages}

    def left(id_: str | None) -> str | None:
        while id_ in gone:
            id_ = parents[id_]
        return id_

    return [
        msgspec.structs.replace(message, parent_id=left(message.parent_id))
        for message in session.messages
        if message.id not in gone
    ]


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
