"""Put sessions that were read from a file into the database: all or nothing, nothing twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..answer_tokens import keep_tokens
from ..errors import ImportFileError
from ..ids import from_bytes
from ..nodes import BRANCH, head_of, insert, keep_unfinished, leaf_under, move_head, show
from ..owners import this_owner
from ..portable import PortableMessage, PortableSession, stored_message
from ..records import Message, now_utc
from ..rows import origin_key, settings_text, storable, storable_seed
from ..transactions import writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

BETWEEN_PIECES = "\n\n"
"""Between the texts that an importer makes one answer of."""

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. session_ids: new ones and those that got more, in the order of the file.

    n_messages: those that were added, and answers that have grown. n_left_out: sessions that could not be read.
    """

    session_ids: list[str]
    n_new: int
    n_extended: int
    n_known: int
    n_messages: int
    n_left_out: int = 0


def derived_id(foreign: str) -> str:
    """Make an id of another program's, always the same, so that a second import recognises it."""
    return from_bytes(hashlib.sha256(foreign.encode("utf-8", "replace")).digest())


def other_id(session_id: str, message_id: str) -> str:
    """The id of a session's message whose own another session has, or had: in a copy that was edited by hand."""
    return derived_id(f"{session_id}/{message_id}")


@writes
def store_sessions(db: SqliteDatabase, sessions: Sequence[PortableSession]) -> ImportReport:
    """Store sessions, their times as records keep them.

    Raises ImportFileError when one of them is not a tree, and then none is stored.
    """
    ids: list[str] = []
    n_new = n_extended = n_known = n_messages = 0
    for session in sessions:
        session_id = _own_id(session.id)
        row = db.execute("SELECT key, deleted_utc FROM sessions WHERE id = ?", [session_id]).fetchone()
        key = int(row[0]) if row else _insert_session(db, session, session_id)
        n_changed = _add_messages(db, key, session)
        n_messages += n_changed
        if row is None:
            n_new += 1
        elif n_changed or row[1] is not None:
            # One that was deleted, but not yet for good, comes back.
            db.execute("UPDATE sessions SET deleted_utc = NULL WHERE key = ?", [key])
            n_extended += 1
        else:
            n_known += 1
            continue
        ids.append(session_id)
    return ImportReport(session_ids=ids, n_new=n_new, n_extended=n_extended, n_known=n_known, n_messages=n_messages)


def _insert_session(db: SqliteDatabase, session: PortableSession, session_id: str) -> int:
    created = session.created_utc or now_utc()
    values = {
        "id": session_id,
        **said_of_it(session),
        "pinned": session.pinned,
        "archived": session.archived,
        "created_utc": created,
        "updated_utc": session.updated_utc or created,
    }
    places = ", ".join("?" * len(values))
    cursor = db.execute(f"INSERT INTO sessions ({', '.join(values)}) VALUES ({places})", list(values.values()))
    return int(cursor.lastrowid or 0)


def said_of_it(session: PortableSession) -> dict[str, str | None]:
    """What a session's columns are to hold that say how it is called and how it goes on."""
    return {
        "title": storable(session.title),
        "title_source": session.title_source,
        "model": storable(session.model),
        "system": storable(session.system),
        "settings": settings_text(session.settings),
        "template": None if session.template is None else storable(session.template),
        "draft": storable(session.draft),
    }


def _add_messages(db: SqliteDatabase, session: int, source: PortableSession) -> int:
    """Add what the session lacks and return how many messages that were, those that have grown among them."""
    known = dict(db.execute("SELECT id, key FROM messages WHERE session_key = ?", [session]).fetchall())
    keys: dict[str, int] = {}
    n_added = n_grown = 0
    for message in _parents_first(source):
        message_id = _free_id(db, message, source, known)
        if message_id in known:
            keys[message.id] = known[message_id]
            if _has_grown(db, known[message_id], message):
                update_message(db, known[message_id], stored_message(message, source.id, message_id), message.tokens)
                n_grown += 1
            pieces = _split(db, session, known[message_id], message, source)
            known |= pieces
            n_added += len(pieces)
            continue
        message.created_utc = message.created_utc or source.created_utc or now_utc()
        record = stored_message(message, source.id, message_id)
        parent = None if message.parent_id is None else keys[message.parent_id]
        keys[message.id] = insert(db, session, parent, record)
        if message.tokens:
            keep_tokens(db, keys[message.id], message.tokens)
        if record.token_ids is not None and record.state != "complete":
            keep_unfinished(db, keys[message.id], record.token_ids, this_owner())
        n_added += 1
    if n_added:
        before = head_of(db, session)
        _choose_branches(db, session, source, keys)
        _choose_head(db, session, source, keys, before)
        if source.model and head_of(db, session) != before:
            db.execute("UPDATE sessions SET model = ? WHERE key = ?", [storable(source.model), session])
    if (n_added or n_grown) and source.updated_utc:
        db.execute("UPDATE sessions SET updated_utc = max(updated_utc, ?) WHERE key = ?", [source.updated_utc, session])
    return n_added + n_grown


def _free_id(db: SqliteDatabase, message: PortableMessage, source: PortableSession, known: dict[str, int]) -> str:
    """The id that a message has in its session, known there already or free."""
    message_id = _own_id(message.id)
    if message_id in known:
        return message_id
    other = other_id(source.id, message.id)
    if other in known or db.execute("SELECT 1 FROM messages WHERE id = ?", [message_id]).fetchone():
        return other
    return message_id


