"""The tree of a session's messages: add to it, walk it, choose its branches, cut it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .answer_tokens import copy_tokens
from .claims import refuse_held
from .deletion import forget_words
from .errors import NoSuchMessageError
from .ids import new_id
from .nodes import (
    BRANCH,
    SUBTREE,
    head_of,
    insert,
    keep_unfinished,
    leaf_under,
    move_head,
    neighbour_of,
    parent_of,
)
from .owners import this_owner
from .records import Message, MessageState, PathMessage, Role, Session, now_utc
from .rows import (
    MESSAGE_COLUMNS,
    MESSAGE_TABLES,
    message_keys,
    query,
    read_messages,
    session_key,
    to_message,
    touch,
)
from .sessions import create_session, get_session
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


@writes
def append_message(db: SqliteDatabase, session_id: str, parent_id: str | None, role: Role, content: str) -> Message:
    """Add a message under another one (None: at the root) and make it the head."""
    message = Message(
        id=new_id(),
        session_id=session_id,
        parent_id=parent_id,
        role=role,
        content=content,
        state="complete",
        created_utc=now_utc(),
    )
    add(db, message)
    return get_message(db, message.id)


@writes
def edit_message(db: SqliteDatabase, message_id: str, content: str) -> Message:
    """Write another version of a message beside it and make that the head; the old branch stays as it is."""
    old = get_message(db, message_id)
    return append_message(db, old.session_id, old.parent_id, old.role, content)


def add(db: SqliteDatabase, message: Message) -> int:
    """Put a new message where its session_id and parent_id say, make it the head, and return its key."""
    session = session_key(db, message.session_id)
    refuse_held(db, session, message.session_id)
    parent: int | None = None
    if message.parent_id is not None:
        parent, parent_session = message_keys(db, message.parent_id)
        if parent_session != session:
            raise NoSuchMessageError(message.parent_id)
    key = insert(db, session, parent, message)
    move_head(db, session, key)
    touch(db, session)
    return key


@reads
def get_message(db: SqliteDatabase, message_id: str) -> Message:
    """Return one message; raises NoSuchMessageError."""
    found = read_messages(db, "WHERE m.id = ? AND s.deleted_utc IS NULL", message_id)
    if not found:
        raise NoSuchMessageError(message_id)
    return found[0]


@reads
def path(db: SqliteDatabase, session_id: str) -> list[PathMessage]:
    """Return the shown branch, from its root to the head."""
    head = head_of(db, session_key(db, session_id))
    return [] if head is None else _branch(db, head)


@reads
def path_to(db: SqliteDatabase, message_id: str) -> list[PathMessage]:
    """Return the branch from its root to a message, shown or not."""
    return _branch(db, message_keys(db, message_id)[0])


@reads
def siblings(db: SqliteDatabase, message_id: str) -> list[Message]:
    """Return all versions of a message, itself among them, oldest first."""
    key, session = message_keys(db, message_id)
    rest = "WHERE m.session_key = ? AND m.parent_key IS ? ORDER BY m.key"
    return read_messages(db, rest, session, parent_of(db, key))


@reads
def all_messages(db: SqliteDatabase, session_id: str) -> list[Message]:
    """Return the messages of all branches in the order in which they were written."""
    return read_messages(db, "WHERE m.session_key = ? ORDER BY m.key", session_key(db, session_id))


@writes
def switch_to(db: SqliteDatabase, message_id: str) -> Message:
    """Show the branch through a message, down to the leaf at which it was left; return that leaf, the new head."""
    key, session = _writable(db, message_id)
    leaf = leaf_under(db, key)
    move_head(db, session, leaf)
    return read_messages(db, "WHERE m.key = ?", leaf)[0]


@writes
def delete_message(db: SqliteDatabase, message_id: str) -> None:
    """Delete a message and all that follows it, in all branches; purge_deleted then removes the last traces.

    When it was shown, the next older version of it is shown instead, else the next newer one; when there is none, the
    branch ends at the parent.
    """
    key, session = _writable(db, message_id)
    parent = parent_of(db, key)
    head = head_of(db, session)
    shown = db.execute("SELECT shown FROM messages WHERE key = ?", [key]).fetchone()[0]
    head_goes = bool(db.execute(f"{SUBTREE} SELECT 1 FROM subtree WHERE key = ?", [key, head]).fetchone())
    if head_goes:
        db.execute("UPDATE sessions SET head_key = NULL WHERE key = ?", [session])
    db.execute(f"{SUBTREE} DELETE FROM messages WHERE key IN (SELECT key FROM subtree)", [key])
    forget_words(db)
    heir = neighbour_of(db, session, parent, key)
    if shown and heir is not None:
        db.execute("UPDATE messages SET shown = 1 WHERE key = ?", [heir])
    if head_goes:
        move_head(db, session, parent if heir is None else leaf_under(db, heir))
    touch(db, session)


@writes
def fork_session(db: SqliteDatabase, session_id: str, message_id: str) -> Session:
    """Copy the branch from its root to a message into a session of its own, with the model of its last answer."""
    old = get_session(db, session_id)
    branch = path_to(db, message_id)
    if branch[-1].message.session_id != session_id:
        raise NoSuchMessageError(message_id)
    answered_by = next((step.message.model for step in reversed(branch) if step.message.model), old.model)
    new = create_session(
        db, model=answered_by, system=old.system, settings=old.settings, template=old.template, title=old.title
    )
    session = session_key(db, new.id)
    db.execute("UPDATE sessions SET title_source = ? WHERE key = ?", [old.title_source, session])
    key: int | None = None
    for step in branch:
        state: MessageState = "interrupted" if step.message.state == "writing" else step.message.state
        key = insert(db, session, key, msgspec.structs.replace(step.message, id=new_id(), state=state))
        copy_tokens(db, step.message.id, key)
        if step.message.token_ids is not None:
            keep_unfinished(db, key, step.message.token_ids, this_owner())
    move_head(db, session, key)
    return get_session(db, new.id)


def _writable(db: SqliteDatabase, message_id: str) -> tuple[int, int]:
    key, session = message_keys(db, message_id)
    session_id = db.execute("SELECT id FROM sessions WHERE key = ?", [session]).fetchone()[0]
    refuse_held(db, session, session_id)
    return key, session


def _branch(db: SqliteDatabase, key: int) -> list[PathMessage]:
    among_siblings = (
        "SELECT count(*) FROM messages x WHERE x.session_key = m.session_key AND x.parent_key IS m.parent_key"
    )
    rows = query(
        db,
        f"{BRANCH} SELECT {MESSAGE_COLUMNS}, ({among_siblings}) AS sibling_count,"
        f" ({among_siblings} AND x.key < m.key) AS sibling_index"
        f" FROM branch CROSS JOIN {MESSAGE_TABLES} WHERE m.key = branch.key ORDER BY branch.depth DESC",
        key,
    )
    return [
        PathMessage(
            sibling_index=row.pop("sibling_index"), sibling_count=row.pop("sibling_count"), message=to_message(row)
        )
        for row in rows
    ]
