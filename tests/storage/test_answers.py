"""An answer is safe while it is written, and goes on where it stopped."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from storage.answers import begin_answer, checkpoint_answer, finish_answer, recover_interrupted, resume_answer
from storage.errors import AnswerStateError, NoSuchMessageError
from storage.records import FinalState, Message, Session, pack_token_ids, unpack_token_ids
from storage.sessions import create_session, get_session, list_sessions
from storage.tree import append_message, delete_message, get_message, path


@pytest.fixture
def answer(db: Database, session: Session) -> Message:
    asked = append_message(db, session.id, None, "user", "Rivers?")
    return begin_answer(db, session.id, asked.id, model="tiny", settings={"temperature": 0.8}, seed=7)


def finish(db: Database, answer: Message, state: FinalState, token_ids: bytes | None = None) -> Message:
    return finish_answer(
        db,
        answer.id,
        "The Danube",
        state,
        prompt_tokens=20,
        generated_tokens=3,
        tokens_per_second=118.5,
        first_token_ms=90.25,
        seed=7,
        settings={"temperature": 1.5},
        token_ids=token_ids,
    )


def test_an_answer_carries_what_made_it(db: Database, session: Session, answer: Message) -> None:
    assert (answer.state, answer.content, answer.seed, answer.role) == ("writing", "", 7, "assistant")
    assert (answer.model, answer.settings) == ("tiny", {"temperature": 0.8})
    done = finish(db, answer, "complete")
    assert (done.content, done.state, done.model, done.settings) == (
        "The Danube",
        "complete",
        "tiny",
        {"temperature": 1.5},
    )
    assert (done.prompt_tokens, done.generated_tokens, done.tokens_per_second) == (20, 3, 118.5)
    assert (done.first_token_ms, done.token_ids) == (90.25, None)
    assert path(db, session.id)[-1].message == done


def test_a_session_s_model_is_that_of_its_last_answer(db: Database) -> None:
    session = create_session(db, model="", system="", settings={})
    for model, kept in (("tiny", "tiny"), ("huge", "huge"), ("", "huge")):
        begin_answer(db, session.id, None, model=model, settings={}, seed=None)
        assert get_session(db, session.id).model == kept


def test_checkpoints_are_there_for_everybody(db: Database, answer: Message) -> None:
    tokens = pack_token_ids([1, 49151, 2**31 - 1])
    checkpoint_answer(db, answer.id, "The Dan", tokens, 3)
    now = get_message(db, answer.id)
    assert (now.content, now.state, now.generated_tokens) == ("The Dan", "writing", 3)
    assert now.token_ids is not None
    assert unpack_token_ids(now.token_ids) == [1, 49151, 2**31 - 1]


def test_a_stopped_answer_keeps_its_last_tokens(db: Database, answer: Message) -> None:
    checkpoint_answer(db, answer.id, "The", pack_token_ids([1]), 1)
    assert finish(db, answer, "stopped").token_ids == pack_token_ids([1])


def test_an_unfinished_answer_is_taken_up_again(db: Database, answer: Message) -> None:
    finish(db, answer, "failed", pack_token_ids([1, 2]))
    db.execute("UPDATE unfinished SET pid = 2147483646")
    again = resume_answer(db, answer.id)
    assert (again.state, again.content, again.token_ids) == ("writing", "The Danube", pack_token_ids([1, 2]))
    assert recover_interrupted(db) == [], "it is this process's now"
    assert finish(db, answer, "complete").token_ids is None
    with pytest.raises(AnswerStateError, match="complete"):
        resume_answer(db, answer.id)


def test_the_session_whose_answer_goes_on_or_ends_is_the_newest_one(
    db: Database, session: Session, answer: Message
) -> None:
    other = create_session(db, model="tiny", system="", settings={})
    acts = (lambda: finish(db, answer, "stopped", pack_token_ids([1])), lambda: resume_answer(db, answer.id))
    for act in acts:
        for id_, changed_utc in ((session.id, "2026-01-01T00:00:00.000Z"), (other.id, "2026-01-01T00:00:00.001Z")):
            db.execute("UPDATE sessions SET updated_utc = ? WHERE id = ?", [changed_utc, id_])
        act()
        assert [found.id for found in list_sessions(db)] == [session.id, other.id]


def test_a_finished_answer_takes_no_more_text(db: Database, answer: Message) -> None:
    finish(db, answer, "complete")
    with pytest.raises(AnswerStateError, match="complete"):
        checkpoint_answer(db, answer.id, "x", None, 1)
    with pytest.raises(AnswerStateError, match="complete"):
        finish(db, answer, "complete")
    assert get_message(db, answer.id).content == "The Danube"


def test_an_answer_deleted_meanwhile_is_said_to_be_gone(db: Database, answer: Message) -> None:
    delete_message(db, answer.id)
    with pytest.raises(NoSuchMessageError):
        finish(db, answer, "complete")


def test_this_process_s_answers_are_not_taken_for_interrupted(db: Database, answer: Message) -> None:
    assert recover_interrupted(db) == []
    assert get_message(db, answer.id).state == "writing"


def test_the_answer_of_a_process_that_is_gone_is_interrupted(db: Database, answer: Message) -> None:
    checkpoint_answer(db, answer.id, "The Dan", pack_token_ids([5, 6]), 2)
    db.execute("UPDATE unfinished SET pid = 2147483646")
    (found,) = recover_interrupted(db)
    assert (found.id, found.state, found.content) == (answer.id, "interrupted", "The Dan")
    assert found.token_ids == pack_token_ids([5, 6])
    assert recover_interrupted(db) == []


def test_another_host_s_answer_lives_while_its_heart_beats(db: Database, answer: Message) -> None:
    db.execute("UPDATE unfinished SET host = 'elsewhere.example'")
    assert recover_interrupted(db) == []
    db.execute("UPDATE unfinished SET heartbeat_s = heartbeat_s - 3600")
    assert [message.id for message in recover_interrupted(db)] == [answer.id]


def test_a_reused_process_number_does_not_keep_an_answer_alive(db: Database, answer: Message) -> None:
    db.execute("UPDATE unfinished SET pid = 1, process_started_s = 1.0, heartbeat_s = heartbeat_s - 3600")
    assert [message.id for message in recover_interrupted(db)] == [answer.id]


@pytest.mark.parametrize(("seed", "stored"), [(-1, -1), (2**63 - 1, 2**63 - 1), (2**64 - 1, -1), (2**64 + 5, 5)])
def test_a_seed_of_any_size_is_kept_modulo_64_bits(db: Database, session: Session, seed: int, stored: int) -> None:
    begun = begin_answer(db, session.id, None, model="tiny", settings={}, seed=seed)
    assert begun.seed == stored
    assert (stored - seed) % 2**64 == 0
