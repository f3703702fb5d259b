"""The tokens of an answer are kept small, travel with it, go with it, and are never trusted."""

from __future__ import annotations

import json
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from storage.answer_tokens import MOST_BYTES, AnswerTokens, answer_tokens, pack_tokens, unpack_tokens
from storage.answers import begin_answer, finish_answer
from storage.connections import open_database
from storage.errors import NoSuchMessageError
from storage.export import export_session, session_json
from storage.importers import import_file
from storage.merging import merge_session
from storage.records import Message, Session
from storage.tree import append_message, delete_message, fork_session, path

TOKENS = AnswerTokens(ids=[504, 11961, -1, 151_000], lengths=[3, 7, 0, 300], chances=[1.0, 0.25, None, 0.0])


def finish(db: Database, message_id: str, tokens: AnswerTokens | None) -> None:
    finish_answer(
        db,
        message_id,
        "The Danube",
        "complete",
        prompt_tokens=20,
        generated_tokens=4,
        tokens_per_second=None,
        first_token_ms=None,
        seed=7,
        tokens=None if tokens is None else pack_tokens(tokens),
    )


@pytest.fixture
def answer(db: Database, session: Session) -> Message:
    asked = append_message(db, session.id, None, "user", "Rivers?")
    message = begin_answer(db, session.id, asked.id, model="tiny", settings={}, seed=7)
    finish(db, message.id, TOKENS)
    return message


def is_close(found: AnswerTokens | None, wanted: AnswerTokens = TOKENS) -> bool:
    assert found is not None
    assert (list(found.ids), list(found.lengths)) == (list(wanted.ids), list(wanted.lengths))
    assert list(found.chances) == [None if p is None else pytest.approx(p, abs=0.01) for p in wanted.chances]
    return True


@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2**31 - 1), st.integers(0, 10_000), st.none() | st.floats(0, 1, allow_subnormal=False)
        ),
        max_size=300,
    )
)
def test_what_is_packed_is_unpacked(tokens: list[tuple[int, int, float | None]]) -> None:
    ids, lengths, chances = (list(column) for column in zip(*tokens, strict=True)) if tokens else ([], [], [])
    packed = AnswerTokens(ids=ids, lengths=lengths, chances=chances)
    assert is_close(unpack_tokens(pack_tokens(packed)), packed)


@given(st.binary(max_size=200))
def test_any_other_blob_is_no_tokens_or_a_whole_list_of_them(blob: bytes) -> None:
    assert unpack_tokens(blob) is None
    for found in (unpack_tokens(b"\x01" + zlib.compress(blob)), unpack_tokens(pack_tokens(TOKENS)[:-1] + blob[:1])):
        assert found is None or len(found.ids) == len(found.lengths) == len(found.chances)


def test_a_blob_that_unpacks_to_gigabytes_is_no_tokens() -> None:
    assert unpack_tokens(b"\x01" + zlib.compress(bytes(MOST_BYTES + 1))) is None
    assert unpack_tokens(b"\x01" + zlib.compress(b"\xff\xff\xff\xff\x07")) is None
    assert unpack_tokens(b"\x02" + pack_tokens(TOKENS)[1:]) is None


def test_an_answer_keeps_its_tokens_and_its_session_stays_as_quick_to_read(
    db: Database, session: Session, answer: Message
) -> None:
    assert is_close(answer_tokens(db, answer.id))
    assert path(db, session.id)[-1].message.token_ids is None
    asked = path(db, session.id)[0].message
    assert answer_tokens(db, asked.id) is None
    with pytest.raises(NoSuchMessageError):
        answer_tokens(db, "nowhere")


def test_they_go_with_the_answer(db: Database, answer: Message) -> None:
    delete_message(db, answer.id)
    assert db.execute("SELECT count(*) FROM answer_tokens").fetchone() == (0,)


def test_a_fork_has_them_too(db: Database, session: Session, answer: Message) -> None:
    fork = fork_session(db, session.id, answer.id)
    assert is_close(answer_tokens(db, path(db, fork.id)[-1].message.id))


def test_they_leave_and_come_back_as_json(db: Database, session: Session, answer: Message, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    file.write_text(session_json(db, session.id))
    assert isinstance(json.loads(file.read_text())["messages"][1]["tokens"], str)
    with closing(open_database(tmp_path / "other.db")) as other:
        import_file(other, file)
        assert is_close(answer_tokens(other, answer.id))
        assert session_json(other, session.id) == file.read_text()


def test_a_merge_brings_the_newer_ones(db: Database, session: Session, answer: Message, tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "shelter.db")) as shelter:
        merge_session(shelter, export_session(db, session.id))
        newer = msgspec.structs.replace(TOKENS, ids=[1, 2, 3, 4])
        shelter.execute("UPDATE messages SET state = 'writing' WHERE role = 'assistant'")
        finish(shelter, answer.id, newer)
        merge_session(db, export_session(shelter, session.id))
        assert is_close(answer_tokens(db, answer.id), newer)
        finish_again = export_session(shelter, session.id)
        finish_again.messages[1].tokens = None
        merge_session(db, finish_again)
        assert answer_tokens(db, answer.id) is None
