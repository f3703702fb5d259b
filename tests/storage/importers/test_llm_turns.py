"""The llm tool's logs.db since its version 0.32: a store of messages, and turns that point into it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage.errors import ImportFileError
from storage.importers import import_file
from storage.sessions import get_session, list_sessions
from storage.tree import all_messages

SCHEMA = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
CREATE TABLE responses (
    id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT, options_json TEXT, response TEXT,
    response_json TEXT, conversation_id TEXT, duration_ms INTEGER, datetime_utc TEXT, input_tokens INTEGER,
    output_tokens INTEGER, token_details TEXT, schema_id TEXT, resolved_model TEXT, reasoning TEXT
);
CREATE TABLE attachments (id TEXT PRIMARY KEY, type TEXT, path TEXT, url TEXT, content BLOB);
CREATE TABLE fragments (id INTEGER PRIMARY KEY, hash TEXT, content TEXT, datetime_utc TEXT, source TEXT);
CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT, provider_metadata TEXT);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY, message_hash TEXT, position INTEGER, type TEXT, tool_name TEXT, text TEXT, payload TEXT
);
CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT, tip_message_hash TEXT, forked_from TEXT, datetime_utc TEXT);
CREATE TABLE turns (
    id TEXT PRIMARY KEY, thread_id TEXT, parent_message_hash TEXT, tip_message_hash TEXT, model TEXT,
    resolved_model TEXT, options_json TEXT, schema_id TEXT, input_tokens INTEGER, output_tokens INTEGER,
    token_details TEXT, duration_ms INTEGER, datetime_utc TEXT, response_json TEXT
);
INSERT INTO fragments VALUES (1, 'x', 'A long text.', '2026-12-02 00:59:21', NULL);
INSERT INTO attachments VALUES ('e3', 'image/png', '/tmp/river.png', NULL, NULL);
"""
FRAGMENT = {"text_ref": [{"fragment": 1}, {"literal": "\nRivers?"}]}
CHAIN = [
    ("s", None, "system", [("text", "Be brief.", None)]),
    ("u1", "s", "user", [("text", None, FRAGMENT), ("attachment", None, {"attachment": {"id": "e3"}})]),
    ("a1", "u1", "assistant", [("reasoning", "Hm", None), ("text", "Let me look.", None), ("tool_call", None, {})]),
    ("w1", "a1", "user", [("text", "Wait.", None)]),
    ("t1", "w1", "tool", [("tool_result", None, {"name": "now", "output": "noon"})]),
    ("w2", "t1", "user", [("text", "Now?", None)]),
    ("a1b", "w2", "assistant", [("text", "The ", None)]),
    ("a2", "a1b", "assistant", [("text", "Po", None)]),
    ("u2", "a2", "user", [("text", "Why?", None)]),
    ("a3", "u2", "assistant", [("text", "Because.", None)]),
]
TURNS = [("1", "u1", "a1"), ("2", "w2", "a2"), ("3", "u2", "a3")]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "logs.db", isolation_level=None)) as conn:
        conn.executescript(SCHEMA)
        for key, parent, role, parts in CHAIN:
            conn.execute("INSERT INTO messages VALUES (?, ?, ?, NULL)", [key, parent, role])
            for position, (kind, text, payload) in enumerate(parts):
                conn.execute(
                    "INSERT INTO parts (message_hash, position, type, text, payload) VALUES (?, ?, ?, ?, ?)",
                    [key, position, kind, text, None if payload is None else json.dumps(payload)],
                )
        conn.execute("INSERT INTO threads VALUES ('c1', 'Rivers', 'a3', NULL, '2026-12-02 00:59:21+00:00')")
        for turn_id, parent, tip in TURNS:
            conn.execute(
                "INSERT INTO turns (id, thread_id, parent_message_hash, tip_message_hash, model, options_json,"
                " input_tokens, output_tokens, duration_ms, datetime_utc) VALUES (?, 'c1', ?, ?, ?, ?, 7, 40, 2000, ?)",
                [turn_id, parent, tip, f"m{turn_id}", '{"top_p": 1.0}', f"2026-12-02T00:59:2{turn_id}+00:00"],
            )
        yield conn


def said(db: Database, session_id: str) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in all_messages(db, session_id)]


def test_turns_become_a_session(db: Database, tmp_path: Path, logs: sqlite3.Connection) -> None:
    (session_id,) = import_file(db, tmp_path / "logs.db").session_ids
    session = get_session(db, session_id)
    assert (session.title, session.model, session.system) == ("Rivers", "m3", "Be brief.")
    assert (session.created_utc, session.updated_utc) == ("2026-12-02T00:59:21.000Z", "2026-12-02T00:59:23.000Z")
    assert said(db, session_id) == [
        ("user", "[attachment: /tmp/river.png]\n\nA long text.\nRivers?"),
        ("assistant", "Let me look."),
        ("user", "Wait.\n\nNow?"),
        ("assistant", "The Po"),
        ("user", "Why?"),
        ("assistant", "Because."),
    ]
    answer = all_messages(db, session_id)[1]
    assert (answer.model, answer.settings, answer.prompt_tokens, answer.generated_tokens, answer.tokens_per_second) == (
        *("m1", {"top_p": 1.0}),
        *(7, 40, 20.0),
    )
    assert import_file(db, tmp_path / "logs.db").n_known == 1


def test_what_was_logged_in_both_forms_comes_once_and_goes_on_with_the_new_one(
    db: Database, tmp_path: Path, logs: sqlite3.Connection
) -> None:
    old = (
        "INSERT INTO responses (id, model, prompt, response, conversation_id, datetime_utc) VALUES (?, 'm', ?, ?, ?, ?)"
    )
    logs.execute(old, ["0", "Hello", "Hi", "c1", "2026-12-02T00:59:20"])
    logs.execute(old, ["1", "Rivers?", "Let me look.", "c1", "2026-12-02T00:59:21"])
    (session_id,) = import_file(db, tmp_path / "logs.db").session_ids
    assert [text for _, text in said(db, session_id)] == [
        *("Hello", "Hi", "Rivers?", "Let me look.", "Wait.\n\nNow?", "The Po", "Why?", "Because.")
    ]


def test_messages_that_follow_each_other_in_a_ring_are_refused(
    db: Database, tmp_path: Path, logs: sqlite3.Connection
) -> None:
    logs.execute("UPDATE messages SET parent_hash = 't1' WHERE hash = 's'")
    with pytest.raises(ImportFileError, match=r"not filled as llm fills it\.$"):
        import_file(db, tmp_path / "logs.db")
    assert list_sessions(db) == []
