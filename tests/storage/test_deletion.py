"""Deleting can be undone, and then is for good: no trace in the file."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage import deletion
from storage.connections import check
from storage.deletion import delete_session, deleted_sessions, purge_deleted, purge_session, restore_session
from storage.errors import DatabaseAccessError, NoSuchMessageError, NoSuchSessionError
from storage.export import export_session
from storage.importers.storing import store_sessions
from storage.records import Session, format_utc
from storage.search import search
from storage.sessions import create_session, get_session, last_session, list_sessions, rename_session
from storage.transactions import transaction
from storage.tree import append_message, delete_message, get_message, path

SECRET = "xylophonist"


def fill(db: Database, title: str, n_messages: int = 30) -> Session:
    session = create_session(db, model="tiny", system="", settings={}, title=title)
    with transaction(db):
        for number in range(n_messages):
            words = " ".join(f"and {number * step % 977}" for step in range(80))
            append_message(db, session.id, None, "user", f"{title} {number} {words}")
    return get_session(db, session.id)


def traces(file: Path, word: str) -> int:
    return sum(part.read_bytes().lower().count(word.encode()) for part in file.parent.iterdir())


def test_deleting_can_be_undone(db: Database) -> None:
    session = fill(db, "Rivers")
    before = path(db, session.id)
    delete_session(db, session.id)
    assert list_sessions(db) == []
    assert last_session(db) is None
    with pytest.raises(NoSuchSessionError):
        get_session(db, session.id)
    with pytest.raises(NoSuchMessageError):
        get_message(db, before[0].message.id)
    restore_session(db, session.id)
    assert get_session(db, session.id) == session
    assert path(db, session.id) == before


@pytest.mark.parametrize("pages", [deletion._MERGE_PAGES, 1])
def test_nothing_is_left_of_what_was_purged(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(deletion, "_MERGE_PAGES", pages)
    for number in range(5):
        fill(db, f"rivers{number}")
    secret = fill(db, SECRET)
    rename_session(db, secret.id, SECRET.upper())
    kept = fill(db, "lakes")
    assert traces(path, SECRET) > 30
    delete_session(db, secret.id)
    assert purge_deleted(db)
    assert traces(path, SECRET) == 0
    assert check(db) == []
    with pytest.raises(NoSuchSessionError):
        restore_session(db, secret.id)
    assert len([hit for hit in search(db, "lakes", 100) if hit.message_id]) == kept.n_messages
    assert search(db, SECRET) == []


def test_nothing_is_left_of_a_message_that_was_deleted(db: Database, path: Path) -> None:
    session = fill(db, "lakes")
    secret = append_message(db, session.id, None, "user", SECRET)
    assert purge_deleted(db)
    delete_message(db, secret.id)
    assert purge_deleted(db)
    assert traces(path, SECRET) == 0
    assert get_session(db, session.id).n_messages == session.n_messages


def test_purging_gives_the_room_back(db: Database, path: Path) -> None:
    fill(db, "lakes")
    secret = fill(db, SECRET, 2000)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    delete_session(db, secret.id)
    assert purge_deleted(db)
    assert path.stat().st_size < before / 3


def test_purging_in_steps_ends_too(db: Database, path: Path) -> None:
    for number in range(4):
        delete_session(db, fill(db, f"{SECRET}{number}").id)
    n_calls = 1
    while not purge_deleted(db, budget_s=0):
        n_calls += 1
    assert 1 < n_calls < 100
    assert traces(path, SECRET) == 0


def test_what_was_deleted_just_now_can_be_spared(db: Database) -> None:
    session = fill(db, "Rivers")
    delete_session(db, session.id)
    assert purge_deleted(db, older_than_s=60)
    restore_session(db, session.id)
    assert len(path(db, session.id)) == 1


def test_one_session_is_purged_and_others_can_still_be_brought_back(db: Database, path: Path) -> None:
    secret, other = fill(db, SECRET), fill(db, "rivers")
    delete_session(db, other.id)
    assert deleted_sessions(db) == [other.id]
    assert deleted_sessions(db, older_than_s=600) == []
    purge_session(db, secret.id)
    assert traces(path, SECRET) == 0
    restore_session(db, other.id)
    assert get_session(db, other.id) == other
    with pytest.raises(NoSuchSessionError):
        purge_session(db, secret.id)


def test_of_many_only_those_are_purged_that_are_deleted_still(db: Database, path: Path) -> None:
    secrets = [fill(db, f"{SECRET}{number}") for number in range(3)]
    back, other = fill(db, "rivers"), fill(db, "lakes")
    exported = export_session(db, back.id)
    for session in (*secrets, back, other):
        delete_session(db, session.id)
    store_sessions(db, [exported])
    assert purge_deleted(db, [session.id for session in (*secrets, back)] + ["nowhere"])
    assert traces(path, SECRET) == 0
    assert [session.id for session in list_sessions(db)] == [back.id]
    assert deleted_sessions(db) == [other.id]


def test_the_copy_that_a_migration_made_goes_with_the_first_session(db: Database, path: Path) -> None:
    kept, secret = fill(db, "lakes"), fill(db, SECRET)
    copy, foreign = (path.with_name(f"{path.name}.before-v{version}") for version in ("2", "acation"))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    part = path.with_name(f"{copy.name}.{dead.pid}.part")
    other = path.with_name("x" * len(f"{path.name}.before-v") + "2")
    for file in (copy, part, foreign, other):
        file.write_text("what was there before")
    assert purge_deleted(db)
    assert copy.exists()
    purge_session(db, secret.id)
    assert not copy.exists()
    assert not part.exists()
    assert foreign.exists()
    assert other.exists()
    assert get_session(db, kept.id) == kept
    copy.write_text("made since")
    assert purge_deleted(db)
    assert copy.exists()


def test_a_copy_that_cannot_be_removed_is_said_and_goes_with_the_next_attempt(db: Database, path: Path) -> None:
    secret = fill(db, SECRET)
    copy = path.with_name(f"{path.name}.before-v2")
    copy.mkdir()
    with pytest.raises(DatabaseAccessError, match=r"before-v2 cannot be removed"):
        purge_session(db, secret.id)
    copy.rmdir()
    copy.write_text("what was there before")
    assert purge_deleted(db)
    assert not copy.exists()


def test_what_was_deleted_before_the_clock_was_set_back_is_gone_for_good_too(db: Database) -> None:
    session = create_session(db, model="m", system="", settings={}, title="Secret")
    delete_session(db, session.id)
    in_an_hour = format_utc(datetime.now(UTC) + timedelta(hours=1))
    db.execute("UPDATE sessions SET deleted_utc = ?", [in_an_hour])
    assert deleted_sessions(db, older_than_s=600) == []
    assert deleted_sessions(db) == [session.id]
    assert purge_deleted(db, [session.id])
    assert db.execute("SELECT count(*) FROM sessions").fetchone()[0] == 0
