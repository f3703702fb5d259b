"""Write sessions out: lossless JSON, one or all of them, and Markdown to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from .errors import NoSuchSessionError
from .portable import FORMAT, VERSION, PortableSession, portable_message, portable_session
from .records import Message
from .rows import MESSAGE_COLUMNS, MESSAGE_TABLES, query, session_key, to_message
from .sessions import get_session
from .transactions import reads
from .tree import all_messages, path

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

T = TypeVar("T")

_SPEAKERS = {"user": "You", "system": "System"}
_STATES = {
    "writing": "being written",
    "stopped": "stopped",
    "interrupted": "interrupted",
    "failed": "failed",
}


@reads
def export_session(db: SqliteDatabase, session_id: str) -> PortableSession:
    """Return a session with all its branches; msgspec writes it as JSON. Raises NoSuchSessionError."""
    session = get_session(db, session_id)
    on_path = {step.message.id for step in path(db, session_id)}
    rows = query(
        db,
        f"SELECT m.shown, t.tokens, {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES}"
        " LEFT JOIN answer_tokens t ON t.message_key = m.key WHERE m.session_key = ? ORDER BY m.key",
        session_key(db, session_id),
    )
    messages = []
    for row in rows:
        shown, tokens = bool(row.pop("shown")), row.pop("tokens")
        message = to_message(row)
        messages.append(portable_message(message, on_path=message.id in on_path, shown=shown, tokens=tokens))
    return portable_session(session, messages)


def session_json(db: SqliteDatabase, session_id: str) -> str:
    """Write one session as JSON."""
    return msgspec.json.format(msgspec.json.encode(export_session(db, session_id)), indent=2).decode() + "\n"


def all_sessions_json(db: SqliteDatabase) -> Iterator[str]:
    """Write all sessions as one JSON document, piece by piece: a session a line, the oldest first.

    The sessions are those that were there at the beginning; each is read by itself, so that nobody waits for all.
    """
    yield f'{{"format": "{FORMAT}", "version": {VERSION}, "sessions": ['
    separator = "\n"
    for session in _each(db, export_session):
        yield separator + msgspec.json.encode(session).decode()
        separator = ",\n"
    yield "\n]}\n"


def all_sessions_markdown(db: SqliteDatabase) -> Iterator[str]:
    """Write all sessions to be read, one after the other, as all_sessions_json does."""
    separator = ""
    for text in _each(db, session_markdown):
        yield separator + text
        separator = "\n"


def _each(db: SqliteDatabase, write: Callable[[SqliteDatabase, str], T]) -> Iterator[T]:
    for session_id in session_ids(db):
        # One may be deleted in the meantime.
        with suppress(NoSuchSessionError):
            yield write(db, session_id)


@reads
def session_markdown(db: SqliteDatabase, session_id: str, *, branches: bool = False) -> str:
    """Write a session to be read: the shown branch, or all of them, each message saying which it follows."""
    session = get_session(db, session_id)
    lines = [f"# {_one_line(session.title) or 'Untitled'}", ""]
    facts = [session.created_utc[:10], session.model]
    lines += [" · ".join(fact for fact in facts if fact), ""]
    if session.system:
        lines += ["> " + line for line in session.system.splitlines()] + [""]
    if branches:
        lines += _tree(all_messages(db, session_id))
    else:
        for step in path(db, session_id):
            lines += _section(step.message, "")
    return "\n".join(lines)


def _tree(messages: list[Message]) -> list[str]:
    numbers = {message.id: number for number, message in enumerate(messages, start=1)}
    lines: list[str] = []
    for message in messages:
        follows = f", follows {numbers[message.parent_id]}" if message.parent_id is not None else ""
        lines += _section(message, f"{numbers[message.id]}{follows}: ")
    return lines


def _section(message: Message, place: str) -> list[str]:
    speaker = _SPEAKERS.get(message.role) or _one_line(message.model or "") or "Model"
    state = f" ({_STATES[message.state]})" if message.state in _STATES else ""
    return [f"## {place}{speaker}{state}", "", message.content.rstrip(), ""]


def _one_line(text: str) -> str:
    return " ".join(text.split())


@reads
def session_ids(db: SqliteDatabase) -> list[str]:
    """The ids of all sessions that are not deleted, the oldest first."""
    return [row[0] for row in db.execute("SELECT id FROM sessions WHERE deleted_utc IS NULL ORDER BY key")]
