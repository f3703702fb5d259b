"""The database on its thread: calls in their order, errors where they were asked for, long reads beside them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteDatabase

from storage import patience
from storage.connections import open_database
from storage.database import Database
from storage.errors import (
    DatabaseAccessError,
    DatabaseBusyError,
    DatabaseMovedError,
    NewerDatabaseError,
    NoSuchSessionError,
    ReadOnlyDatabaseError,
    StorageError,
)
from storage.search import search
from storage.sessions import get_session, list_sessions, set_draft
from tests.storage.filling import fill


async def test_calls_run_on_one_thread_in_order(path: Path) -> None:
    database = await Database.open(path)
    seen: list[int] = []
    threads: set[int] = set()

    def work(db: SqliteDatabase, number: int) -> int:
        threads.add(threading.get_ident())
        seen.append(number)
        return number * 2

    assert await asyncio.gather(*(database.call(work, number) for number in range(50))) == list(range(0, 100, 2))
    assert seen == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await database.close()


async def test_what_a_call_that_nobody_waits_for_raises_is_not_printed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 0.01)
    printed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: printed.append(context))
    database = await Database.open(path)
    session_id = await database.call(fill)
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(database.call(set_draft, session_id, "typed"))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await database.settle()
        with pytest.raises(DatabaseBusyError):
            await database.call(set_draft, session_id, "typed")
        other.execute("ROLLBACK")
    await database.close()
    del writing
    gc.collect()
    assert printed == []


async def test_a_call_that_nobody_waits_for_is_carried_out(path: Path) -> None:
    database = await Database.open(path)
    gate = threading.Event()
    waiting = asyncio.create_task(database.call(lambda db: gate.wait(60)))
    writing = asyncio.create_task(database.call(fill))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    gate.set()
    assert await waiting
    assert len(await database.call(list_sessions)) == 1
    await database.close()


async def test_errors_arrive_where_the_call_was_made(path: Path) -> None:
    database = await Database.open(path)
    with pytest.raises(NoSuchSessionError):
        await database.call(get_session, "nowhere")
    with pytest.raises(DatabaseAccessError, match="syntax"):
        await database.call(lambda db: db.execute("SELEC"))
    await database.close()
    with pytest.raises(DatabaseAccessError, match="closed"):
        await database.call(list_sessions)
    await database.close()


async def test_opening_a_newer_database_fails_with_its_own_error(path: Path) -> None:
    with closing(open_database(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerDatabaseError):
        await Database.open(path)


async def test_closing_folds_the_log_into_the_file(path: Path) -> None:
    database = await Database.open(path)
    await database.call(fill)
    await database.close()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


async def test_what_another_app_writes_is_noticed(path: Path) -> None:
    mine, other = await Database.open(path), await Database.open(path)
    assert not await mine.changed_elsewhere()
    await mine.call(fill)
    assert not await mine.changed_elsewhere()
    assert await other.changed_elsewhere()
    assert not await other.changed_elsewhere()
    await other.call(fill)
    assert await mine.changed_elsewhere()
    assert len(await mine.call(list_sessions)) == 2
    await mine.close()
    await other.close()


def read_forever(db: SqliteDatabase, started: threading.Event) -> None:
    started.set()
    db.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n").fetchone()


async def test_a_log_that_is_cut_off_is_told_as_an_error_of_ours(path: Path) -> None:
    database = await Database.open(path)
    with closing(open_database(path)) as other:
        fill(other)
        os.truncate(path.with_name(path.name + "-wal"), 0)
        with pytest.raises(StorageError):
            await database.changed_elsewhere()
    await database.close()


async def test_closing_does_not_wait_for_a_long_read(path: Path) -> None:
    database = await Database.open(path)
    started = threading.Event()
    await database.read(list_sessions)
    reading = asyncio.create_task(database.read(read_forever, started))
    assert await asyncio.to_thread(started.wait, 10)
    await database.close()
    with pytest.raises(DatabaseAccessError, match="interrupted"):
        await reading


async def test_nothing_can_be_asked_of_a_database_that_is_being_closed(path: Path) -> None:
    database = await Database.open(path)
    await database.read(list_sessions)
    gate = threading.Event()
    before = asyncio.create_task(database.call(lambda db: gate.wait(60)))
    await asyncio.sleep(0)
    closing_it = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    for ask in (database.read(list_sessions), database.call(list_sessions), database.changed_elsewhere()):
        with pytest.raises(DatabaseAccessError, match="closed"):
            await ask
    gate.set()
    assert await before
    await closing_it


async def test_a_long_read_does_not_delay_a_write_and_ends_with_the_waiting(path: Path) -> None:
    database = await Database.open(path)
    session_id = await database.call(fill)
    started = threading.Event()
    reading = asyncio.create_task(database.read(read_forever, started))
    assert await asyncio.to_thread(started.wait, 10)
    await database.call(set_draft, session_id, "Written meanwhile")
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await database.read(get_session, session_id)).draft == "Written meanwhile"
    assert len(await database.read(search, "danube")) == 1
    with pytest.raises(ReadOnlyDatabaseError):
        await database.read(set_draft, session_id, "x")
    await database.close()
    with pytest.raises(DatabaseAccessError, match="closed"):
        await database.read(list_sessions)
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


async def test_a_look_does_not_wait_for_a_call_that_another_program_holds_up(path: Path) -> None:
    database = await Database.open(path)
    session_id = await database.call(fill)
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(database.call(set_draft, session_id, "written later"))
        searching = asyncio.create_task(database.read(read_forever, threading.Event()))
        assert (await database.look(get_session, session_id)).draft == ""
        assert not writing.done()
        other.execute("ROLLBACK")
    await writing
    assert (await database.look(get_session, session_id)).draft == "written later"
    assert not searching.done()
    await database.close()
    with pytest.raises(DatabaseAccessError, match="interrupted"):
        await searching


async def test_a_lock_that_was_not_given_up_in_time_is_hardly_waited_for_until_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits_ms(db: SqliteDatabase) -> int:
        return int(db.execute("PRAGMA busy_timeout").fetchone()[0])

    monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 0.01)
    monkeypatch.setattr(patience, "HELD_TIMEOUT_S", 0.003)
    database = await Database.open(path)
    session_id = await database.call(fill)
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError):
            await database.call(set_draft, session_id, "refused")
        # What does not take the lock does not say that it is free.
        await database.call(get_session, session_id)
        with pytest.raises(DatabaseBusyError):
            await database.call(set_draft, session_id, "refused")
        other.execute("ROLLBACK")
    assert await database.call(waits_ms) == 3
    assert await database.call(waits_ms) == 10
    await database.call(set_draft, session_id, "stored")
    await database.close()


async def test_what_was_put_in_the_place_of_an_open_database_is_not_read(path: Path) -> None:
    other_path = path.with_name("other.db")
    ids = []
    for file in (path, other_path):
        with closing(open_database(file)) as db:
            ids.append(fill(db))
    database = await Database.open(path)
    other_path.replace(path)
    assert [session.id for session in await database.look(list_sessions)] == ids[:1]
    with pytest.raises(DatabaseMovedError):
        await database.read(search, "danube")
    await database.close()
