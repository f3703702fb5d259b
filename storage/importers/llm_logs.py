"""The database in which the `llm` command line tool logs prompts and responses (logs.db)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ImportFileError
from ..portable import PortableMessage, PortableSession, checked
from .llm_turns import Turns, attachment, has_turns
from .storing import derived_id

_COLUMNS = (
    "id",
    "model",
    "prompt",
    "system",
    "options_json",
    "response",
    "conversation_id",
    "duration_ms",
    "datetime_utc",
    "input_tokens",
    "output_tokens",
)
_NEEDED = {"id", "prompt", "response"}
_FRAGMENTS = """
SELECT f.content FROM {} p JOIN fragments f ON f.id = p.fragment_id WHERE p.response_id = ? ORDER BY p."order"
"""
_ATTACHMENTS = """
SELECT a.type, a.path, a.url FROM prompt_attachments p JOIN attachments a ON a.id = p.attachment_id
WHERE p.response_id = ? ORDER BY p."order"
"""
_MAX_TITLE_CHARS = 80

Row = dict[str, Any]


def read(path: Path, file: Path) -> list[PortableSession]:
    """Read the conversations of a file; path: what errors call it. Raises ImportFileError."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as conn:
            conn.row_factory = sqlite3.Row
            rows = list(_rows(conn))
            if not rows and not (_columns(conn, "responses") >= _NEEDED or has_turns(conn)):
                raise ImportFileError(f"{path} is a database, but neither llm-tui's nor one that the llm tool logs to.")
            names = {
                key: name
                for table in ("threads", "conversations")
                if _columns(conn, table)
                for key, name in conn.execute(f"SELECT id, name FROM {table}")
            }
            rows.sort(key=lambda row: (row["conversation_id"] or row["id"], row["datetime_utc"] or "", row["id"]))
            groups = groupby(rows, key=lambda row: row["conversation_id"] or row["id"])
            sessions = [checked(_session(str(key), names.get(key), list(group))) for key, group in groups]
    except sqlite3.Error as error:
        raise ImportFileError(f"{path} cannot be read: {error}.") from error
    except (AttributeError, TypeError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ImportFileError(f"{path} is not filled as llm fills it.") from error
    return sorted(sessions, key=lambda session: session.created_utc)


class _Extras:
    """What goes with a prompt in `responses`, and with the system prompt, beside their texts."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        names = ("fragments", "prompt_fragments", "system_fragments", "attachments", "prompt_attachments")
        self._tables = {name for name in names if _columns(conn, name)}

    def fragments(self, response_id: str, table: str) -> list[str]:
        """Return the texts of those that a table says."""
        if not self._tables >= {table, "fragments"}:
            return []
        return [row[0] for row in self._conn.execute(_FRAGMENTS.format(table), [response_id])]

    def attachments(self, response_id: str) -> list[str]:
        """Return the names of a prompt's attachments."""
        if not self._tables >= {"prompt_attachments", "attachments"}:
            return []
        return [attachment(*row) for row in self._conn.execute(_ATTACHMENTS, [response_id])]

    def texts(self, row: Row) -> dict[str, str]:
        """Return the whole prompt and the whole system prompt."""
        asked = [*self.fragments(row["id"], "prompt_fragments"), *self.attachments(row["id"]), row["prompt"] or ""]
        told = [*self.fragments(row["id"], "system_fragments"), row["system"]]
        return {"prompt": "\n\n".join(asked), "system": "\n\n".join(filter(None, told))}


def _rows(conn: sqlite3.Connection) -> Iterator[Row]:
    """Read `responses`, then what newer versions of llm log elsewhere; some of them have logged the same in both."""
    known = set()
    if (columns := _columns(conn, "responses")) >= _NEEDED:
        extras = _Extras(conn)
        for row in _chosen(conn, "responses", {name: name for name in columns}):
            known.add(row["id"])
            yield row | extras.texts(row)
    if has_turns(conn):
        turns = Turns(conn)
        columns = _columns(conn, "turns")
        for row in _chosen(conn, "turns", {name: name for name in columns} | {"conversation_id": "thread_id"}):
            if row["id"] not in known:
                yield row | turns.texts(row["id"])


def _chosen(conn: sqlite3.Connection, table: str, columns: dict[str, str]) -> Iterator[Row]:
    """Read a table's rows as those of `responses`. columns: what the table calls those that it has."""
    chosen = ", ".join(f"{columns.get(name, 'NULL')} AS {name}" for name in _COLUMNS)
    return (dict(row) for row in conn.execute(f"SELECT {chosen} FROM {table}"))


def _columns(conn: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in conn.execute(f"PRAGMA table_info({table})")}


def _session(identity: str, name: str | None, rows: list[Row]) -> PortableSession:
    messages: list[PortableMessage] = []
    for row in rows:
        for role, text in (("user", row["prompt"]), ("assistant", row["response"])):
            if text and text.strip():
                parent = messages[-1].id if messages else None
                messages.append(_message(row, role, text.rstrip() if role == "user" else text, parent))
    title = " ".join((name or (messages[0].content if messages else "")).split())
    system = next((row["system"] for row in rows if row["system"]), "")
    return PortableSession(
        id=derived_id(f"llm/{identity}"),
        title=title[:_MAX_TITLE_CHARS],
        title_source="auto",
        model=rows[-1]["model"] or "",
        system=system,
        messages=messages,
        created_utc=_utc(rows[0]),
        updated_utc=_utc(rows[-1]),
    )


def _message(row: Row, role: str, text: str, parent_id: str | None) -> PortableMessage:
    message_id = derived_id(f"llm/{row['id']}/{role}")
    if role == "user":
        return PortableMessage(
            id=message_id, parent_id=parent_id, role="user", content=text, created_utc=_utc(row), on_path=True
        )
    speed = None
    if row["output_tokens"] and row["duration_ms"]:
        speed = row["output_tokens"] / row["duration_ms"] * 1000
    return PortableMessage(
        id=message_id,
        parent_id=parent_id,
        role="assistant",
        content=text,
        model=row["model"],
        settings=_options(row["options_json"]),
        prompt_tokens=row["input_tokens"],
        generated_tokens=row["output_tokens"],
        tokens_per_second=speed,
        created_utc=_utc(row),
        on_path=True,
    )


def _options(text: str | None) -> dict[str, Any] | None:
    try:
        options = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return options if isinstance(options, dict) else None


def _utc(row: Row) -> str:
    return row["datetime_utc"] or ""