def _has_grown(db: SqliteDatabase, key: int, message: PortableMessage) -> bool:
    """Whether an answer goes on where the one that is stored ends, or is complete now and was not.

    One that is being written here is left alone, and so is one that went on otherwise.
    """
    if message.role != "assistant":
        return False
    content, state = db.execute("SELECT content, state FROM messages WHERE key = ?", [key]).fetchone()
    text = storable(message.content)
    if state == "writing" or not text.startswith(content):
        return False
    if len(text) > len(content):
        # Where another answer follows, it may be a piece of this one that a newer file has apart.
        sql = "SELECT 1 FROM messages WHERE parent_key = ? AND role = 'assistant'"
        return not db.execute(sql, [key]).fetchone()
    return message.state == "complete" and state != "complete"


def _split(
    db: SqliteDatabase, session: int, key: int, message: PortableMessage, source: PortableSession
) -> dict[str, int]:
    """Take apart an answer that the file has in pieces, since it branches within; returns the id and key of the rest.

    What followed the answer follows the rest. Nothing happens where the rest is not a new message of the file.
    """
    content, state = db.execute("SELECT content, state FROM messages WHERE key = ?", [key]).fetchone()
    start = storable(message.content) + BETWEEN_PIECES
    if message.role != "assistant" or state == "writing" or not content.startswith(start):
        return {}
    rest = content.removeprefix(start)
    for piece in source.messages:
        text = storable(piece.content)
        goes_on = rest == text or rest.startswith(text + BETWEEN_PIECES)
        if piece.parent_id != message.id or piece.role != "assistant" or not goes_on:
            continue
        piece_id = _own_id(piece.id)
        if db.execute("SELECT 1 FROM messages WHERE id = ?", [piece_id]).fetchone():
            continue
        piece.created_utc = piece.created_utc or message.created_utc or source.created_utc or now_utc()
        record = msgspec.structs.replace(stored_message(piece, source.id, piece_id), content=rest)
        piece_key = insert(db, session, key, record)
        db.execute("UPDATE messages SET parent_key = ?1 WHERE parent_key = ?2 AND key <> ?1", [piece_key, key])
        db.execute("UPDATE sessions SET head_key = ? WHERE key = ? AND head_key = ?", [piece_key, session, key])
        update_message(db, key, stored_message(message, source.id, message.id), message.tokens)
        return {piece_id: piece_key}
    return {}


def update_message(db: SqliteDatabase, key: int, record: Message, tokens: bytes | None) -> None:
    """Have a stored message say what the same one said elsewhere. tokens: of pack_tokens."""
    db.execute(
        "UPDATE messages SET content = ?, state = ?, origin_key = ?, seed = ?, prompt_tokens = ?, generated_tokens = ?,"
        " tokens_per_second = ?, first_token_ms = ? WHERE key = ?",
        [
            storable(record.content),
            record.state,
            origin_key(db, record.model, record.settings),
            storable_seed(record.seed),
            record.prompt_tokens,
            record.generated_tokens,
            record.tokens_per_second,
            record.first_token_ms,
            key,
        ],
    )
    keep_tokens(db, key, tokens)
    if record.state == "complete" or record.token_ids is None:
        db.execute("DELETE FROM unfinished WHERE message_key = ?", [key])
    else:
        keep_unfinished(db, key, record.token_ids, this_owner())


def _choose_branches(db: SqliteDatabase, session: int, source: PortableSession, keys: dict[str, int]) -> None:
    """Of the children of every message, show one: the one that was shown, else the last."""
    shown: dict[str | None, str] = {}
    for message in source.messages:
        if message.shown or message.parent_id not in shown:
            shown[message.parent_id] = message.id
        elif message.shown is None:
            shown[message.parent_id] = message.id
    for parent_id, message_id in shown.items():
        show(db, session, None if parent_id is None else keys[parent_id], keys[message_id])


def _choose_head(
    db: SqliteDatabase, session: int, source: PortableSession, keys: dict[str, int], before: int | None
) -> None:
    """Move the head to the file's, unless the session was going another way here."""
    on_path = [message for message in source.messages if message.on_path]
    # Every step of the branch is looked at, not only the last.
    db.execute("UPDATE sessions SET head_key = NULL WHERE key = ?", [session])
    parents = {message.parent_id for message in on_path}
    ends = [message.id for message in on_path if message.id not in parents]
    head = keys[ends[-1] if ends else source.messages[-1].id]
    if before is not None:
        goes_on = db.execute(f"{BRANCH} SELECT 1 FROM branch WHERE key = ?", [head, before]).fetchone()
        # What the file has under it is shown with it.
        head = head if goes_on else leaf_under(db, before)
    move_head(db, session, head)


def _parents_first(session: PortableSession) -> list[PortableMessage]:
    """Order messages so that every parent comes before its children; else as they are in the file."""
    by_id = {message.id: message for message in session.messages}
    if len(by_id) < len(session.messages):
        raise ImportFileError(f"Session {session.id} has two messages of the same id.")
    ordered: dict[str, PortableMessage] = {}
    for message in session.messages:
        branch: dict[str, PortableMessage] = {}
        step: PortableMessage | None = message
        while step is not None and step.id not in ordered:
            if step.id in branch:
                raise ImportFileError(f"Session {session.id} is not a tree: message {step.id} comes before itself.")
            branch[step.id] = step
            if step.parent_id is None:
                break
            if step.parent_id not in by_id:
                raise ImportFileError(f"Session {session.id} lacks message {step.parent_id}, which {step.id} follows.")
            step = by_id[step.parent_id]
        ordered.update(reversed(branch.items()))
    return list(ordered.values())


def _own_id(text: str) -> str:
    return text if _ID.fullmatch(text) else derived_id(text)
