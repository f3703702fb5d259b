"""`llm-tui sessions` and `backup`, on a real database."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.kept_caches import KEPT, kept_file
from storage import answers, deletion, sessions, tree
from storage.connections import open_database
from tui.commands.sessions import open_existing
from tui.text import UNSAFE

Cli = Callable[..., Any]


@pytest.fixture
def rivers(home: Path) -> str:
    """A session with two branches; returns its id."""
    db = open_database(home / "data" / "sessions.db")
    session = sessions.create_session(
        db, model="SmolLM2", system="Be brief.", settings={"temperature": 0.8}, title="Rivers \x1b[31mof Europe"
    )
    question = tree.append_message(db, session.id, None, "user", "List three rivers.")
    for content in ("The Danube.", "The Seine and the Rhône."):
        answer = answers.begin_answer(db, session.id, question.id, model="SmolLM2", settings={"top_k": 4}, seed=7)
        answers.finish_answer(
            db,
            answer.id,
            content,
            "complete",
            prompt_tokens=20,
            generated_tokens=5,
            tokens_per_second=50.0,
            first_token_ms=90.0,
            seed=7,
        )
    db.close()
    return session.id


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_list_json(cli: Cli, rivers: str) -> None:
    [listed] = lines(cli("sessions", "list", "--json").out)
    assert list(listed) == ["id", "title", "model", "created_utc", "updated_utc", "messages"]
    assert (listed["id"], listed["model"], listed["messages"]) == (rivers, "SmolLM2", 3)
    assert listed["created_utc"].endswith("Z")


def test_list_is_readable_and_harmless(cli: Cli, rivers: str) -> None:
    out = cli("sessions", "list").out
    assert out.startswith(rivers)
    assert out.rstrip().endswith("3  Rivers ␛[31mof Europe")


def test_list_goes_past_the_first_page(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.commands.sessions.PAGE", 2)
    db = open_database(home / "data" / "sessions.db")
    made = [sessions.create_session(db, model="", system="", settings={}, title=str(n)).id for n in range(5)]
    db.close()
    assert [line["id"] for line in lines(cli("sessions", "list", "--json").out)] == made[::-1]


def test_list_ends_only_at_the_end(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.commands.sessions.PAGE", 2)
    db = open_database(home / "data" / "sessions.db")
    made = [sessions.create_session(db, model="", system="", settings={}, title=str(n)).id for n in range(6)]
    db.execute("UPDATE sessions SET updated_utc = '2026-01-01T00:00:0' || title || '.000Z'")
    listed: list[str] = []

    def write(value: dict[str, str]) -> None:
        listed.append(value["id"])
        if len(listed) == 2:
            deletion.purge_session(db, listed[1])
        elif len(listed) == 4:
            tree.append_message(db, listed[3], None, "user", "Up again")

    monkeypatch.setattr("tui.commands.sessions.write_json", write)
    assert cli("sessions", "list", "--json").code == 0
    db.close()
    assert listed == made[::-1]


def test_times_at_the_ends_of_the_calendar_are_listed(cli: Cli, rivers: str, home: Path) -> None:
    db = open_database(home / "data" / "sessions.db")
    for utc in ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"):
        db.execute("UPDATE sessions SET updated_utc = ?", [utc])
        assert rivers in cli("sessions", "list").out
    db.close()


def test_an_empty_home_has_no_sessions(cli: Cli, home: Path) -> None:
    assert cli("sessions", "list", "--json").out == ""
    assert cli("sessions", "search", "anything", "--json").out == ""


def test_show_json_has_all_branches(cli: Cli, rivers: str) -> None:
    shown = json.loads(cli("sessions", "show", rivers, "--json").out)
    assert list(shown)[:5] == ["id", "title", "model", "system", "messages"]
    assert shown["system"] == "Be brief."
    question, danube, seine = shown["messages"]
    assert [message["on_path"] for message in (question, danube, seine)] == [True, False, True]
    assert danube["parent_id"] == seine["parent_id"] == question["id"]
    assert question["settings"] is None
    assert list(seine)[:12] == [
        "id",
        "parent_id",
        "role",
        "content",
        "state",
        "model",
        "settings",
        "prompt_tokens",
        "generated_tokens",
        "tokens_per_second",
        "created_utc",
        "on_path",
    ]
    assert (seine["settings"], seine["tokens_per_second"]) == ({"top_k": 4}, 50.0)


def test_show_is_the_conversation(cli: Cli, rivers: str) -> None:
    out = cli("sessions", "show", rivers).out
    assert "You:\nList three rivers.\n" in out
    assert "Model:\nThe Seine and the Rhône.\n" in out
    assert "Danube" not in out


def test_search(cli: Cli, rivers: str) -> None:
    [hit] = lines(cli("sessions", "search", "rhone", "--json").out)
    assert list(hit) == ["session_id", "message_id", "title", "snippet", "role", "created_utc"]
    assert (hit["session_id"], hit["role"]) == (rivers, "assistant")
    assert "Rhône" in hit["snippet"]
    assert rivers in cli("sessions", "search", "three", "rivers").out
    assert cli("sessions", "search", "Mississippi").out == ""


def test_rename(cli: Cli, rivers: str) -> None:
    assert cli("sessions", "rename", rivers, "Des rivières").code == 0
    assert lines(cli("sessions", "list", "--json").out)[0]["title"] == "Des rivières"


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (("list", "--json"), lines),
        (("search", "rivers", "--json"), lines),
        (("show", "ID", "--json"), json.loads),
        (("export", "ID", "--format", "json"), json.loads),
        (("export", "--all"), json.loads),
    ],
)
def test_a_terminal_does_not_obey_json_that_means_the_same(
    command: tuple[str, ...], read: Callable[[str], Any], cli: Cli, rivers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["sessions", *(rivers if word == "ID" else word for word in command)]
    cli("sessions", "rename", rivers, "Three rivers \x9b31m \u202e \x1b[31m \x7f")
    exactly = cli(*arguments).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = cli(*arguments).out
    assert "\x9b" in exactly
    assert not UNSAFE.search(shown)
    assert read(shown) == read(exactly)


def test_delete_leaves_nothing(cli: Cli, rivers: str, home: Path) -> None:
    kept = kept_file(home / "cache" / KEPT, rivers)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"keys and values")
    assert cli("sessions", "delete", rivers).code == 0
    assert cli("sessions", "list").out == ""
    assert cli("sessions", "show", rivers).code == 1
    assert not kept.exists()
    left = b"".join(file.read_bytes() for file in (home / "data").iterdir())
    assert b"Danube" not in left
    assert b"List three rivers" not in left


def test_delete_leaves_other_deleted_sessions_to_be_brought_back(cli: Cli, rivers: str, home: Path) -> None:
    db = open_database(home / "data" / "sessions.db")
    other = sessions.create_session(db, model="", system="", settings={}, title="Lakes").id
    deletion.delete_session(db, other)
    assert cli("sessions", "delete", rivers).code == 0
    deletion.restore_session(db, other)
    db.close()
    assert other in cli("sessions", "list").out


def test_looking_changes_nothing(cli: Cli, rivers: str, home: Path) -> None:
    path = home / "data" / "sessions.db"
    before = path.read_bytes()
    for arguments in (["list"], ["show", rivers], ["search", "rivers"], ["export", rivers]):
        assert cli("sessions", *arguments).out
    assert path.read_bytes() == before


def test_delete_asks_at_a_terminal(cli: Cli, rivers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.commands.sessions.asks", lambda: True)
    refused = cli("sessions", "delete", rivers, stdin="n\n")
    assert refused.code == 130
    assert "Rivers" in refused.err
    assert lines(cli("sessions", "list", "--json").out)
    assert cli("sessions", "delete", rivers, stdin="y\n").code == 0
    assert cli("sessions", "list").out == ""


@pytest.mark.parametrize("arguments", [["show"], ["rename", "title"], ["delete"]])
def test_an_unknown_session_is_told(cli: Cli, home: Path, arguments: list[str]) -> None:
    ran = cli("sessions", arguments[0], "0123456789abcdef", *arguments[1:])
    assert ran.code == 1
    assert ran.err.startswith("llm-tui: There is no session 0123456789abcdef.")


def test_export_and_import_are_each_others_opposite(
    cli: Cli, rivers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, every = tmp_path / "one.json", tmp_path / "all.json"
    one.write_text(cli("sessions", "export", rivers, "--format", "json").out)
    every.write_text(cli("sessions", "export", "--all").out)
    for number, file in enumerate((one, every)):
        monkeypatch.setenv("LLM_TUI_HOME", str(tmp_path / f"other{number}"))
        ran = cli("sessions", "import", file)
        assert (ran.code, ran.out) == (0, f"{rivers}\n")
        assert cli("sessions", "export", rivers, "--format", "json").out == one.read_text()
        assert cli("sessions", "export", "--all").out == every.read_text()
        again = json.loads(cli("sessions", "import", file, "--json").out)
        assert (again["n_new"], again["n_known"]) == (0, 1)


def test_import_from_standard_input(cli: Cli, rivers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = cli("sessions", "export", rivers, "--format", "json").out
    monkeypatch.setenv("LLM_TUI_HOME", str(tmp_path / "other"))
    ran = cli("sessions", "import", "-", stdin=text)
    assert (ran.out, ran.err) == (f"{rivers}\n", "New sessions: 1; with new messages: 0; known already: 0.\n")
    assert cli("sessions", "export", rivers, "--format", "json").out == text


def test_import_says_how_many_conversations_it_left_out(cli: Cli, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([{"title": "x", "mapping": {"a": None}}, {"title": "y", "mapping": {}}]))
    ran = cli("sessions", "import", file)
    assert (ran.code, "1 conversation is not in ChatGPT's form" in ran.err) == (0, True)
    assert json.loads(cli("sessions", "import", file, "--json").out)["n_left_out"] == 1


def test_all_sessions_as_markdown(cli: Cli, rivers: str, home: Path) -> None:
    db = open_database(home / "data" / "sessions.db")
    other = sessions.create_session(db, model="", system="", settings={}, title="Lakes").id
    db.close()
    one, another = (cli("sessions", "export", session_id).out for session_id in (rivers, other))
    assert cli("sessions", "export", "--all", "--format", "md").out == f"{one}\n{another}"


def test_export_as_markdown(cli: Cli, rivers: str) -> None:
    out = cli("sessions", "export", rivers).out
    assert out.startswith("# Rivers")
    assert "The Seine and the Rhône." in out
    assert cli("sessions", "export").code == 2
    assert cli("sessions", "export", rivers, "--all").code == 2


def test_a_file_that_is_no_export_is_told(cli: Cli, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": 1}')
    for path in (file, tmp_path / "missing.json"):
        ran = cli("sessions", "import", path)
        assert ran.code == 1
        assert ran.err.startswith(f"llm-tui: {path}")
        assert ran.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_can_be_read(cli: Cli, rivers: str, home: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (home / "data").chmod(0o500)
    (home / "data" / "sessions.db").chmod(0o400)
    try:
        assert rivers in cli("sessions", "list").out
        assert cli("sessions", "rename", rivers, "x").code == 1
    finally:
        (home / "data").chmod(0o700)


def test_where_there_are_no_sessions_and_none_can_be_stored_there_are_none(
    cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody makes a folder there, root neither.
    monkeypatch.setenv("LLM_TUI_HOME", "/proc/llm-tui")
    for asked in (["list"], ["list", "--json"], ["search", "word"]):
        ran = cli("sessions", *asked)
        assert (ran.code, ran.out) == (0, ""), ran.err
    assert cli("sessions", "rename", "x", "y").code == 1
    # Those of a disk that is away are not none.
    monkeypatch.setenv("LLM_TUI_HOME", str(home))
    (home / "data").mkdir()
    (home / "data" / "sessions.db").symlink_to(tmp_path / "away" / "sessions.db")
    assert cli("sessions", "list").code == 1
    (home / "data" / "sessions.db").unlink()
    (home / "data").rmdir()
    (home / "data").symlink_to(tmp_path / "away")
    assert cli("sessions", "list").code == 1


def test_an_answer_whose_writer_was_killed_is_interrupted(cli: Cli, rivers: str, home: Path) -> None:
    program = (
        "import os, sys\n"
        "from storage.connections import open_database\n"
        "from storage import answers\n"
        "db = open_database(sys.argv[1])\n"
        "answers.begin_answer(db, sys.argv[2], None, model='m', settings={}, seed=1)\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", program, home / "data" / "sessions.db", rivers], check=False)
    messages = json.loads(cli("sessions", "show", rivers, "--json").out)["messages"]
    assert messages[-1]["state"] == "interrupted"


def test_backup_is_a_whole_database(cli: Cli, rivers: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert cli("backup", copy).code == 0
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (3,)
    connection.close()
    refused = cli("backup", copy)
    assert refused.code == 1
    assert "--force" in refused.err
    assert cli("backup", copy, "--force").code == 0


def test_backup_of_nothing_is_told(cli: Cli, home: Path, tmp_path: Path) -> None:
    assert cli("backup", tmp_path / "copy.db").code == 1
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_stays_where_the_sessions_went_away_at_the_last_moment(
    cli: Cli, rivers: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.db"
    assert cli("backup", copy).code == 0
    before = copy.read_bytes()

    def remove(database: Path) -> Any:
        shutil.rmtree(database.parent)
        return open_existing(database)

    monkeypatch.setattr("tui.commands.backup.open_existing", remove)
    ran = cli("backup", copy, "--force")
    assert (ran.code, ran.out) == (1, "")
    assert "sessions.db cannot be opened: No such file or directory." in ran.err
    assert copy.read_bytes() == before
    assert not (home / "data").exists()


def test_a_newer_database_is_told_and_left_alone(cli: Cli, rivers: str, home: Path) -> None:
    path = home / "data" / "sessions.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    ran = cli("sessions", "list")
    assert ran.code == 1
    assert "newer llm-tui" in ran.err


def test_nobody_else_can_read_what_was_said(cli: Cli, home: Path) -> None:
    assert cli("sessions", "list").code == 0
    assert (home / "data" / "sessions.db").stat().st_mode & 0o077 == 0
