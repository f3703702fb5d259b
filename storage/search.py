"""Full-text search over titles and messages, fast enough to follow the typing.

The index knows which messages have which words, not where. A phrase is looked for in the messages that have all its
words, newest first, with an index made for them in memory.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from .records import Role
from .rows import query
from .schema import TOKENIZER
from .transactions import reads

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

# More than anybody types; a whole page pasted into the search box would be looked for word by word.
_MAX_TYPED_CHARS = 500
_MAX_WORDS = 24
_SNIPPET_WORDS = 16
_BATCH = 128
# Around matches in snippets; characters of no script, which no text uses by agreement.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a session by its title (message_id and role are None then).

    snippet: the text around the match, on one line. matches: where in it the words are, as (start, end).
    """

    session_id: str
    message_id: str | None
    title: str
    snippet: str
    role: Role | None
    created_utc: str
    matches: list[tuple[int, int]]


class _Query(msgspec.Struct, frozen=True):
    """What was typed, as FTS5 expressions: words to have, and (for phrases) positions to check."""

    words: str
    phrases: str | None


@reads
def search(db: SqliteDatabase, text: str, limit: int = 50, *, budget_ms: float | None = None) -> list[SearchHit]:
    """Find titles, then messages, that have all the words; the newest first.

    "Words in quotes" have to follow each other. The last word may be the beginning of one, unless a space or a quote
    ends it. Case and accents do not matter. budget_ms: stop looking for phrases after so long, with what was found.
    """
    typed = _parse(db, text)
    if typed is None or limit < 1:
        return []
    deadline = None if budget_ms is None else time.monotonic() + budget_ms / 1000
    # However many titles match, messages get their half.
    messages = _messages(db, typed, limit, deadline)
    titles = _titles(db, typed, max(limit - len(messages), limit // 2), deadline)
    return titles + messages[: limit - len(titles)]


def _messages(db: SqliteDatabase, typed: _Query, limit: int, deadline: float | None) -> list[SearchHit]:
    candidates = db.execute(
        "SELECT i.rowid, m.content FROM messages_index i CROSS JOIN messages m ON m.key = i.rowid"
        " JOIN sessions s ON s.key = m.session_key"
        " WHERE i.messages_index MATCH ? AND s.deleted_utc IS NULL ORDER BY i.rowid DESC",
        [typed.words],
    )
    details = (
        f"SELECT s.id AS session_id, m.id AS message_id, s.title, m.role, m.created_utc, {_snippet('messages_index')}"
        " FROM messages_index JOIN messages m ON m.key = messages_index.rowid JOIN sessions s ON s.key = m.session_key"
        " WHERE messages_index MATCH ? AND messages_index.rowid = ?"
    )
    hits = _hits(db, typed, _with_phrases(db, candidates, typed, deadline), details, limit)
    return sorted(hits, key=lambda hit: hit.created_utc, reverse=True)


def _titles(db: SqliteDatabase, typed: _Query, limit: int, deadline: float | None) -> list[SearchHit]:
    candidates = db.execute(
        "SELECT i.rowid, s.title FROM titles_index i CROSS JOIN sessions s ON s.key = i.rowid"
        " WHERE i.titles_index MATCH ? AND s.deleted_utc IS NULL ORDER BY i.rowid DESC",
        [typed.words],
    )
    details = (
        "SELECT s.id AS session_id, NULL AS message_id, s.title, NULL AS role, s.created_utc,"
        f" {_snippet('titles_index')} FROM titles_index JOIN sessions s ON s.key = titles_index.rowid"
        " WHERE titles_index MATCH ? AND titles_index.rowid = ?"
    )
    return _hits(db, typed, _with_phrases(db, candidates, typed, deadline), details, limit)


def _hits(db: SqliteDatabase, typed: _Query, keys: Iterator[int], details: str, limit: int) -> list[SearchHit]:
    rows = (row for key in islice(keys, limit) for row in query(db, details, typed.words, key))
    return [SearchHit(**row | _marked(row["snippet"])) for row in rows]


def _with_phrases(
    db: SqliteDatabase, candidates: Iterator[tuple[int, str]], typed: _Query, deadline: float | None
) -> Iterator[int]:
    """Yield the keys of the candidates whose words stand as typed."""
    if typed.phrases is None:
        yield from (key for key, _ in candidates)
        return
    while batch := list(islice(candidates, _BATCH)):
        db.execute("INSERT INTO temp.positions (positions) VALUES ('delete-all')")
        db.conn.executemany("INSERT INTO temp.positions (rowid, text) VALUES (?, ?)", batch)
        found = db.execute(
            "SELECT rowid FROM temp.positions WHERE positions MATCH ? ORDER BY rowid DESC", [typed.phrases]
        ).fetchall()
        yield from (key for (key,) in found)
        if deadline is not None and time.monotonic() > deadline:
            return


def _parse(db: SqliteDatabase, text: str) -> _Query | None:
    """Make FTS5 expressions of what was typed; None when there is no word in it."""
    text = text[:_MAX_TYPED_CHARS].encode("utf-8", "replace").decode()
    pieces = text.split('"')
    words = _tokens(db, pieces)[:_MAX_WORDS]
    if not words:
        return None
    # An open quote is a phrase that is still being typed.
    begun = "*" if words[-1][0] == len(pieces) - 1 and text[-1:].isalnum() else ""
    every_word = " ".join(f'"{word}"' for _, word in words) + begun
    in_pieces: dict[int, list[str]] = {}
    for piece, word in words:
        in_pieces.setdefault(piece, []).append(word)
    phrases = [f'"{" ".join(group)}"' for piece, group in in_pieces.items() if piece % 2 and len(group) > 1]
    if not phrases:
        return _Query(every_word, None)
    ends_in_phrase = phrases[-1] == f'"{" ".join(in_pieces[words[-1][0]])}"' and words[-1][0] % 2
    return _Query(every_word, " ".join(phrases) + (begun if ends_in_phrase else ""))


def _tokens(db: SqliteDatabase, pieces: list[str]) -> list[tuple[int, str]]:
    """Cut text into words exactly as the index does; yields (number of the piece, word)."""
    # Contentless and in memory; they live as long as the connection.
    table = f"USING fts5 (text, content = '', tokenize = '{TOKENIZER}')"
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.positions {table}")
    db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab (temp, positions, instance)")
    db.execute("INSERT INTO temp.positions (positions) VALUES ('delete-all')")
    db.conn.executemany("INSERT INTO temp.positions (rowid, text) VALUES (?, ?)", enumerate(pieces))
    return db.execute('SELECT doc, term FROM temp.words ORDER BY doc, "offset"').fetchall()


def _snippet(table: str) -> str:
    return f"snippet({table}, 0, '{_OPEN}', '{_CLOSE}', '…', {_SNIPPET_WORDS}) AS snippet"


def _marked(snippet: str) -> dict[str, object]:
    """Take the marks out of a snippet and tell where they were."""
    plain = ""
    matches: list[tuple[int, int]] = []
    start = 0
    for part in re.split(f"([{_OPEN}{_CLOSE}])", " ".join(snippet.split())):
        if part == _OPEN:
            start = len(plain)
        elif part == _CLOSE:
            matches.append((start, len(plain)))
        else:
            plain += part
    return {"snippet": plain, "matches": matches}
