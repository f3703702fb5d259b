"""What the user has asked, latest first: the prompt box brings it back with the up key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import query
from .transactions import reads

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


@reads
def latest_prompts(db: SqliteDatabase, limit: int) -> list[str]:
    """Return the user's latest messages of all sessions, the latest first, each text once."""
    rows = query(
        db,
        "SELECT m.content FROM messages m JOIN sessions s ON s.key = m.session_key"
        " WHERE m.role = 'user' AND s.deleted_utc IS NULL ORDER BY m.key DESC LIMIT ?",
        limit,
    )
    return list(dict.fromkeys(row["content"] for row in rows))
