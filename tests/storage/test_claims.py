"""Of several apps, one writes in a session; a dead one holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from sqlite_utils import Database

from storage.answers import begin_answer
from storage.claims import claim_session, hold_only, release_session
from storage.deletion import purge_session
from storage.errors import NoSuchSessionError, SessionHeldError
from storage.owners import HEARTBEAT_LIMIT_S, this_owner
from storage.records import Session
from storage.sessions import create_session, rename_session
from storage.tree import append_message, delete_message, edit_message, fork_session, switch_to
from tests.storage.holding import who_holds

CLAIM = """
import sys
from storage.claims import claim_session
from storage.connections import open_database
from storage.owners import this_owner

db = open_database(sys.argv[1])
owner = this_owner()
assert claim_session(db, sys.argv[2], owner) == owner
print("claimed", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_app(file: Path, session_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed a session and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(file), session_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_first_to_claim_holds(db: Database, session: Session) -> None:
    first, second = this_owner(), this_owner()
    assert who_holds(db, session.id) is None
    assert claim_session(db, session.id, first) == first
    assert claim_session(db, session.id, first) == first
    assert claim_session(db, session.id, second) == first
    assert who_holds(db, session.id) == first
    release_session(db, session.id, second)
    assert who_holds(db, session.id) == first
    release_session(db, session.id, first)
    assert claim_session(db, session.id, second) == second


def test_an_unknown_session_cannot_be_claimed(db: Database) -> None:
    with pytest.raises(NoSuchSessionError):
        claim_session(db, "nowhere", this_owner())


def test_a_session_that_another_app_holds_cannot_be_written(db: Database, session: Session, path: Path) -> None:
    said = append_message(db, session.id, None, "user", "Hi")
    with another_app(path, session.id) as process:
        for act in (
            lambda: append_message(db, session.id, said.id, "user", "x"),
            lambda: edit_message(db, said.id, "x"),
            lambda: begin_answer(db, session.id, said.id, model="", settings={}, seed=None),
            lambda: switch_to(db, said.id),
            lambda: delete_message(db, said.id),
            lambda: purge_session(db, session.id),
        ):
            with pytest.raises(SessionHeldError, match=str(process.pid)) as caught:
                act()
            assert caught.value.pid == process.pid
        mine = this_owner()
        assert claim_session(db, session.id, mine).pid == process.pid
        rename_session(db, session.id, "Titles are free")
        forked = fork_session(db, session.id, said.id)
        append_message(db, forked.id, None, "user", "Here I can write")
    assert who_holds(db, session.id) is None
    append_message(db, session.id, said.id, "user", "Now I can")
    assert claim_session(db, session.id, mine) == mine


def test_an_app_on_another_host_holds_while_its_heart_beats(db: Database, session: Session) -> None:
    elsewhere = msgspec.structs.replace(this_owner(), host="elsewhere.example", pid=os.getpid())
    claim_session(db, session.id, elsewhere)
    assert who_holds(db, session.id) == elsewhere
    db.execute("UPDATE claims SET heartbeat_s = heartbeat_s - 3600")
    assert who_holds(db, session.id) is None
    assert hold_only(db, elsewhere, session.id) == elsewhere
    assert who_holds(db, session.id) == elsewhere
    # Neither of these times is too long, both together would be.
    later = "UPDATE claims SET heartbeat_s = heartbeat_s - ?"
    db.execute(later, [0.6 * HEARTBEAT_LIMIT_S])
    assert hold_only(db, elsewhere, session.id) == elsewhere
    db.execute(later, [0.6 * HEARTBEAT_LIMIT_S])
    assert who_holds(db, session.id) == elsewhere


def test_a_live_app_survives_a_clock_that_was_set_back(db: Database, session: Session, path: Path) -> None:
    """Start times of processes move with the clock; the heartbeat tells then."""
    with another_app(path, session.id) as process:
        db.execute("UPDATE claims SET process_started_s = process_started_s + 3600")
        holder = who_holds(db, session.id)
        assert holder is not None
        assert holder.pid == process.pid


def test_an_app_holds_the_session_that_it_has_open_and_no_other(db: Database, session: Session) -> None:
    """Giving the one back, or claiming the other, may have failed when the database was another program's."""
    mine, other = this_owner(), this_owner()
    opened = create_session(db, model="m", system="", settings={})
    claim_session(db, session.id, mine)
    assert hold_only(db, mine, opened.id) == mine
    assert who_holds(db, session.id) is None
    assert who_holds(db, opened.id) == mine
    assert hold_only(db, other, opened.id) == mine
    assert hold_only(db, other, "nowhere") is None
    assert hold_only(db, mine, None) is None
    assert who_holds(db, opened.id) is None
