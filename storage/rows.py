"""Rows of the database to records and back; the only place that knows both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import NoSuchMessageError, NoSuchSessionError
from .records import Message, Session, Settings, now_utc

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

_SESSIONS = """
SELECT s.id, s.title, s.title_source, s.model, s.system, s.settings, s.template, s.created_utc, s.updated_utc,
       s.pinned, s.archived, h.id AS head_id, s.draft, s.n_messages
FROM sessions s LEFT JOIN messages h ON h.key = s.head_key
"""

MESSAGE_COLUMNS = """
m.id, s.id AS session_id, p.id AS parent_id, m.role, m.content, m.state, o.model, o.settings, m.seed, m.prompt_tokens,
m.generated_tokens, m.tokens_per_second, m.first_token_ms, u.token_ids, m.created_utc
"""
MESSAGE_TABLES = """
messages m
JOIN sessions s ON s.key = m.session_key
LEFT JOIN messages p ON p.key = m.parent_key
LEFT JOIN origins o ON o.key = m.origin_key
LEFT JOIN unfinished u ON u.message_key = m.key
"""
_MESSAGES = f"SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES}"


def read_sessions(db: SqliteDatabase, rest: str, *parameters: object) -> list[Session]:
    """Read sessions; rest: the query's end (``WHERE …``), s being sessions."""
    return [to_session(row) for row in query(db, _SESSIONS + rest, *parameters)]


def read_messages(db: SqliteDatabase, rest: str, *parameters: object) -> list[Message]:
    """Read messages; rest: the query's end (``WHERE …``), m being messages and s sessions."""
    return [to_message(row) for row in query(db, _MESSAGES + rest, *parameters)]


def to_session(row: dict[str, Any]) -> Session:
    """Make a record of a session's row."""
    row["settings"] = msgspec.json.decode(row["settings"])
    row["pinned"] = bool(row["pinned"])
    row["archived"] = bool(row["archived"])
    return Session(**row)


def to_message(row: dict[str, Any]) -> Message:
    """Make a record of a row of MESSAGE_COLUMNS."""
    if row["settings"] is not None:
        row["settings"] = msgspec.json.decode(row["settings"])
    return Message(**row)


def session_key(db: SqliteDatabase, session_id: str) -> int:
    """Find the key of a session that is not deleted; raises NoSuchSessionError."""
    row = db.execute("SELECT key FROM sessions WHERE id = ? AND deleted_utc IS NULL", [session_id]).fetchone()
    if row is None:
        raise NoSuchSessionError(session_id)
    return int(row[0])


def message_keys(db: SqliteDatabase, message_id: str) -> tuple[int, int]:
    """Find the key of a message and its session's; raises NoSuchMessageError."""
    row = db.execute(
        "SELECT m.key, m.session_key FROM messages m JOIN sessions s ON s.key = m.session_key"
        " WHERE m.id = ? AND s.deleted_utc IS NULL",
        [message_id],
    ).fetchone()
    if row is None:
        raise NoSuchMessageError(message_id)
    return int(row[0]), int(row[1])


def origin_key(db: SqliteDatabase, model: str | None, settings: Settings | None) -> int | None:
    """Find or make the key of what makes an answer; None for a message that no model made."""
    if model is None and settings is None:
        return None
    values = [storable(model or ""), settings_text(settings or {})]
    db.execute("INSERT OR IGNORE INTO origins (model, settings) VALUES (?, ?)", values)
    return int(db.execute("SELECT key FROM origins WHERE model = ? AND settings = ?", values).fetchone()[0])


def settings_text(settings: Settings) -> str:
    """Write settings so that the same ones always make the same text."""
    return msgspec.json.encode(settings, order="deterministic").decode()


def storable(text: str) -> str:
    """Replace what UTF-8 cannot hold (lone surrogates, from broken JSON or file names)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def storable_seed(seed: int | None) -> int | None:
    """Fit a seed into SQLite's 64 signed bits; of a larger one a sampler with 64-bit state makes the same."""
    return None if seed is None else (seed + 2**63) % 2**64 - 2**63


def query(db: SqliteDatabase, sql: str, *parameters: object) -> Iterator[dict[str, Any]]:
    """Run a query and yield its rows by column name."""
    cursor = db.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def touch(db: SqliteDatabase, key: int) -> None:
    """Mark a session as changed now."""
    db.execute("UPDATE sessions SET updated_utc = ? WHERE key = ?", [now_utc(), key])
