"""Sessions leave as JSON with nothing lost and as Markdown to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlite_utils import Database

from storage import sessions
from storage.answers import begin_answer, checkpoint_answer, finish_answer
from storage.connections import open_database
from storage.deletion import delete_session
from storage.errors import NoSuchSessionError
from storage.export import all_sessions_json, all_sessions_markdown, session_json, session_markdown
from storage.importers import import_file
from storage.records import Session, pack_token_ids
from storage.search import search
from storage.tree import all_messages, append_message, edit_message, path, switch_to


@pytest.fixture
def rivers(db: Database, session: Session) -> Session:
    """A session with a bit of everything."""
    sessions.rename_session(db, session.id, "Rivers\nof Europe")
    sessions.set_draft(db, session.id, "And then")
    sessions.set_template(db, session.id, "chatml")
    sessions.set_pinned(db, session.id, True)
    asked = append_message(db, session.id, None, "user", "Rivers? 🌊 \x00\x1b[31m")
    first = begin_answer(db, session.id, asked.id, model="tiny", settings={"temperature": 0.8, "seed": None}, seed=-1)
    finish_answer(
        db,
        first.id,
        "The Danube",
        "stopped",
        prompt_tokens=20,
        generated_tokens=3,
        tokens_per_second=1 / 3,
        first_token_ms=0.1 + 0.2,
        seed=2**62,
        token_ids=pack_token_ids([1, 2, 3]),
    )
    second = begin_answer(db, session.id, asked.id, model="huge", settings={}, seed=None)
    checkpoint_answer(db, second.id, "The Rh", pack_token_ids([4]), 1)
    other = edit_message(db, asked.id, "Mountains?")
    left_at = append_message(db, session.id, other.id, "assistant", "The Eiger")
    append_message(db, session.id, other.id, "assistant", "The Jungfrau")
    switch_to(db, left_at.id)
    switch_to(db, first.id)
    return sessions.get_session(db, session.id)


def test_one_session_has_the_promised_fields(db: Database, rivers: Session) -> None:
    document = json.loads(session_json(db, rivers.id))
    assert list(document)[:5] == ["id", "title", "model", "system", "messages"]
    assert (document["id"], document["title"], document["system"]) == (rivers.id, "Rivers\nof Europe", "Be brief.")
    asked, first, second, *_ = document["messages"]
    assert list(first)[:12] == [
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
    assert [message["on_path"] for message in document["messages"]] == [True, True] + [False] * 4
    assert (first["parent_id"], first["role"], first["content"]) == (asked["id"], "assistant", "The Danube")
    assert (first["settings"], first["seed"], first["token_ids"]) == (
        {"seed": None, "temperature": 0.8},
        2**62,
        [1, 2, 3],
    )
    assert second["state"] == "interrupted"
    with pytest.raises(NoSuchSessionError):
        session_json(db, "nowhere")


def test_exports_come_back_unchanged(db: Database, rivers: Session, tmp_path: Path) -> None:
    for number in range(3):
        other = sessions.create_session(db, model="tiny", system="", settings={}, title=str(number))
        append_message(db, other.id, None, "user", "Hello")
    sessions.set_archived(db, other.id, True)
    exported = "".join(all_sessions_json(db))
    one = session_json(db, rivers.id)
    (tmp_path / "all.json").write_text(exported, encoding="utf-8")
    (tmp_path / "one.json").write_text(one, encoding="utf-8")
    with closing(open_database(tmp_path / "empty" / "sessions.db")) as empty:
        report = import_file(empty, tmp_path / "all.json")
        assert (report.n_new, report.n_extended, report.n_known, report.n_messages) == (4, 0, 0, 9)
        assert "".join(all_sessions_json(empty)) == exported
        assert sessions.list_sessions(empty) == sessions.list_sessions(db)
        ended = {"writing": "interrupted"}
        said = [msgspec.structs.replace(m, state=ended.get(m.state, m.state)) for m in all_messages(db, rivers.id)]
        assert all_messages(empty, rivers.id) == said
        assert [step.message.content for step in path(empty, rivers.id)][1:] == ["The Danube"]
        assert len(search(empty, "danube")) == 1
        (mountains,) = [m for m in all_messages(empty, rivers.id) if m.content == "Mountains?"]
        assert switch_to(empty, mountains.id).content == "The Eiger"
    with closing(open_database(tmp_path / "single" / "sessions.db")) as single:
        assert import_file(single, tmp_path / "one.json").session_ids == [rivers.id]
        assert session_json(single, rivers.id) == one


def test_deleted_sessions_are_not_exported(db: Database, rivers: Session) -> None:
    delete_session(db, rivers.id)
    assert json.loads("".join(all_sessions_json(db)))["sessions"] == []


@pytest.mark.parametrize("write", [all_sessions_json, all_sessions_markdown])
def test_a_session_that_is_deleted_while_all_are_written_is_left_out(
    db: Database, rivers: Session, write: Callable[[Database], Iterator[str]]
) -> None:
    gone, _ = (sessions.create_session(db, model="", system="", settings={}, title=name) for name in ("Gone", "Last"))
    written, pieces = "", write(db)
    while "Danube" not in written:
        written += next(pieces)
    delete_session(db, gone.id)
    written += "".join(pieces)
    assert ("Gone" in written, "Last" in written) == (False, True)


def test_a_session_in_markdown(db: Database) -> None:
    session = sessions.create_session(db, model="", system="Be brief.\n\nBe kind.", settings={})
    asked = append_message(db, session.id, None, "user", "Rivers?\n")
    append_message(db, session.id, asked.id, "assistant", "The Danube")
    date = session.created_utc[:10]
    assert session_markdown(db, session.id) == (
        f"# Untitled\n\n{date}\n\n> Be brief.\n> \n> Be kind.\n\n## You\n\nRivers?\n\n## Model\n\nThe Danube\n"
    )


def test_markdown_shows_the_shown_branch(db: Database, rivers: Session) -> None:
    text = session_markdown(db, rivers.id)
    assert text.startswith("# Rivers of Europe\n")
    assert "> Be brief." in text
    assert "## You\n\nRivers?" in text
    assert "## tiny (stopped)\n\nThe Danube\n" in text
    assert "Mountains" not in text


def test_markdown_can_show_all_branches(db: Database, rivers: Session) -> None:
    text = session_markdown(db, rivers.id, branches=True)
    assert "## 2, follows 1: tiny (stopped)" in text
    assert "## 3, follows 1: huge (being written)" in text
    assert "## 4: You\n\nMountains?" in text


def test_a_session_that_has_grown_elsewhere_comes_with_the_model_of_its_last_answer(
    db: Database, session: Session, tmp_path: Path
) -> None:
    asked = append_message(db, session.id, None, "user", "Rivers?")
    answer = begin_answer(db, session.id, asked.id, model="small", settings={}, seed=None)
    file = tmp_path / "session.json"
    with closing(open_database(tmp_path / "other.db")) as other:
        file.write_text(session_json(db, session.id))
        import_file(other, file)
        assert sessions.get_session(other, session.id).model == "small"
        again = append_message(db, session.id, answer.id, "user", "And lakes?")
        begin_answer(db, session.id, again.id, model="large", settings={}, seed=None)
        file.write_text(session_json(db, session.id))
        import_file(other, file)
        assert sessions.get_session(other, session.id).model == "large"
