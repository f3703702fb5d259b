"""What was said last is found first, whenever it was imported."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlite_utils import Database

from storage.deletion import delete_session
from storage.importers.storing import store_sessions
from storage.portable import PortableMessage, PortableSession
from storage.prompts import latest_prompts
from storage.records import Session, format_utc
from storage.search import search
from storage.sessions import create_session, list_sessions
from storage.shares import SHARE
from storage.tree import append_message, delete_message

N_OLD = 150


@pytest.fixture(params=["few", "many"])
def _many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches as they are where few messages match, and where too many do to be looked at all."""
    if request.param == "many":
        monkeypatch.setattr("storage.search._FEW", 3)
        monkeypatch.setattr("storage.search._GAP", 2)
        monkeypatch.setattr("storage.newest._FIRST", 1)


def imported(db: Database, session_id: str, times: list[str]) -> None:
    """Import a session with a message of each time, none of which follows the one before."""
    messages = [
        PortableMessage(
            id=f"{session_id}-{at}", parent_id=None, role="user", content=f"zebra 東京 {utc}", created_utc=utc
        )
        for at, utc in enumerate(times)
    ]
    session = PortableSession(
        id=session_id, messages=messages, created_utc=min(times), updated_utc=max(times), title=f"zebra {min(times)}"
    )
    store_sessions(db, [session])


@pytest.mark.usefixtures("_many")
def test_what_is_imported_does_not_hide_what_is_new(db: Database, session: Session) -> None:
    append_message(db, session.id, None, "user", "zebra 東京 of today")
    imported(db, "old", [f"2020-01-01T00:00:00.{number:03}Z" for number in range(N_OLD)])
    for typed in ("zebra", '"zebra 東京', "東京"):
        newest = next(hit for hit in search(db, typed, 10) if hit.message_id)
        assert newest.snippet == "zebra 東京 of today"
    assert latest_prompts(db, 2) == ["zebra 東京 of today", f"zebra 東京 2020-01-01T00:00:00.{N_OLD - 1}Z"]


@pytest.mark.usefixtures("_many")
def test_what_was_changed_last_does_not_hide_what_was_said_last(db: Database, session: Session) -> None:
    imported(db, "old", [f"2020-01-01T00:00:0{number}.000Z" for number in range(5)])
    imported(db, "new", ["2024-01-01T00:00:00.000Z"])
    delete_message(db, "old-1")
    empty = create_session(db, model="", system="", settings={})
    assert [each.id for each in list_sessions(db)] == [empty.id, "old", session.id, "new"]
    for typed, limit in (("zebra", 2), ("東京", 1)):
        (found,) = [hit for hit in search(db, typed, limit) if hit.message_id]
        assert found.session_id == "new"
    assert latest_prompts(db, 1) == ["zebra 東京 2024-01-01T00:00:00.000Z"]


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("seed", range(3))
def test_the_newest_are_found_whatever_the_order_of_imports(db: Database, seed: int) -> None:
    draw = random.Random(seed)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    every: list[str] = []
    some: list[str] = []
    for number in range(40):
        first = draw.randrange(10_000)
        minutes = draw.sample(range(first, first + draw.choice([10, 5000])), draw.randint(1, 8))
        times = [format_utc(start + timedelta(minutes=minute, milliseconds=number)) for minute in minutes]
        imported(db, f"s{number}", times)
        if number % 10 == 9:
            delete_session(db, f"s{number}")
        else:
            every += times
            some += sorted(times)[-SHARE:]
    for typed in ('"zebra 東京', "zebra 2024", "東京"):
        hits = [hit for hit in search(db, typed, 40) if hit.message_id]
        assert [hit.created_utc for hit in hits][:20] == sorted(some, reverse=True)[:20]
    newest = sorted(every, reverse=True)[:20]
    assert [prompt.split()[-1] for prompt in latest_prompts(db, 20)] == newest
    titles = [hit.created_utc for hit in search(db, "zebra", 10) if not hit.message_id]
    assert titles == sorted(titles, reverse=True)
    assert len(titles) == 5


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("typed", ["zebra", '"zebra 東京', '"ZÈBRA 東京"', "東京"])
def test_a_session_in_which_much_is_found_does_not_hide_the_others(db: Database, typed: str) -> None:
    for number in range(1, 6):
        imported(db, f"old{number}", [f"2020-01-0{number + 1}T00:00:0{at}.000Z" for at in range(number)])
    imported(db, "full", [f"2024-01-01T00:{number // 60:02}:{number % 60:02}.000Z" for number in range(N_OLD)])
    hits = [hit for hit in search(db, typed, 40) if hit.message_id]
    counts = Counter(hit.session_id for hit in hits)
    # Where there is room for more than a share of each, what is newest has it.
    assert [counts[f"old{number}"] for number in range(1, 6)] == [1, 2, 3, 3, 3]
    assert len(hits) + len([hit for hit in search(db, typed, 40) if not hit.message_id]) == 40
    assert [hit.created_utc for hit in hits] == sorted((hit.created_utc for hit in hits), reverse=True)
    every = [hit for hit in search(db, typed, 1000, budget_ms=60_000) if hit.message_id]
    assert len(every) == N_OLD + 15
    assert [hit.created_utc for hit in every] == sorted((hit.created_utc for hit in every), reverse=True)
