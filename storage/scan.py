"""Search for what the index does not know: symbols, and words in scripts that put no spaces between them.

It reads the messages themselves, newest first; some 100,000 of them take a tenth of a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from .literal import fold, is_symbol, snippet
from .newest import Found, Place, newest_first
from .records import SearchHit
from .rows import query
from .shares import Hits, titles_and_messages

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

# Thai, Lao, Tibetan, Burmese, Khmer; kana; Chinese characters.
_NO_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_MAX_PIECES = 8

_MESSAGES = """
SELECT m.created_utc, m.key, i.value FROM json_each(?) i CROSS JOIN messages m ON m.session_key = i.value
WHERE m.state <> 'writing' AND {matches}
"""
_BY_KEY = """
SELECT m.key, m.session_key, m.content AS text, s.id AS session_id, m.id AS message_id, s.title, m.role, m.created_utc
FROM messages m JOIN sessions s ON s.key = m.session_key WHERE m.key = ?
"""
_TITLES = """
SELECT s.key, s.key AS session_key, s.title AS text, s.id AS session_id, NULL AS message_id, s.title, NULL AS role,
       s.created_utc
FROM sessions s WHERE s.deleted_utc IS NULL AND {matches} ORDER BY s.created_utc DESC, s.key DESC
"""


def writes_no_spaces(text: str) -> bool:
    """Tell whether a text has characters of such a script."""
    return _NO_SPACES.search(text) is not None


def scan(db: SqliteDatabase, text: str, limit: int, deadline_s: float | None) -> list[SearchHit]:
    """Find titles, then messages, that have all pieces of a text between spaces; the newest first.

    Something of the text has to be of such a script, or a symbol.
    """
    pieces = sorted(text.replace('"', " ").split(), key=lambda piece: not _certain(piece))[:_MAX_PIECES]
    certain = [part for piece in pieces for part in _certain(piece)]
    patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", part) + "%" for part in certain]

    def find(sessions: str) -> Found:
        return db.execute(_MESSAGES.format(matches=_all_like("m.content", patterns)), [sessions, *patterns]).fetchall()

    def look(places: Iterable[Place]) -> Hits:
        return _hits((row for place in places for row in query(db, _BY_KEY, place.key)), pieces)

    titled = _hits(query(db, _TITLES.format(matches=_all_like("s.title", patterns)), *patterns), pieces)
    return titles_and_messages(titled, newest_first(db, find, deadline_s), look, limit)


def _hits(rows: Iterator[dict[str, Any]], pieces: list[str]) -> Hits:
    # Of the others SQLite has seen to it that they are there.
    folded = [fold(piece) for piece in pieces if _certain(piece) != [piece]]
    for row in rows:
        text = row.pop("text")
        place = Place(row["created_utc"], row.pop("key"), row.pop("session_key"))
        if folded and not all(map(fold(text).__contains__, folded)):
            continue
        line, matches = snippet(text, pieces)
        yield place, SearchHit(**row, snippet=line, matches=matches)


def _certain(piece: str) -> list[str]:
    """What every text has in it, letter for letter, that has the piece in it, whatever its case and accents."""
    symbols = (char for char in piece if is_symbol(char))
    return _NO_SPACES.findall(piece) or list(islice(symbols, 1))


def _all_like(column: str, patterns: list[str]) -> str:
    return " AND ".join(rf"{column} LIKE ? ESCAPE '\'" for _ in patterns)
