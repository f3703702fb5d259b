"""A database that cannot be written, or used at all, when an app starts, and what a killed app had not stored."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from textual.message import Message

from storage import answers, sessions, tree
from storage.connections import backup, open_database
from storage.deletion import purge_session
from storage.errors import CorruptDatabaseError, DatabaseBusyError, DiskFullError, StorageError
from tests.tui.conftest import Stage
from tests.tui.sheltering import LONG, begin, fill_disk, stored, until
from tui.messages import Trouble
from tui.services.shelter_folder import ShelterFolder
from tui.services.store import Store

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from storage import answers, sessions, tree
from tests.tui.sheltering import begin, fill_disk, shelter
from tui.services.store import Store

async def say_and_die() -> None:
    store = Store(lambda error: None)
    await store.open(Path(sys.argv[1]))
    session_id = await begin(store)
    head = (await store.call(tree.path, session_id))[-1].message.id
    answer = await store.call(answers.begin_answer, session_id, head, model="m", settings={}, seed=None)
    await store.call(fill_disk)
    await store.call(answers.checkpoint_answer, answer.id, "cut " * 20_000, None, 1)
    await store.call(sessions.set_draft, session_id, "not sent")
    print(session_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(say_and_die())
"""


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a database that another program holds."""
    monkeypatch.setattr("storage.connections.BUSY_TIMEOUT_S", 0.01)


def make_session(path: Path) -> str:
    """A session that is stored already."""
    with closing(open_database(path)) as db:
        session = sessions.create_session(db, model="m", system="s", settings={}, title="Rivers")
        tree.append_message(db, session.id, None, "user", "before")
    return session.id


@pytest.mark.usefixtures("impatience")
async def test_a_database_that_is_in_use_at_the_start_is_read_and_written_later(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    session_id, cut_short = make_session(path), make_session(path)
    told: list[StorageError | None] = []
    store = Store(told.append, retry_s=0.01)
    with closing(open_database(path)) as other:
        answers.begin_answer(other, cut_short, None, model="m", settings={}, seed=None)
        # Of a process that is gone.
        other.execute("UPDATE unfinished SET pid = 2147483646")
        other.execute("BEGIN IMMEDIATE")
        await store.open(path)
        assert {session.id for session in await store.call(sessions.list_sessions)} == {session_id, cut_short}
        head = (await store.call(tree.path, session_id))[-1].message.id
        await store.call(tree.append_message, session_id, head, "user", "meanwhile")
        new = await begin(store)
        assert [type(error) for error in told] == [DatabaseBusyError]
        other.execute("ROLLBACK")
    await until(lambda: told[-1] is None)
    assert [content for _, content, _ in stored(path, session_id)] == ["before", "meanwhile"]
    assert [content for _, content, _ in stored(path, new)] == ["short"]
    assert [state for _, _, state in stored(path, cut_short)] == ["interrupted"]
    await store.call(sessions.rename_session, new, "Lakes")
    assert {session.title for session in await store.call(sessions.list_sessions)} == {"Lakes", "Rivers"}
    await store.close()
    assert (len(told), store.rescued) == (2, None)
    # Whoever copies the file has all of it: no connection is left that would have kept SQLite's log beside it.
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.db"]


@pytest.mark.usefixtures("impatience")
async def test_a_database_that_was_in_use_at_the_start_is_written_also_where_nothing_was_said_meanwhile(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    session_id = make_session(path)
    told: list[StorageError | None] = []
    store = Store(told.append, retry_s=0.01)
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        await store.open(path)
        other.execute("ROLLBACK")
    await until(lambda: told[-1] is None)
    await store.call(sessions.set_pinned, session_id, True)
    await store.close()


@pytest.mark.usefixtures("impatience")
async def test_the_history_is_there_while_another_program_writes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.services.workspace.Store", partial(Store, retry_s=0.01))
    path = stage.home / "data" / "sessions.db"
    session_id = make_session(path)
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with stage.ready(resume=session_id) as play:
            await play.until_told("is in use by another program")
            await play.until_shown("before")
            await play.until(lambda: "Rivers" in play.shown("#sessions"))
            answer = await play.ask("List three rivers")
            other.execute("ROLLBACK")
            await play.until_told("Everything is stored again")
    assert [content for _, content, _ in stored(path, session_id)] == ["before", "List three rivers", answer]


async def test_what_is_said_beside_a_database_that_is_usable_at_the_end_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    store = Store(lambda error: None)
    opening = asyncio.create_task(store.open(path))
    waiting = asyncio.create_task(store.call(sessions.list_sessions))
    for task in (opening, waiting):
        with pytest.raises(CorruptDatabaseError):
            await task
    await store.open_temporary()
    session_id = await begin(store)
    path.unlink()
    await store.close()
    assert store.rescued is None
    assert [content for _, content, _ in stored(path, session_id)] == ["short"]


@pytest.mark.usefixtures("impatience")
async def test_a_database_that_cannot_even_be_read_at_the_start_is_there_as_soon_as_it_can(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    known = make_session(path)
    told: list[StorageError | None] = []
    store = Store(told.append, retry_s=0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseBusyError) as caught:
            await store.open(path)
        await store.open_temporary(caught.value)
        session_id = await begin(store)
        answered = (await store.call(tree.path, session_id))[-1].message.id
        assert [session.id for session in await store.call(sessions.list_sessions)] == [session_id]
        other.execute("ROLLBACK")
    await until(lambda: told == [None])
    assert {session.id for session in await store.call(sessions.list_sessions)} == {known, session_id}
    await store.call(tree.append_message, session_id, answered, "user", "afterwards")
    assert [content for _, content, _ in stored(path, session_id)] == ["short", "afterwards"]
    await store.close()
    assert store.rescued is None
    assert ShelterFolder.left_for(path) == []


async def test_what_a_killed_app_had_in_memory_is_stored_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    command = [sys.executable, "-c", KILLED, str(path)]
    session_id = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    assert [content for _, content, _ in stored(path, session_id)] == ["short", ""]
    with closing(open_database(path)) as db:
        sessions.rename_session(db, session_id, "Renamed since")
    other = Store(lambda error: None)
    await other.open(tmp_path / "other.db")
    await other.close()
    store = Store(lambda error: None)
    await store.open(path)
    await store.call(answers.recover_interrupted)
    assert stored(path, session_id)[-1] == ("assistant", "cut " * 20_000, "interrupted")
    session = await store.call(sessions.get_session, session_id)
    assert (session.title, session.draft) == ("Renamed since", "not sent")
    await store.close()
    assert ShelterFolder.left_for(path) == []


async def test_what_a_killed_app_had_in_memory_is_stored_in_the_database_wherever_that_is_now(tmp_path: Path) -> None:
    path, moved, copied = (tmp_path / name for name in ("sessions.db", "moved.db", "copied.db"))
    command = [sys.executable, "-c", KILLED, str(path)]
    session_id = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    with closing(open_database(path)) as db:
        backup(db, copied)
    for at, draft in ((copied, ""), (moved, "not sent")):
        if at is moved:
            path.rename(moved)
        store = Store(lambda error: None)
        await store.open(at)
        assert (await store.call(sessions.get_session, session_id)).draft == draft
        await store.close()


async def test_what_is_deleted_before_the_next_start_stays_deleted(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    command = [sys.executable, "-c", KILLED, str(path)]
    session_id = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    posted: list[Message] = []
    with closing(open_database(path)) as db:
        purge_session(db, session_id)
        store = Store(lambda error: None, post=posted.append)
        await store.open(path)
        [kept] = sessions.list_sessions(db)
        assert kept.draft == "not sent"
        assert [message.content for message in tree.all_messages(db, kept.id)] == ["cut " * 20_000]
    assert [type(message) for message in posted] == [Trouble]
    await store.close()


async def test_what_no_file_takes_at_the_end_is_stored_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.db"
    store = Store(lambda error: None)
    await store.open(path)
    session_id = await begin(store)
    head = (await store.call(tree.path, session_id))[-1].message.id
    await store.call(fill_disk)
    await store.call(tree.append_message, session_id, head, "user", LONG)
    for name in ("tempfile.tempdir", "tui.services.shelter.MEMORY"):
        monkeypatch.setattr(name, tmp_path / "nowhere")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    await store.close()
    assert store.rescued is None
    monkeypatch.undo()
    store = Store(lambda error: None)
    await store.open(path)
    assert [content for _, content, _ in stored(path, session_id)] == ["short", LONG]
    await store.close()


async def test_what_a_running_app_has_in_memory_is_left_to_it(tmp_path: Path) -> None:
    # A path may have bytes that are no text.
    path = tmp_path / os.fsdecode(b"\xff") / "sessions.db"
    folder = ShelterFolder.make(path)
    assert ShelterFolder.left_for(path) == []
    folder.leave()
    [left] = ShelterFolder.left_for(path)
    assert left.database == folder.database
    left.remove()
    assert not folder.database.parent.exists()


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the system's memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr("tui.services.shelter_folder.MEMORY", folder)
    return folder


@pytest.mark.usefixtures("memory")
def test_what_was_left_of_a_database_that_is_away_waits_for_it(tmp_path: Path) -> None:
    # As on a disk that is not plugged in.
    folder = ShelterFolder.make(tmp_path / "away" / "sessions.db", "its identity")
    folder.leave()
    here = tmp_path / "sessions.db"
    assert [ShelterFolder.left_for(here, identity) for identity in ("", "another identity")] == [[], []]
    [left] = ShelterFolder.left_for(here, "its identity")
    assert left.database == folder.database
    left.remove()
    # Whose a folder is cannot be said at all of one that does not know it.
    ShelterFolder.make(tmp_path / "away" / "sessions.db").leave()
    assert ShelterFolder.left_for(here) == []


def test_what_only_looks_like_a_folder_in_memory_is_not_taken(tmp_path: Path, memory: Path) -> None:
    path = tmp_path / "sessions.db"
    folder = ShelterFolder.make(path)
    folder.leave()
    # Anybody may put such a link there.
    planted = folder.database.parent.rename(tmp_path / "planted")
    (memory / folder.database.parent.name).symlink_to(planted)
    assert ShelterFolder.left_for(path) == []


def test_a_folder_in_memory_that_cannot_be_told_from_others_does_not_stay(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        ShelterFolder.make(tmp_path / "sessions.db")
    assert list(memory.iterdir()) == []


async def test_a_memory_without_room_for_a_database_is_left_as_it_was(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    store = Store(lambda error: None)
    await store.open(tmp_path / "sessions.db")
    await store.call(fill_disk)
    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr("storage.database.open_database", refuse)
        await store.call(sessions.create_session, model="m", system=LONG, settings={})
    assert list(memory.iterdir()) == []
    await store.close()


@pytest.mark.usefixtures("memory")
async def test_what_was_left_and_cannot_be_read_stays_and_is_no_reason_not_to_start(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    folder = ShelterFolder.make(path)
    folder.database.write_bytes(b"this is no database, whatever its name says" * 100)
    folder.leave()
    store = Store(lambda error: None)
    await store.open(path)
    await begin(store)
    await store.close()
    [left] = ShelterFolder.left_for(path)
    assert left.database == folder.database
    left.remove()


async def test_what_was_left_is_stored_once_also_where_the_next_start_is_killed_too(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    command = [sys.executable, "-c", KILLED, str(path)]
    session_id = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    with closing(open_database(path)) as db:
        purge_session(db, session_id)
    [left] = ShelterFolder.left_for(path)
    # As it is found again by the start after one that was killed before it had removed it.
    shutil.copytree(left.database.parent, copy := left.database.parent.with_name(f"{left.database.parent.name}-again"))
    left.leave()
    for _ in range(2):
        store = Store(lambda error: None)
        await store.open(path)
        await store.close()
    assert not copy.exists()
    with closing(open_database(path)) as db:
        assert [session.draft for session in sessions.list_sessions(db)] == ["not sent"]


async def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(stage: Stage) -> None:
    (stage.home / "data").touch()
    async with stage.running() as play:
        await play.until_told("File exists. Check the disk and the permissions of the data directory, then try again.")
        await play.until_told("then try again. Until then, what is said is kept in memory;")
