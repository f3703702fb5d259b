"""The llm tool's logs.db until its version 0.31: before and after it knew attachments and fragments."""

from __future__ import annotations

import sqlite3
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
    response_json TEXT, conversation_id TEXT REFERENCES conversations (id), duration_ms INTEGER, datetime_utc TEXT
    {more}
);
"""
MODERN = """
CREATE TABLE attachments (id TEXT PRIMARY KEY, type TEXT, path TEXT, url TEXT, content BLOB);
CREATE TABLE prompt_attachments (response_id TEXT, attachment_id TEXT, "order" INTEGER);
CREATE TABLE fragments (id INTEGER PRIMARY KEY, hash TEXT, content TEXT, datetime_utc TEXT, source TEXT);
CREATE TABLE prompt_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER);
INSERT INTO attachments VALUES ('h', 'image/png', '/tmp/river.png', NULL, NULL);
INSERT INTO prompt_attachments VALUES ('01a', 'h', 0);
INSERT INTO fragments VALUES (1, 'x', 'A long text.', '2024-01-01', NULL);
INSERT INTO prompt_fragments VALUES ('01a', 1, 0);
CREATE TABLE system_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER);
INSERT INTO fragments VALUES (2, 'y', 'You are a fish.', '2024-01-01', NULL);
INSERT INTO system_fragments VALUES ('01a', 2, 0);
"""
USAGE = ", input_tokens INTEGER, output_tokens INTEGER, token_details TEXT"


def make(path: Path, *, modern: bool) -> Path:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(SCHEMA.format(more=USAGE if modern else ""))
        conn.execute("INSERT INTO conversations VALUES ('c1', 'Rivers', 'gpt-4o')")
        rows = [
            ("01b", "m2", "Why?", None, None, None, "Because.", None, "c1", 500, "2024-03-05T06:07:09.000000+00:00"),
            (
                "01a",
                "m1",
                "Rivers?",
                "Be brief.",
                None,
                '{"top_p": 1}',
                "Po",
                "{}",
                "c1",
                2000,
                "2024-03-05T06:07:08.5",
            ),
            ("01c", "m1", "Alone", None, None, "{}", "Yes", None, None, 10, "2024-03-06T00:00:00"),
        ]
        conn.executemany(
            "INSERT INTO responses (id, model, prompt, system, prompt_json, options_json, response, response_json,"
            " conversation_id, duration_ms, datetime_utc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        if modern:
            conn.executescript(MODERN)
            conn.execute("UPDATE responses SET input_tokens = 7, output_tokens = 40")
        conn.commit()
    return path


def test_conversations_become_sessions(db: Database, tmp_path: Path) -> None:
    report = import_file(db, make(tmp_path / "logs.db", modern=False))
    assert (report.n_new, report.n_messages) == (2, 6)
    rivers, alone = (get_session(db, session_id) for session_id in report.session_ids)
    assert (rivers.title, rivers.model, rivers.system) == ("Rivers", "m2", "Be brief.")
    assert (rivers.created_utc, rivers.updated_utc) == ("2024-03-05T06:07:08.500Z", "2024-03-05T06:07:09.000Z")
    assert (alone.title, alone.n_messages) == ("Alone", 2)
    said = all_messages(db, rivers.id)
    assert [(m.role, m.content) for m in said] == [
        ("user", "Rivers?"),
        ("assistant", "Po"),
        ("user", "Why?"),
        ("assistant", "Because."),
    ]
    assert [m.parent_id for m in said] == [None, *(m.id for m in said[:-1])]
    assert (said[1].model, said[1].settings, said[3].model) == ("m1", {"top_p": 1}, "m2")
    assert rivers.head_id == said[-1].id
    times = ["2024-03-05T06:07:08.500Z"] * 2 + ["2024-03-05T06:07:09.000Z"] * 2
    assert [message.created_utc for message in said] == times


def test_attachments_fragments_and_usage_come_along(db: Database, tmp_path: Path) -> None:
    (session_id, _) = import_file(db, make(tmp_path / "logs.db", modern=True)).session_ids
    asked, answered, *_ = all_messages(db, session_id)
    assert asked.content == "A long text.\n\n[attachment: /tmp/river.png]\n\nRivers?"
    assert get_session(db, session_id).system == "You are a fish.\n\nBe brief."
    assert (answered.prompt_tokens, answered.generated_tokens, answered.tokens_per_second) == (7, 40, 20.0)


def test_what_has_no_conversation_is_a_session_of_its_own(db: Database, tmp_path: Path) -> None:
    logs = make(tmp_path / "logs.db", modern=True)
    with closing(sqlite3.connect(logs)) as conn:
        conn.execute("INSERT INTO responses (id, prompt) VALUES ('01d', ' ')")
        conn.execute(
            "INSERT INTO responses (id, prompt, response, datetime_utc, output_tokens, duration_ms)"
            " VALUES ('01e', ?, 'Yes', '2024-03-07T00:00:00', 5, 0)",
            ["long " * 40],
        )
        conn.commit()
    empty, _, alone, long = (get_session(db, session_id) for session_id in import_file(db, logs).session_ids)
    assert (empty.title, empty.n_messages, alone.title, alone.n_messages) == ("", 0, "Alone", 2)
    assert (long.title, long.title_source, long.n_messages) == ("long " * 16, "auto", 2)
    assert [message.created_utc for message in all_messages(db, long.id)] == ["2024-03-07T00:00:00.000Z"] * 2
    assert all_messages(db, long.id)[1].tokens_per_second is None


@pytest.mark.parametrize("options", ["{", "[1]", "[" * 100_000])
def test_options_that_are_none_are_left_out(db: Database, tmp_path: Path, options: str) -> None:
    logs = make(tmp_path / "logs.db", modern=False)
    with closing(sqlite3.connect(logs)) as conn:
        conn.execute("UPDATE responses SET options_json = ?", [options])
        conn.commit()
    (session_id, _) = import_file(db, logs).session_ids
    assert [message.settings for message in all_messages(db, session_id)[1::2]] == [{}, {}]


def test_a_second_import_adds_nothing(db: Database, tmp_path: Path) -> None:
    logs = make(tmp_path / "logs.db", modern=True)
    import_file(db, logs)
    before = list_sessions(db)
    assert import_file(db, logs).n_known == 2
    assert list_sessions(db) == before


def test_another_database_is_refused(db: Database, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "recipes.db")) as conn:
        conn.execute("CREATE TABLE recipes (name)")
    with pytest.raises(ImportFileError, match="neither llm-tui's nor one that the llm tool"):
        import_file(db, tmp_path / "recipes.db")
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(ImportFileError, match="cannot be read"):
        import_file(db, tmp_path / "broken.db")
    (tmp_path / "broken.db-wal").write_bytes(b"\xff" * 4096)
    with pytest.raises(ImportFileError, match="cannot be read"):
        import_file(db, tmp_path / "broken.db")


def test_a_database_that_llm_did_not_fill_is_refused_in_words(db: Database, tmp_path: Path) -> None:
    logs = make(tmp_path / "logs.db", modern=False)
    with closing(sqlite3.connect(logs)) as conn:
        conn.execute("UPDATE responses SET response = x'00ff'")
        conn.commit()
    with pytest.raises(ImportFileError, match=r"not filled as llm fills it\.$"):
        import_file(db, logs)
    assert list_sessions(db) == []
