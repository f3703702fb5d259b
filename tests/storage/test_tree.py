"""A session is a tree: it grows, its branches are chosen, its parts deleted, and the head stays valid."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from storage.answers import begin_answer, checkpoint_answer, finish_answer, resume_answer
from storage.errors import NoSuchMessageError
from storage.records import FinalState, Message, Session, pack_token_ids
from storage.sessions import create_session, get_session, rename_session, set_template
from storage.transactions import transaction
from storage.tree import (
    all_messages,
    append_message,
    delete_message,
    edit_message,
    fork_session,
    get_message,
    path,
    path_to,
    siblings,
    switch_to,
)


def talk(db: Database, session: Session, *texts: str, under: str | None = None) -> list[Message]:
    said: list[Message] = []
    for number, text in enumerate(texts):
        parent = said[-1].id if said else under
        said.append(append_message(db, session.id, parent, "assistant" if number % 2 else "user", text))
    return said


def finish(db: Database, answer: Message, state: FinalState) -> None:
    finish_answer(
        db,
        answer.id,
        "Hey",
        state,
        prompt_tokens=1,
        generated_tokens=1,
        tokens_per_second=None,
        first_token_ms=None,
        seed=None,
        token_ids=pack_token_ids([5]),
    )


def shown(db: Database, session: Session) -> list[str]:
    return [step.message.content for step in path(db, session.id)]


def places(db: Database, session: Session) -> list[tuple[int, int]]:
    return [(step.sibling_index, step.sibling_count) for step in path(db, session.id)]


def test_an_empty_session_shows_nothing(db: Database, session: Session) -> None:
    assert path(db, session.id) == []


def test_appending_moves_the_head(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Bye")
    assert shown(db, session) == ["Hi", "Hello", "Bye"]
    assert places(db, session) == [(0, 1)] * 3
    now = get_session(db, session.id)
    assert (now.head_id, now.n_messages) == (said[-1].id, 3)
    assert said[1].parent_id == said[0].id
    assert get_message(db, said[1].id) == said[1]


def test_editing_makes_a_branch_and_keeps_the_old_one(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po")
    edited = edit_message(db, said[2].id, "Mountains?")
    assert (edited.parent_id, edited.role, edited.state) == (said[1].id, "user", "complete")
    assert shown(db, session) == ["Hi", "Hello", "Mountains?"]
    assert places(db, session) == [(0, 1), (0, 1), (1, 2)]
    assert [message.content for message in siblings(db, said[2].id)] == ["Rivers?", "Mountains?"]
    assert [step.message.content for step in path_to(db, said[3].id)] == ["Hi", "Hello", "Rivers?", "The Po"]
    assert get_session(db, session.id).n_messages == 5


def test_the_first_message_can_have_versions_too(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello")
    edit_message(db, said[0].id, "Hey")
    assert shown(db, session) == ["Hey"]
    assert places(db, session) == [(1, 2)]
    assert switch_to(db, said[0].id).content == "Hello"
    assert places(db, session) == [(0, 2), (0, 1)]


def test_switching_back_finds_the_leaf_that_was_left(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po", "More", "The Elbe")
    talk(db, session, "The Rhine", under=said[4].id)
    mountains = edit_message(db, said[2].id, "Mountains?")
    talk(db, session, "The Eiger", under=mountains.id)
    assert switch_to(db, said[2].id).content == "The Rhine"
    assert shown(db, session) == ["Hi", "Hello", "Rivers?", "The Po", "More", "The Rhine"]
    assert switch_to(db, mountains.id).content == "The Eiger"
    assert switch_to(db, said[5].id).content == "The Elbe"
    assert shown(db, session)[-1] == "The Elbe"
    assert [step.sibling_count for step in path(db, session.id)] == [1, 1, 2, 1, 1, 2]


def test_appending_to_a_hidden_branch_shows_it(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po")
    edit_message(db, said[0].id, "Hey")
    talk(db, session, "And then?", under=said[3].id)
    assert shown(db, session) == ["Hi", "Hello", "Rivers?", "The Po", "And then?"]


def test_deleting_the_shown_version_shows_the_one_before(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po")
    second = edit_message(db, said[2].id, "Mountains?")
    talk(db, session, "The Eiger", under=second.id)
    third = edit_message(db, said[2].id, "Lakes?")
    delete_message(db, third.id)
    assert shown(db, session) == ["Hi", "Hello", "Mountains?", "The Eiger"]
    switch_to(db, said[2].id)
    delete_message(db, said[2].id)
    assert shown(db, session) == ["Hi", "Hello", "Mountains?", "The Eiger"]
    delete_message(db, second.id)
    assert shown(db, session) == ["Hi", "Hello"]
    delete_message(db, said[0].id)
    assert shown(db, session) == []
    assert get_session(db, session.id).n_messages == 0


def test_deleting_a_hidden_branch_leaves_the_head(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po")
    edit_message(db, said[2].id, "Mountains?")
    delete_message(db, said[2].id)
    assert shown(db, session) == ["Hi", "Hello", "Mountains?"]
    assert [message.content for message in all_messages(db, session.id)] == ["Hi", "Hello", "Mountains?"]
    with pytest.raises(NoSuchMessageError, match=said[3].id):
        get_message(db, said[3].id)


@pytest.mark.parametrize("change", ["append", "switch back", "delete", "finish", "go on"])
def test_what_is_done_to_its_messages_changes_a_session(db: Database, session: Session, change: str) -> None:
    asked, answered = talk(db, session, "Hi", "Hello")
    begun = begin_answer(db, session.id, asked.id, model="tiny", settings={}, seed=None)
    if change == "go on":
        finish(db, begun, "stopped")
    db.execute("UPDATE sessions SET updated_utc = '2020-01-01T00:00:00.000Z'")
    match change:
        case "append":
            append_message(db, session.id, begun.id, "user", "Bye")
        case "switch back":
            switch_to(db, answered.id)
        case "delete":
            delete_message(db, answered.id)
        case "finish":
            finish(db, begun, "complete")
        case "go on":
            resume_answer(db, begun.id)
    # Whoever only looks at another version has not said anything.
    assert (get_session(db, session.id).updated_utc > "2021") == (change != "switch back")


def test_a_fork_is_a_session_of_its_own(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello", "Rivers?", "The Po")
    set_template(db, session.id, "alpaca")
    session = rename_session(db, session.id, "Rivers", "model")
    forked = fork_session(db, session.id, said[1].id)
    assert (forked.model, forked.system, forked.settings) == (session.model, session.system, session.settings)
    assert (forked.template, forked.title, forked.title_source) == ("alpaca", "Rivers", "model")
    assert shown(db, forked) == ["Hi", "Hello"]
    delete_message(db, path(db, forked.id)[0].message.id)
    assert shown(db, session) == ["Hi", "Hello", "Rivers?", "The Po"]


def test_a_fork_goes_on_with_the_model_of_its_own_last_answer(db: Database, session: Session) -> None:
    answered = []
    for model in ("small", "large"):
        asked = append_message(db, session.id, answered[-1] if answered else None, "user", "Rivers?")
        answered.append(begin_answer(db, session.id, asked.id, model=model, settings={}, seed=None).id)
    assert get_session(db, session.id).model == "large"
    assert fork_session(db, session.id, answered[0]).model == "small"
    assert fork_session(db, session.id, answered[1]).model == "large"


def test_an_answer_that_is_being_written_is_cut_short_in_a_fork(db: Database, session: Session) -> None:
    asked = append_message(db, session.id, None, "user", "Rivers?")
    answer = begin_answer(db, session.id, asked.id, model="tiny", settings={}, seed=None)
    checkpoint_answer(db, answer.id, "The Dan", pack_token_ids([5, 6]), 2)
    copied = path(db, fork_session(db, session.id, answer.id).id)[-1].message
    assert (copied.state, copied.content, copied.token_ids) == ("interrupted", "The Dan", pack_token_ids([5, 6]))
    assert get_message(db, answer.id).state == "writing"


def test_messages_of_other_sessions_are_no_parents(db: Database, session: Session) -> None:
    other = create_session(db, model="tiny", system="", settings={})
    said = talk(db, other, "Hi")
    with pytest.raises(NoSuchMessageError):
        append_message(db, session.id, said[0].id, "user", "x")
    with pytest.raises(NoSuchMessageError):
        fork_session(db, session.id, said[0].id)
    assert get_session(db, session.id).n_messages == 0


def test_a_branch_deeper_than_sqlite_s_trigger_limit_can_be_deleted(db: Database, session: Session) -> None:
    with transaction(db):
        said = talk(db, session, *(str(number) for number in range(1200)))
    delete_message(db, said[0].id)
    assert get_session(db, session.id).n_messages == 0


def test_a_hidden_branch_whose_shown_end_was_deleted_shows_its_other_end(db: Database, session: Session) -> None:
    said = talk(db, session, "Hi", "Hello")
    edit_message(db, said[1].id, "Good day")
    latest = edit_message(db, said[1].id, "Good evening")
    edit_message(db, said[0].id, "Hey")
    delete_message(db, latest.id)
    assert switch_to(db, said[0].id).content == "Good day"
