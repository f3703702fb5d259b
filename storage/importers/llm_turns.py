"""What `llm` logs since its version 0.32: every message once, under the one before it, and turns that point to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

_NEEDED = {
    "turns": {"id", "thread_id", "parent_message_hash", "tip_message_hash"},
    "messages": {"hash", "parent_hash", "role"},
    "parts": {"message_hash", "position", "type", "text", "payload"},
}
_PARTS = "SELECT type, text, payload FROM parts WHERE message_hash = ? ORDER BY position"


class _Message(NamedTuple):
    hash: str
    parent: str | None
    role: str


def has_turns(conn: sqlite3.Connection) -> bool:
    """Whether a database has the tables for them."""
    return all({row[1] for row in conn.execute(f"PRAGMA table_info({table})")} >= _NEEDED[table] for table in _NEEDED)


class Turns:
    """The turns of a database that has them; what is read of each are the columns in which `llm` logged before."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        found = map(_Message._make, conn.execute("SELECT hash, parent_hash, role FROM messages"))
        self._messages = {message.hash: message for message in found}

    def texts(self, turn_id: str) -> dict[str, str]:
        """A turn's prompt, its response and the system prompt that it had. ValueError where its messages go round."""
        sql = "SELECT parent_message_hash, tip_message_hash FROM turns WHERE id = ?"
        asked_hash, answered_hash = self._conn.execute(sql, [turn_id]).fetchone()
        before = list(self._up(asked_hash))
        asked: list[_Message] = []
        for message in before:
            # What came before that is of earlier turns; a tool's result is between the answers.
            if message.role not in ("user", "tool"):
                break
            asked.insert(0, message)
        answered = [*self._up(answered_hash, asked_hash)][::-1]
        first = before[-1:]
        return {
            "prompt": "\n\n".join(filter(None, [self._text(one) for one in asked if one.role == "user"])),
            "response": "".join(self._text(one) for one in answered),
            "system": "".join(self._text(one) for one in first if one.role == "system"),
        }

    def _up(self, start: str | None, end: str | None = None) -> Iterator[_Message]:
        """Walk from a message to the first of all, or to the one before which to end."""
        seen: set[str] = set()
        while start is not None and start != end and start in self._messages:
            if start in seen:
                raise ValueError(start)
            seen.add(start)
            yield self._messages[start]
            start = self._messages[start].parent

    def _text(self, message: _Message) -> str:
        """Write a message's attachments, by name, and its text."""
        names: list[str] = []
        text = ""
        for kind, literal, payload in self._conn.execute(_PARTS, [message.hash]):
            rest = json.loads(payload or "{}")
            if kind == "text":
                text += literal if literal is not None else "".join(map(self._piece, rest.get("text_ref", [])))
            elif kind == "attachment":
                names.append(self._attachment(rest.get("attachment", {}).get("id")))
        return "\n\n".join(filter(None, [*names, text]))

    def _piece(self, piece: dict[str, Any]) -> str:
        """A piece of a text that is made of others: its own, or that of a fragment."""
        if "literal" in piece:
            return str(piece["literal"])
        row = self._conn.execute("SELECT content FROM fragments WHERE id = ?", [piece.get("fragment")]).fetchone()
        return str(row[0]) if row else ""

    def _attachment(self, attachment_id: str | None) -> str:
        row = self._conn.execute("SELECT type, path, url FROM attachments WHERE id = ?", [attachment_id]).fetchone()
        return attachment(*row or (None, None, None))


def attachment(kind: str | None, path: str | None, url: str | None) -> str:
    """How an attachment is named in a text."""
    return f"[attachment: {path or url or kind or 'unnamed'}]"
