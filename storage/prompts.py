"""What the user has asked, latest first: the prompt box brings it back with the up key."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from .newest import Found, newest_first
from .transactions import reads

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


_IN_SESSIONS = """
SELECT m.created_utc, m.key, i.value FROM json_each(?) i CROSS JOIN messages m ON m.session_key = i.value
WHERE m.role = 'user'
"""


@reads
def latest_prompts(db: SqliteDatabase, limit: int) -> list[str]:
    """Return the user's latest messages of all sessions, the latest first, each text once."""

    def find(sessions: str) -> Found:
        return db.execute(_IN_SESSIONS, [sessions]).fetchall()

    places = islice(newest_first(db, find), limit)
    contents = (db.execute("SELECT content FROM messages WHERE key = ?", [at.key]).fetchone()[0] for at in places)
    return list(dict.fromkeys(contents))
