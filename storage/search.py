"""Full-text search over titles and messages, fast enough to follow the typing.

The index knows which messages have which words, not where. Phrases are looked for in the messages that have all the
words, newest first, with a small index made for them in memory.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from .literal import fold, is_symbol, pattern, says_more_than_words, shortened, snippet
from .newest import Found, Place, newest_first
from .records import SearchHit
from .rows import query
from .scan import scan, writes_no_spaces
from .schema import TOKENIZER
from .shares import Hits, titles_and_messages
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

# More matches than that are not all looked at to find the newest.
_FEW = 20_000
# Keys further from each other than that are looked for one after the other.
_GAP = 1000
# Longer only where a single word is.
_MAX_SNIPPET_CHARS = 400

_MESSAGE_KEYS = "SELECT rowid FROM messages_index WHERE messages_index MATCH ?"
_IN_SESSIONS = "SELECT m.key FROM json_each(?) i CROSS JOIN messages m ON m.session_key = i.value ORDER BY m.key"
_TIMES = "SELECT m.created_utc, m.key, m.session_key FROM json_each(?) i CROSS JOIN messages m ON m.key = i.value"
_MESSAGES = """
SELECT m.key, m.session_key, m.content AS text, s.id AS session_id, m.id AS message_id, s.title, m.role, m.created_utc
FROM json_each(?) i CROSS JOIN messages m ON m.key = i.value JOIN sessions s ON s.key = m.session_key
WHERE s.deleted_utc IS NULL
"""
_TITLES = """
SELECT s.key, s.key AS session_key, s.title AS text, s.id AS session_id, NULL AS message_id, s.title, NULL AS role,
       s.created_utc
FROM titles_index i CROSS JOIN sessions s ON s.key = i.rowid
WHERE i.titles_index MATCH ? AND s.deleted_utc IS NULL ORDER BY s.created_utc DESC, s.key DESC
"""
# In memory, for as long as the connection lives.
_TEMPORARY = (
    "CREATE TEMP TABLE IF NOT EXISTS texts (key INTEGER PRIMARY KEY, text TEXT)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.positions USING fts5"
    f" (text, content = 'texts', content_rowid = 'key', tokenize = '{TOKENIZER}')",
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab (temp, positions, instance)",
)
_EXACT = f"""
SELECT rowid, snippet(positions, 0, '{_OPEN}', '{_CLOSE}', '…', {_SNIPPET_WORDS})
FROM temp.positions WHERE positions MATCH ?
"""


class _Query(msgspec.Struct, frozen=True):
    """What was typed, as FTS5 expressions: words to have, and the same with phrases; and the phrases themselves.

    pieces: what was typed between spaces; literal: those of them that words do not say.
    """

    words: str
    exact: str
    phrases: list[str]
    pieces: list[str]
    literal: list[str]


@reads
def search(db: SqliteDatabase, text: str, limit: int = 50, *, budget_ms: float | None = None) -> list[SearchHit]:
    """Find titles, then messages, that have all the words; the newest first, and of each session a few (`shares.py`).

    "Words in quotes" have to follow each other. The last word may be the beginning of one, unless a space or a quote
    ends it. Case and accents do not matter. Words with symbols (C++) and symbols alone are found as typed. budget_ms:
    stop looking for phrases after so long, with what was found.
    """
    text = text[:_MAX_TYPED_CHARS].encode("utf-8", "replace").decode()
    deadline_s = None if budget_ms is None else time.monotonic() + budget_ms / 1000
    if writes_no_spaces(text):
        return scan(db, text, limit, deadline_s)
    typed = _parse(db, text)
    if typed is None and any(map(is_symbol, text)):
        return scan(db, text, limit, deadline_s)
    if typed is None:
        return []

    def look(places: Iterable[Place]) -> Hits:
        return _matches(db, _messages(db, places), typed, limit, deadline_s)

    titled = _matches(db, query(db, _TITLES, typed.words), typed, limit, deadline_s)
    return titles_and_messages(titled, _places(db, typed.words), look, limit)


def _messages(db: SqliteDatabase, places: Iterable[Place]) -> Iterator[dict[str, Any]]:
    keys = (place.key for place in places)
    while batch := list(islice(keys, _BATCH)):
        yield from query(db, _MESSAGES, json.dumps(batch))


def _places(db: SqliteDatabase, words: str) -> Iterator[Place]:
    """Yield the messages that have all the words, newest first."""
    few = [key for (key,) in db.execute(f"{_MESSAGE_KEYS} ORDER BY rowid DESC LIMIT ?", [words, _FEW + 1])]
    if len(few) <= _FEW:
        times = db.execute(f"{_TIMES} ORDER BY m.created_utc DESC, m.key DESC", [json.dumps(few)])
        return (Place(*place) for place in times)

    def find(sessions: str) -> Found:
        wanted = [key for (key,) in db.execute(_IN_SESSIONS, [sessions])]
        found = [
            key
            for low, high in _ranges(wanted)
            for (key,) in db.execute(f"{_MESSAGE_KEYS} AND rowid BETWEEN ? AND ?", [words, low, high])
        ]
        return db.execute(_TIMES, [json.dumps(sorted(set(wanted).intersection(found)))]).fetchall()

    return newest_first(db, find)


def _ranges(keys: list[int]) -> Iterator[tuple[int, int]]:
    """Cut ascending keys where there is a gap."""
    ends = [at for at in range(1, len(keys)) if keys[at] - keys[at - 1] > _GAP]
    for start, end in pairwise([0, *ends, len(keys)]):
        if start < end:
            yield keys[start], keys[end - 1]


def _matches(
    db: SqliteDatabase, rows: Iterator[dict[str, Any]], typed: _Query, n_wanted: int, deadline_s: float | None
) -> Hits:
    """Yield what has the words as they were typed, in the order of the rows.

    The rows have all the words; a small index of them, in memory, knows positions and makes the snippets.
    """
    if typed.phrases or typed.literal:
        rows = _sieved(rows, typed, deadline_s)
    size = min(n_wanted, _BATCH)
    while batch := {row.pop("key"): row for row in islice(rows, size)}:
        texts = {key: row.pop("text") for key, row in batch.items()}
        db.execute("INSERT INTO temp.positions (positions) VALUES ('delete-all')")
        db.execute("DELETE FROM temp.texts")
        db.conn.executemany("INSERT INTO temp.texts VALUES (?, ?)", texts.items())
        db.execute("INSERT INTO temp.positions (rowid, text) SELECT key, text FROM temp.texts")
        marked = dict(db.execute(_EXACT, [typed.exact]).fetchall())
        for key in batch:
            if key in marked:
                line, matches = snippet(texts[key], typed.pieces) if typed.literal else _unmark(marked[key])
                line, matches = shortened(line, matches, _MAX_SNIPPET_CHARS)
                place = Place(batch[key]["created_utc"], key, batch[key].pop("session_key"))
                yield place, SearchHit(**batch[key], snippet=line, matches=matches)


def _sieved(rows: Iterator[dict[str, Any]], typed: _Query, deadline_s: float | None) -> Iterator[dict[str, Any]]:
    """Drop what has the words, but not what is to be there literally.

    Of phrases, only those of plain letters are looked at, because indexing the texts takes longer, and what may be one
    of them stays.
    """
    plain = [_plain_pattern(phrase) for phrase in typed.phrases if phrase.isascii()]
    literal = [pattern(piece) for piece in typed.literal]
    for row in rows:
        if deadline_s is not None and time.monotonic() > deadline_s:
            return
        text = _plain(row["text"]) if plain else b""
        folded = fold(row["text"]) if literal else ""
        if all(phrase.search(text) for phrase in plain) and all(piece.search(folded) for piece in literal):
            yield row


def _plain(text: str) -> bytes:
    """Write a text in small ASCII; an accent becomes a ? behind its letter, as all else that is not ASCII."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return text.encode("ascii", "replace").lower()


