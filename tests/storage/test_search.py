"""Everything is found again: words, beginnings of words, phrases, with accents or without, whatever is typed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from storage.answers import begin_answer, checkpoint_answer, finish_answer, recover_interrupted
from storage.deletion import delete_session, restore_session
from storage.records import Session
from storage.search import SearchHit, search
from storage.sessions import create_session, rename_session
from storage.tree import append_message, delete_message


def said(hits: list[SearchHit]) -> list[str]:
    return [hit.snippet for hit in hits if hit.message_id is not None]


@pytest.fixture
def rivers(db: Database, session: Session) -> Session:
    rename_session(db, session.id, "Rivers of Europe")
    append_message(db, session.id, None, "user", "The Danube rises in the Black Forest.")
    append_message(db, session.id, None, "assistant", "La rivière Élorn coule à Brest, en Bretagne.")
    append_message(db, session.id, None, "user", "Black ink, no forest.")
    append_message(db, session.id, None, "user", "Сена течёт через Париж.")
    return session


@pytest.mark.parametrize(
    ("typed", "n_found"),
    [
        ("danube", 1),
        ("DANUBE rises", 1),
        ("dan", 1),
        ("d", 1),
        ("dan ", 0),
        ("élorn", 1),
        ("elorn", 1),
        ("riviere", 1),
        ("RIVIÈRE bre", 1),
        ("black forest", 2),
        ('"black forest"', 1),
        ('"black for', 1),
        ('"black for"', 0),
        ('"forest black"', 0),
        ('"black forest" danube', 1),
        ('danube "black forest"', 1),
        ('"the black forest" "danube rises"', 1),
        ('"the black forest" rises danube', 1),
        ('"the black forest" "rises danube"', 0),
        ('"black ink no forest"', 1),
        ('"ink no f', 1),
        ('"nk no forest"', 0),
        ('"RIVIÈRE Elorn" brest', 1),
        ('"riviere élorn', 1),
        ('"la riviere coule"', 0),
        ('"сена течёт', 1),
        ('"течёт сена"', 0),
        ("danube rhine", 0),
        ("", 0),
        ("   ", 0),
        ('"""', 0),
        ("…!?", 0),
    ],
)
def test_what_is_typed_finds_messages(db: Database, rivers: Session, typed: str, n_found: int) -> None:
    assert len(said(search(db, typed))) == n_found


