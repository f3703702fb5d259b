"""Sessions are made, listed, found and changed."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from storage import sessions
from storage.app_settings import get_setting, set_setting
from storage.deletion import purge_session
from storage.errors import NoSuchSessionError
from storage.records import Session
from storage.tree import append_message


def make(db: Database, title: str) -> Session:
    return sessions.create_session(db, model="tiny", system="", settings={}, title=title)


def titles(page: list[Session]) -> list[str]:
    return [session.title for session in page]


def test_a_new_session_has_what_it_was_given(db: Database) -> None:
    made = sessions.create_session(
        db, model="tiny", system="Be brief.", settings={"top_k": 40, "temperature": 0.8}, template="chatml", title="Hi"
    )
    assert sessions.get_session(db, made.id) == made
    assert (made.model, made.system, made.template, made.title) == ("tiny", "Be brief.", "chatml", "Hi")
    assert made.settings == {"temperature": 0.8, "top_k": 40}
    assert (made.head_id, made.draft, made.n_messages, made.pinned, made.archived) == (None, "", 0, False, False)
    assert made.created_utc == made.updated_utc
    assert made.created_utc.endswith("Z")


def test_every_change_is_kept(db: Database, session: Session) -> None:
    db.execute("UPDATE sessions SET updated_utc = '2020-01-01T00:00:00.000Z'")
    sessions.set_pinned(db, session.id, True)
    sessions.set_archived(db, session.id, True)
    sessions.set_system(db, session.id, "Speak Latin.")
    sessions.set_settings(db, session.id, {"temperature": 0.1})
    sessions.set_template(db, session.id, "alpaca")
    sessions.set_draft(db, session.id, "What I was going to s")
    now = sessions.get_session(db, session.id)
    assert (now.pinned, now.archived, now.system, now.settings) == (True, True, "Speak Latin.", {"temperature": 0.1})
    assert (now.template, now.draft) == ("alpaca", "What I was going to s")
    assert now.updated_utc == "2020-01-01T00:00:00.000Z"


def test_an_unknown_session_is_named_in_the_error(db: Database) -> None:
    for act in (
        lambda: sessions.get_session(db, "nowhere"),
        lambda: sessions.set_pinned(db, "nowhere", True),
        lambda: sessions.rename_session(db, "nowhere", "x"),
        lambda: append_message(db, "nowhere", None, "user", "x"),
    ):
        with pytest.raises(NoSuchSessionError, match="nowhere"):
            act()


def test_the_user_s_title_is_not_replaced_by_an_automatic_one(db: Database, session: Session) -> None:
    assert sessions.rename_session(db, session.id, "First words", "auto").title == "First words"
    assert sessions.rename_session(db, session.id, "By the model", "model").title == "By the model"
    assert sessions.rename_session(db, session.id, "Mine").title_source == "user"
    assert sessions.rename_session(db, session.id, "By the model again", "model").title == "Mine"
    assert sessions.rename_session(db, session.id, "Mine, better").title == "Mine, better"


def test_history_comes_in_pages_pinned_first_then_newest_first(db: Database) -> None:
    made = [make(db, str(number)) for number in range(7)]
    append_message(db, made[2].id, None, "user", "Up again")
    sessions.set_pinned(db, made[0].id, True)
    sessions.set_archived(db, made[5].id, True)
    seen: list[str] = []
    after = None
    while page := sessions.list_sessions(db, limit=2, after=after):
        assert len(page) <= 2
        seen += titles(page)
        after = page[-1].id
    assert seen[0] == "0"
    assert sorted(seen) == ["0", "1", "2", "3", "4", "6"]
    assert seen[1:] == titles(sorted(sessions.list_sessions(db)[1:], key=lambda s: s.updated_utc, reverse=True))
    assert titles(sessions.list_sessions(db, archived=True)) == ["5"]


def test_the_next_page_begins_where_the_last_session_was(db: Database) -> None:
    made = [make(db, str(number)) for number in range(6)]
    db.execute("UPDATE sessions SET updated_utc = '2026-01-01T00:00:0' || title || '.000Z'")
    page = sessions.list_sessions(db, limit=2)
    assert titles(page) == ["5", "4"]
    append_message(db, made[4].id, None, "user", "Up again")
    assert titles(sessions.list_sessions(db, limit=2, after=page[-1])) == ["3", "2"]
    purge_session(db, made[4].id)
    assert titles(sessions.list_sessions(db, limit=2, after=page[-1])) == ["3", "2"]
    assert titles(sessions.list_sessions(db, limit=2, after=made[3].id)) == ["2", "1"]


def test_the_last_session_is_the_one_that_changed_last(db: Database) -> None:
    assert sessions.last_session(db) is None
    old, new = make(db, "old"), make(db, "new")
    db.execute("UPDATE sessions SET updated_utc = '2020-01-01T00:00:00.000Z'")
    append_message(db, new.id, None, "user", "Hello")
    assert (last := sessions.last_session(db)) and last.title == "new"
    append_message(db, old.id, None, "user", "Hello")
    db.execute("UPDATE sessions SET updated_utc = '2020-01-01T00:00:00.000Z' WHERE id = ?", [new.id])
    sessions.set_pinned(db, new.id, True)
    assert (last := sessions.last_session(db)) and last.title == "old"


def test_text_that_is_not_unicode_is_stored_with_replacements(db: Database, session: Session) -> None:
    assert sessions.rename_session(db, session.id, "a\udcffb").title == "a?b"


def test_settings_hold_any_json(db: Database) -> None:
    assert get_setting(db, "last_model") is None
    set_setting(db, "last_model", {"path": "/m.gguf", "n": [1, 2.5, None]})
    set_setting(db, "last_model", {"path": "/n.gguf"})
    assert get_setting(db, "last_model") == {"path": "/n.gguf"}