def _plain_pattern(phrase: str) -> re.Pattern[bytes]:
    words = (rb"\?*".join(re.escape(letter).encode() for letter in word) for word in phrase.split())
    return re.compile(b"[^0-9a-z]+".join(words))


def _parse(db: SqliteDatabase, text: str) -> _Query | None:
    """Make FTS5 expressions of what was typed; None when there is no word in it."""
    pieces = text.split('"')
    words = _tokens(db, pieces)[:_MAX_WORDS]
    if not words:
        return None
    # A last word that nothing ends is begun; an open quote is a phrase that is still being typed.
    begun = "*" if words[-1][0] == len(pieces) - 1 and not text[-1].isspace() else ""
    exact: list[str] = []
    for piece, group in groupby(words, key=itemgetter(0)):
        in_piece = [word for _, word in group]
        exact += [" ".join(in_piece)] if piece % 2 else in_piece
    phrases = [phrase for phrase in exact if " " in phrase]
    typed = text.replace('"', " ").split()[:_MAX_WORDS]
    literal = [piece for piece in typed if says_more_than_words(piece)]
    return _Query(_expression([word for _, word in words], begun), _expression(exact, begun), phrases, typed, literal)


def _expression(phrases: list[str], begun: str) -> str:
    return " ".join(f'"{phrase}"' for phrase in phrases) + begun


def _tokens(db: SqliteDatabase, pieces: list[str]) -> list[tuple[int, str]]:
    """Cut text into words exactly as the index does; returns (number of the piece, word)."""
    for statement in _TEMPORARY:
        db.execute(statement)
    db.execute("INSERT INTO temp.positions (positions) VALUES ('delete-all')")
    db.conn.executemany("INSERT INTO temp.positions (rowid, text) VALUES (?, ?)", enumerate(pieces))
    return db.execute('SELECT doc, term FROM temp.words ORDER BY doc, "offset"').fetchall()


def _unmark(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Take the marks out of a snippet and tell where they were."""
    plain = ""
    matches: list[tuple[int, int]] = []
    start = 0
    for part in re.split(f"([{_OPEN}{_CLOSE}])", " ".join(marked.split())):
        if part == _OPEN:
            start = len(plain)
        elif part == _CLOSE:
            matches.append((start, len(plain)))
        else:
            plain += part
    return plain, matches