@pytest.mark.parametrize(
    ("word", "n_said"),
    [("w{}", 24), ("C{}++", 24), ("long{}" + "g" * 56, 8), ("東京{}", 8)],
    ids=["many words", "symbols", "long words", "no spaces"],
)
def test_a_page_that_is_pasted_finds_what_it_begins_with(
    db: Database, session: Session, word: str, n_said: int
) -> None:
    page = [word.format(number) for number in range(10, 50)]
    append_message(db, session.id, None, "user", " ".join(page[: n_said + 1]))
    append_message(db, session.id, None, "user", " ".join(page[: n_said // 2]))
    assert len(search(db, " ".join(page))) == 1


def test_a_hit_tells_where_it_is(db: Database, rivers: Session) -> None:
    (hit,) = search(db, "riviere")
    assert (hit.session_id, hit.title, hit.role) == (rivers.id, "Rivers of Europe", "assistant")
    assert hit.snippet == "La rivière Élorn coule à Brest, en Bretagne."
    assert [hit.snippet[start:end] for start, end in hit.matches] == ["rivière"]


def test_titles_are_found_and_come_first(db: Database, rivers: Session) -> None:
    title, *messages = search(db, "r")
    assert (title.session_id, title.message_id, title.role, title.snippet) == (
        rivers.id,
        None,
        None,
        "Rivers of Europe",
    )
    assert len(messages) == 2
    assert [hit.session_id for hit in search(db, '"rivers of eur')] == [rivers.id]
    rename_session(db, rivers.id, "Forests")
    assert search(db, "rivers") == []


def test_titles_leave_room_for_messages(db: Database) -> None:
    for number in range(10):
        other = create_session(db, model="", system="", settings={}, title=f"Lake {number}")
        append_message(db, other.id, None, "user", "lake")
    hits = search(db, "lake", 6)
    assert [hit.message_id is None for hit in hits] == [True] * 3 + [False] * 3


def test_newest_messages_come_first_up_to_the_limit(db: Database, session: Session) -> None:
    for number in range(300):
        append_message(db, session.id, None, "user", f"The lake number {number}")
    assert [snippet.split()[-1] for snippet in said(search(db, "lake", 3))] == ["299", "298", "297"]
    assert [snippet.split()[-1] for snippet in said(search(db, '"lake number 7"'))] == ["7"]


def test_a_snippet_is_one_line_around_the_match(db: Database, session: Session) -> None:
    text = "word\n" * 500 + "the needle\n\n\tin here\n" + "word\n" * 500
    append_message(db, session.id, None, "user", text)
    (hit,) = search(db, "needle")
    assert "the needle in here" in hit.snippet
    assert "\n" not in hit.snippet
    assert len(hit.snippet) < 200
    assert [hit.snippet[start:end] for start, end in hit.matches] == ["needle"]


def test_an_answer_is_found_when_it_has_ended(db: Database, session: Session) -> None:
    answer = begin_answer(db, session.id, None, model="tiny", settings={}, seed=1)
    checkpoint_answer(db, answer.id, "The Danube", None, 2)
    assert search(db, "danube") == []
    finish_answer(
        db,
        answer.id,
        "The Danube flows",
        "stopped",
        prompt_tokens=1,
        generated_tokens=3,
        tokens_per_second=1.0,
        first_token_ms=1.0,
        seed=1,
    )
    assert said(search(db, "danube flo")) == ["The Danube flows"]


def test_an_answer_that_changed_after_it_was_taken_for_interrupted_is_found_as_it_is(
    db: Database, session: Session
) -> None:
    answer = begin_answer(db, session.id, None, model="tiny", settings={}, seed=1)
    checkpoint_answer(db, answer.id, "The Danube", None, 2)
    db.execute("UPDATE unfinished SET pid = 2147483646")
    recover_interrupted(db)
    assert said(search(db, "danube")) == ["The Danube"]
    finish_answer(
        db,
        answer.id,
        "The Rhine",
        "complete",
        prompt_tokens=1,
        generated_tokens=3,
        tokens_per_second=1.0,
        first_token_ms=1.0,
        seed=1,
    )
    assert search(db, "danube") == []
    assert said(search(db, "rhine")) == ["The Rhine"]
    db.execute("INSERT INTO messages_index (messages_index, rank) VALUES ('integrity-check', 1)")


def test_what_is_deleted_is_not_found(db: Database, rivers: Session) -> None:
    (hit,) = search(db, "danube")
    assert hit.message_id is not None
    delete_message(db, hit.message_id)
    assert search(db, "danube") == []
    delete_session(db, rivers.id)
    assert search(db, "r") == []
    restore_session(db, rivers.id)
    assert len(search(db, "r")) == 2


def test_a_budget_ends_the_search_for_a_phrase(db: Database, session: Session) -> None:
    for _ in range(400):
        append_message(db, session.id, None, "user", "one two")
    assert search(db, '"two one"', budget_ms=0) == []
    assert search(db, '"one two"', 400, budget_ms=0) == []
    # It is milliseconds: so many seconds would do for all.
    assert search(db, '"one two"', 400, budget_ms=0.01) == []
    assert len(search(db, '"one two"', 400, budget_ms=60_000)) == 400
    assert len(search(db, '"one two"', 400)) == 400


def test_a_budget_ends_the_search_for_what_the_index_does_not_know(db: Database, session: Session) -> None:
    append_message(db, session.id, None, "user", "東京")
    assert search(db, "東京", budget_ms=0) == []
    assert len(search(db, "東京", budget_ms=60_000)) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.text(alphabet='"*^:()-+{} aNOTORAND\x00\U00016e40é\u0301中𖹀', max_size=30))
def test_nothing_that_is_typed_is_an_error(db: Database, rivers: Session, typed: str) -> None:
    search(db, typed)
    search(db, f'"{typed}')
    search(db, f"forest {typed}")


@pytest.mark.parametrize(
    ("typed", "n_found"),
    [("河流", 1), ("多瑙", 1), ("多瑙 EUROPE", 1), ("山", 0), ("แม่น้ำ", 1), ("100%多", 0), ("多_河", 0), ('"多瑙', 1)],
)
def test_scripts_without_spaces_are_found_inside_sentences(
    db: Database, session: Session, typed: str, n_found: int
) -> None:
    append_message(db, session.id, None, "user", "多瑙河是欧洲第二长的河流。It flows through Europe.")
    append_message(db, session.id, None, "user", "แม่น้ำโขง")
    hits = search(db, typed)
    assert len(hits) == n_found
    for hit in hits:
        assert {hit.snippet[start:end].lower() for start, end in hit.matches} <= set(typed.strip('"').lower().split())
        assert hit.matches


def test_titles_without_spaces_are_found_too(db: Database, session: Session) -> None:
    rename_session(db, session.id, "欧洲的河流")
    append_message(db, session.id, None, "user", "前" * 100 + "河流" + "后" * 100)
    title, message = search(db, "河流")
    assert (title.message_id, title.snippet, title.matches) == (None, "欧洲的河流", [(3, 5)])
    assert message.snippet == "…" + "前" * 40 + "河流" + "后" * 78 + "…"
    delete_session(db, session.id)
    assert search(db, "河流", budget_ms=0) == []


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ecole 東京", "L'École de 東京"),
        ("ÉCOLE 東京", "L'École de 東京"),
        ("e\u0301cole東京", ""),
        ("a b c d e f g h i j 東京", ""),
        ("школа 東京", "東京 Школа"),
        ("🎉", "A 🎉 party"),
        ("party 🎉", "A 🎉 party"),
        ("🎉 party", "A 🎉 party"),
        ("dance 🎉", ""),
        ("c++", "C++ is a language"),
        ("C++ lang", "C++ is a language"),
        ('"C++ is', "C++ is a language"),
        ("C#", ""),
        ("= dance", "Another party, a dance"),
        ("❤️", "With ❤ from me"),
        ("हिन्दी", "हिन्दी भाषा"),
        ("हिन्द", "हिन्दी भाषा"),
        ("हन", ""),
    ],
)
def test_what_the_index_cuts_away_is_found_as_it_is_written(
    db: Database, session: Session, typed: str, found: str
) -> None:
    for text in (
        "L'École de 東京",
        "東京 Школа",
        "A 🎉 party",
        "Another party, a dance",
        "C++ is a language",
        "C is a language as well",
        "With ❤ from me",
        "हिन्दी भाषा",
        "राम ने ही दिया",
    ):
        append_message(db, session.id, None, "user", text)
    hits = search(db, typed)
    assert said(hits) == ([found] if found else [])
    for hit in hits:
        assert hit.matches
        assert all(hit.snippet[start:end].strip() for start, end in hit.matches)


