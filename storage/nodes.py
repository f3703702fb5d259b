"""The tree by its keys: the steps that tree.py, answers.py and the importers are made of.

Everything here belongs inside a transaction. A session's head is the last message of the shown branch. Of each
message's children one is marked as shown, so that coming back to a branch finds the leaf at which it was left.
Siblings are in the order in which they were written, whatever the clock said.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .owners import Owner
from .records import Message
from .rows import origin_key, storable, storable_seed

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

BRANCH = """
WITH RECURSIVE branch (key, parent_key, depth) AS (
    SELECT key, parent_key, 0 FROM messages WHERE key = ?
    UNION ALL
    SELECT messages.key, messages.parent_key, branch.depth + 1
    FROM branch JOIN messages ON messages.key = branch.parent_key
)
"""
SUBTREE = """
WITH RECURSIVE subtree (key) AS (
    SELECT ?
    UNION ALL
    SELECT messages.key FROM subtree JOIN messages ON messages.parent_key = subtree.key
)
"""


def insert(db: SqliteDatabase, session: int, parent: int | None, message: Message) -> int:
    """Put a message under its parent and return its key; the message's session_id and parent_id are not looked at."""
    cursor = db.execute(
        "INSERT INTO messages (id, session_key, parent_key, role, state, created_utc, origin_key, seed, prompt_tokens,"
        " generated_tokens, tokens_per_second, first_token_ms, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            message.id,
            session,
            parent,
            message.role,
            message.state,
            message.created_utc,
            origin_key(db, message.model, message.settings),
            storable_seed(message.seed),
            message.prompt_tokens,
            message.generated_tokens,
            message.tokens_per_second,
            message.first_token_ms,
            storable(message.content),
        ],
    )
    return int(cursor.lastrowid or 0)


def keep_unfinished(db: SqliteDatabase, key: int, token_ids: bytes | None, writer: Owner) -> None:
    """Remember an unfinished answer's tokens and who writes it, from now on."""
    db.execute(
        "INSERT OR REPLACE INTO unfinished (message_key, token_ids, host, pid, process_started_s, heartbeat_s)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [key, token_ids, writer.host, writer.pid, writer.process_started_s, time.time()],
    )


def head_of(db: SqliteDatabase, session: int) -> int | None:
    """Return the key of a session's head, None when the session is empty."""
    head: int | None = db.execute("SELECT head_key FROM sessions WHERE key = ?", [session]).fetchone()[0]
    return head


def parent_of(db: SqliteDatabase, key: int) -> int | None:
    """Return the key of a message's parent, None at the root."""
    parent: int | None = db.execute("SELECT parent_key FROM messages WHERE key = ?", [key]).fetchone()[0]
    return parent


def move_head(db: SqliteDatabase, session: int, key: int | None) -> None:
    """Make a message the head and all its ancestors the shown ones among their siblings."""
    before = head_of(db, session)
    db.execute("UPDATE sessions SET head_key = ? WHERE key = ?", [key, session])
    if key is None:
        return
    parent = parent_of(db, key)
    if parent == before:
        # The usual case: the branch goes on or begins, and nothing above it changes.
        show(db, session, parent, key)
        return
    steps = db.execute(f"{BRANCH} SELECT parent_key, key FROM branch", [key]).fetchall()
    for step_parent, step in steps:
        show(db, session, step_parent, step)


def leaf_under(db: SqliteDatabase, key: int) -> int:
    """Follow the shown children down from a message and return the last one."""
    row = db.execute(
        "WITH RECURSIVE down (key, depth) AS (SELECT ?, 0 UNION ALL SELECT messages.key, down.depth + 1"
        " FROM down JOIN messages ON messages.parent_key = down.key AND messages.shown = 1)"
        " SELECT key FROM down ORDER BY depth DESC LIMIT 1",
        [key],
    ).fetchone()
    return int(row[0])


def neighbour_of(db: SqliteDatabase, session: int, parent: int | None, key: int) -> int | None:
    """Return the key of the sibling just before a place, else of the one just after, else None."""
    for sql in ("SELECT max(key) {} AND key < ?", "SELECT min(key) {} AND key > ?"):
        sibling = db.execute(
            sql.format("FROM messages WHERE session_key = ? AND parent_key IS ?"), [session, parent, key]
        ).fetchone()[0]
        if sibling is not None:
            return int(sibling)
    return None


def show(db: SqliteDatabase, session: int, parent: int | None, key: int) -> None:
    """Make a message the shown one of its siblings."""
    db.execute(
        "UPDATE messages SET shown = (key = :key)"
        " WHERE session_key = :session AND parent_key IS :parent AND shown <> (key = :key)",
        {"key": key, "session": session, "parent": parent},
    )
