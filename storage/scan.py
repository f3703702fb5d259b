"""Search in scripts that put no spaces between words, of which the index therefore knows only whole sentences.

It reads the messages themselves, newest first; some 100,000 of them take a tenth of a second.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from .records import SearchHit
from .rows import query

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

# Thai, Lao, Tibetan, Burmese, Khmer; kana; Chinese characters.
_NO_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_MAX_PIECES = 8
_KEYS_AT_ONCE = 5000
_AROUND_CHARS = 40

_MESSAGES = """
SELECT m.content AS text, s.id AS session_id, m.id AS message_id, s.title, m.role, m.created_utc
FROM messages m JOIN sessions s ON s.key = m.session_key
WHERE m.key > ? AND m.key <= ? AND m.state <> 'writing' AND s.deleted_utc IS NULL AND {matches} ORDER BY m.key DESC
"""
_TITLES = """
SELECT s.title AS text, s.id AS session_id, NULL AS message_id, s.title, NULL AS role, s.created_utc
FROM sessions s WHERE s.key > ? AND s.key <= ? AND s.deleted_utc IS NULL AND {matches} ORDER BY s.key DESC
"""


def writes_no_spaces(text: str) -> bool:
    """Tell whether a text has characters of such a script."""
    return _NO_SPACES.search(text) is not None


def scan(db: SqliteDatabase, text: str, limit: int, deadline: float | None) -> list[SearchHit]:
    """Find titles, then messages, that have all pieces of a text between spaces; the newest first."""
    pieces = text.replace('"', " ").split()[:_MAX_PIECES]
    titles = _scan(db, _TITLES.format(matches=_all_like("s.title", pieces)), "sessions", pieces, limit // 2, deadline)
    wanted = limit - len(titles)
    like = _all_like("m.content", pieces)
    return titles + _scan(db, _MESSAGES.format(matches=like), "messages", pieces, wanted, deadline)


def _scan(
    db: SqliteDatabase, sql: str, table: str, pieces: list[str], limit: int, deadline: float | None
) -> list[SearchHit]:
    patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", piece) + "%" for piece in pieces]
    hits: list[SearchHit] = []
    end: int = db.execute(f"SELECT coalesce(max(key), 0) FROM {table}").fetchone()[0]
    while end > 0 and len(hits) < limit:
        for row in query(db, sql, end - _KEYS_AT_ONCE, end, *patterns):
            snippet, matches = _snippet(row.pop("text"), pieces)
            hits.append(SearchHit(**row, snippet=snippet, matches=matches))
        end -= _KEYS_AT_ONCE
        if deadline is not None and time.monotonic() > deadline:
            break
    return hits[:limit]


def _all_like(column: str, pieces: list[str]) -> str:
    return " AND ".join(rf"{column} LIKE ? ESCAPE '\'" for _ in pieces)


def _snippet(text: str, pieces: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Cut the text around the first match, on one line, and tell where the matches are."""
    found = re.compile("|".join(re.escape(piece) for piece in pieces), re.IGNORECASE)
    first = found.search(text)
    at = first.start() if first else 0
    before, after = text[max(0, at - _AROUND_CHARS) : at], text[at : at + 2 * _AROUND_CHARS]
    line = " ".join(f"{before}{after}".split())
    line = f"{'…' if at > _AROUND_CHARS else ''}{line}{'…' if at + 2 * _AROUND_CHARS < len(text) else ''}"
    return line, [match.span() for match in found.finditer(line)]