def test_matches_are_where_they_are_in_the_text_as_it_is(db: Database, session: Session) -> None:
    append_message(db, session.id, None, "user", "A cafe\u0301 in 東京, \ufb01ne")
    for typed, matched in (("café 東京", ["cafe\u0301", "東京"]), ("FINE 東京", ["東京", "\ufb01ne"])):
        (hit,) = search(db, typed)
        assert [hit.snippet[start:end] for start, end in hit.matches] == matched


def test_of_one_hit_a_title_is_taken_where_no_message_is_found(db: Database, session: Session) -> None:
    rename_session(db, session.id, "東京 notes")
    for typed in ("東京", "notes"):
        assert [hit.snippet for hit in search(db, typed, 1)] == ["東京 notes"]
    append_message(db, session.id, None, "user", "My notes of 東京")
    for typed in ("東京", "notes"):
        assert [hit.snippet for hit in search(db, typed, 1)] == ["My notes of 東京"]


@pytest.mark.parametrize("typed", ["needle", "xxx", '"needle in'])
def test_a_snippet_with_an_endless_word_is_cut(db: Database, session: Session, typed: str) -> None:
    append_message(db, session.id, None, "user", "x" * 100_000 + " needle in the hay")
    (hit,) = search(db, typed)
    assert len(hit.snippet) < 500
    assert [hit.snippet[start:end][:6] for start, end in hit.matches] in (["needle"], ["xxxxxx"], ["needle", "in"])
