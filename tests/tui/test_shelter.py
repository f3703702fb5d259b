"""A database that cannot be written for a while: what is said stays usable, and is stored as soon as that works."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlite_utils

from engine.kept_caches import kept_file
from storage import answers, claims, deletion, merging, sessions, tree
from storage.connections import open_database
from storage.deletion import delete_session, deleted_sessions, purge_deleted, restore_session
from storage.errors import (
    DatabaseBusyError,
    DatabaseMovedError,
    DiskFullError,
    NoSuchSessionError,
    ReadOnlyDatabaseError,
    StorageError,
)
from storage.export import all_sessions_json
from storage.importers import import_file
from storage.owners import this_owner
from storage.portable import PortableSession
from tests.tui.conftest import PATIENCE_S, Stage
from tui.services.history import History
from tui.services.shelter import IN_BOTH, WRITES
from tui.services.store import Store

LONG = "word " * 20_000


def fill_disk(db: sqlite_utils.Database, n_free: int = 0) -> None:
    """From now on the file may not grow by more than so many pages."""
    n_pages = db.execute("PRAGMA page_count").fetchone()[0] + n_free
    db.execute(f"PRAGMA max_page_count = {n_pages}")


def make_room(db: sqlite_utils.Database) -> None:
    """The file may grow again."""
    db.execute("PRAGMA max_page_count = 1000000")


async def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)


@pytest.fixture
def told() -> list[StorageError | None]:
    return []


@pytest.fixture
async def store(tmp_path: Path, told: list[StorageError | None]) -> AsyncIterator[Store]:
    """A store that tries again at once."""
    store = Store(told.append, retry_s=0.01)
    await store.open(tmp_path / "data" / "sessions.db")
    yield store
    await store.close()


async def begin(store: Store) -> str:
    """A session with a question in it."""
    session = await store.call(sessions.create_session, model="m", system="s", settings={}, title="First")
    await store.call(tree.append_message, session.id, None, "user", "short")
    return session.id


def stored(path: Path, session_id: str) -> list[tuple[str, str, str]]:
    """What the file has of a session."""
    with closing(open_database(path, read_only=True)) as db:
        return [(step.message.role, step.message.content, step.message.state) for step in tree.path(db, session_id)]


NEITHER = {
    # Done again by the next start.
    answers.recover_interrupted,
    # Steps of the others, and what the command line does without a shelter.
    deletion.forget_words,
    deletion.purge_session,
    tree.add,
}


def changes_something(function: Callable[..., Any]) -> bool:
    """Whether it takes a database and is not marked as one that reads."""
    return "db" in inspect.signature(function).parameters and "@reads" not in inspect.getsource(function)


@pytest.mark.parametrize("module", [sessions, tree, answers, deletion])
def test_everything_that_writes_is_either_done_in_memory_or_in_both_or_known_not_to_be(module: ModuleType) -> None:
    public = [f for name, f in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")]
    own = [function for function in public if function.__module__ == module.__name__]
    writing = [function for function in own if changes_something(function)]
    assert writing
    for function in writing:
        assert [function in known for known in (WRITES, IN_BOTH, NEITHER)].count(True) == 1, function.__name__


async def test_what_a_call_is_about_is_told_by_its_place(store: Store) -> None:
    session_id = await begin(store)
    with pytest.raises(TypeError, match="set_draft"):
        await store.call(sessions.set_draft, session_id=session_id, draft="not there")
    assert (await store.call(sessions.get_session, session_id)).draft == ""


async def test_what_would_be_no_better_in_memory_is_an_error_and_nothing_goes_there(
    store: Store, told: list[StorageError | None]
) -> None:
    session_id = await begin(store)
    with pytest.raises(NoSuchSessionError):
        await store.call(sessions.rename_session, "nowhere", "Rivers")
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(ReadOnlyDatabaseError):
        await store.call(claims.release_session, session_id, this_owner())
    with pytest.raises(ReadOnlyDatabaseError):
        await store.call(answers.recover_interrupted)
    assert (store.is_sheltering, told) == (False, [])


async def test_a_session_goes_on_in_memory_and_comes_back(
    store: Store, told: list[StorageError | None], tmp_path: Path
) -> None:
    session_id = await begin(store)
    await store.call(fill_disk)
    head = (await store.call(tree.path, session_id))[-1].message.id
    question = await store.call(tree.append_message, session_id, head, "user", LONG)
    answer = await store.call(answers.begin_answer, session_id, question.id, model="m", settings={"k": 1}, seed=None)
    await store.call(answers.checkpoint_answer, answer.id, "half", b"\1\0\0\0", 1)
    shown = await store.call(tree.path, session_id)
    assert [step.message.content for step in shown] == ["short", LONG, "half"]
    assert [type(error) for error in told] == [DiskFullError]
    file = tmp_path / "data" / "sessions.db"
    assert [content for _, content, _ in stored(file, session_id)] == ["short"]
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert [content for _, content, _ in stored(file, session_id)] == ["short", LONG, "half"]
    # The answer that was being written goes on in the database.
    await store.call(
        answers.finish_answer, answer.id, "whole", "complete", prompt_tokens=1, generated_tokens=2,
        tokens_per_second=1.0, first_token_ms=1.0, seed=3, settings={"k": 2},
    )  # fmt: skip
    assert stored(file, session_id)[-1] == ("assistant", "whole", "complete")
    assert len(told) == 2


async def test_what_is_written_while_a_session_goes_to_memory_is_there_and_goes_on(
    store: Store, told: list[StorageError | None]
) -> None:
    session_id = await begin(store)
    gate = threading.Event()

    def say(db: sqlite_utils.Database, session_id: str) -> str:
        """A call that is carried out a while after the one before it has failed."""
        gate.wait(PATIENCE_S)
        return tree.append_message(db, session_id, None, "user", "said behind").id

    await store.call(fill_disk)
    renaming = asyncio.create_task(store.call(sessions.rename_session, session_id, LONG))
    saying = asyncio.create_task(store.call(say, session_id))
    with suppress(TimeoutError):
        # Not before it is in memory, if that could be.
        async with asyncio.timeout(0.5):
            await until(lambda: store.is_sheltering)
    gate.set()
    await renaming
    assert store.is_sheltering
    said_id = await saying
    assert [shown.message.id for shown in await store.call(tree.path, session_id)] == [said_id]
    await store.call(answers.begin_answer, session_id, said_id, model="m", settings={}, seed=None)
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert [shown.message.parent_id for shown in await store.call(tree.path, session_id)] == [None, said_id]


async def test_what_was_written_before_is_brought_up_to_date(store: Store, told: list[StorageError | None]) -> None:
    session_id = await begin(store)
    head = (await store.call(tree.path, session_id))[-1].message.id
    answer = await store.call(answers.begin_answer, session_id, head, model="m", settings={"k": 1}, seed=None)
    await store.call(fill_disk)
    await store.call(
        answers.finish_answer, answer.id, LONG, "complete", prompt_tokens=1, generated_tokens=2,
        tokens_per_second=1.0, first_token_ms=1.0, seed=3, settings={"k": 2},
    )  # fmt: skip
    await store.call(sessions.rename_session, session_id, "Second")
    assert len(told) == 1
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert (await store.call(sessions.get_session, session_id)).title == "Second"
    message = await store.call(tree.get_message, answer.id)
    assert (message.content, message.state, message.settings, message.seed) == (LONG, "complete", {"k": 2}, 3)
    assert (await store.call(sessions.get_session, session_id)).n_messages == 2


async def shelter(store: Store, session_id: str) -> str:
    """Say something in a session that the full disk does not take; the message's id."""
    return (await store.call(tree.append_message, session_id, None, "user", LONG)).id


async def said(store: Store, session_id: str) -> list[str]:
    return [message.content for message in await store.call(tree.all_messages, session_id)]


async def test_what_is_deleted_pinned_or_archived_meanwhile_stays_so(
    store: Store, told: list[StorageError | None]
) -> None:
    talk, gone, old = [await begin(store) for _ in range(3)]
    short = (await store.call(tree.path, talk))[-1].message.id
    await store.call(fill_disk)
    for session_id in (talk, gone, old):
        await shelter(store, session_id)
    second = await shelter(store, talk)
    await store.call(tree.delete_message, short)
    await store.call(tree.delete_message, second)
    await store.call(sessions.set_pinned, talk, True)
    await store.call(sessions.set_archived, old, True)
    await store.call(delete_session, gone)
    # The history says so at once.
    assert [(each.id, each.pinned) for each in await store.call(sessions.list_sessions)] == [(talk, True)]
    assert await said(store, talk) == [LONG]
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert [(each.id, each.pinned) for each in await store.call(sessions.list_sessions)] == [(talk, True)]
    assert [each.id for each in await store.call(sessions.list_sessions, archived=True)] == [old]
    assert await said(store, talk) == [LONG]


async def test_a_session_deleted_meanwhile_comes_back_whole_when_that_is_undone(
    store: Store, told: list[StorageError | None]
) -> None:
    session_id = await begin(store)
    await store.call(fill_disk)
    await shelter(store, session_id)
    new = await begin(store)
    await shelter(store, new)
    await store.call(delete_session, session_id)
    await store.call(delete_session, new)
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert await store.call(sessions.list_sessions) == []
    for deleted in (session_id, new):
        await store.call(restore_session, deleted)
        assert await said(store, deleted) == ["short", LONG]


async def test_what_the_database_refuses_to_delete_is_not_deleted(
    store: Store, told: list[StorageError | None]
) -> None:
    session_id = await begin(store)
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    short = (await store.call(tree.path, session_id))[-1].message.id
    await store.call(tree.append_message, session_id, short, "user", "said meanwhile")
    unsent = await store.call(tree.append_message, session_id, short, "user", "a slip")
    deeds: list[Callable[[], Awaitable[None]]] = [
        lambda: store.call(tree.delete_message, short),
        lambda: store.call(delete_session, session_id),
        lambda: store.call(sessions.set_pinned, session_id, True),
        lambda: store.call(sessions.set_archived, session_id, True),
    ]
    for deed in deeds:
        with pytest.raises(ReadOnlyDatabaseError):
            await deed()
    # What is only in memory nobody refuses.
    await store.call(tree.delete_message, unsent.id)
    assert await said(store, session_id) == ["short", "said meanwhile"]
    await store.call(lambda db: db.execute("PRAGMA query_only = OFF"))
    await until(lambda: told[-1] is None)
    assert await said(store, session_id) == ["short", "said meanwhile"]
    [session] = await store.call(sessions.list_sessions)
    assert not session.pinned


async def test_what_is_purged_is_gone_in_memory_too(store: Store, told: list[StorageError | None]) -> None:
    kept, sheltered, other = [await begin(store) for _ in range(3)]
    await store.call(fill_disk)
    for session_id in (kept, sheltered):
        await shelter(store, session_id)
    for session_id in (sheltered, other):
        await store.call(delete_session, session_id)
    await store.call(purge_deleted, [other, sheltered, kept])
    await store.call(make_room)
    await until(lambda: told[-1] is None)
    assert await store.call(deleted_sessions) == []
    assert [session.id for session in await store.call(sessions.list_sessions)] == [kept]


async def test_what_was_deleted_is_in_no_file_at_the_end(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    cache = tmp_path / "cache"
    cache.mkdir()
    store = Store(told.append)
    await store.open(tmp_path / "data" / "sessions.db")
    history = History(store, lambda message: None, cache)
    deleted = [await begin(store) for _ in range(3)]
    for session_id in deleted:
        kept_file(cache, session_id).write_bytes(b"keys and values")
    kept = await begin(store)
    await store.call(fill_disk)
    await shelter(store, kept)
    for session_id in deleted[1:]:
        await shelter(store, session_id)
    for session_id in deleted:
        await history.delete(session_id)
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    await history.purge_own()
    assert not [file for file in cache.iterdir() if file.stat().st_size]
    await store.close()
    assert store.rescued is not None
    with closing(open_database(tmp_path / "other.db")) as db:
        assert import_file(db, store.rescued).session_ids == [kept]
    with closing(open_database(tmp_path / "data" / "sessions.db")) as db:
        assert [session.id for session in sessions.list_sessions(db)] == [kept]


async def test_what_is_still_in_memory_at_the_end_is_in_a_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    store = Store(told.append)
    await store.open(tmp_path / "data" / "sessions.db")
    await store.call(fill_disk)
    session = await store.call(sessions.create_session, model="m", system=LONG, settings={}, title="Kept")
    await store.call(tree.append_message, session.id, None, "user", LONG)
    await store.close()
    assert store.rescued is not None
    assert store.rescued.parent == tmp_path / "user"
    with closing(open_database(tmp_path / "other.db")) as db:
        assert import_file(db, store.rescued).session_ids == [session.id]
        assert tree.path(db, session.id)[-1].message.content == LONG
        assert "".join(all_sessions_json(db)) == store.rescued.read_text()


async def test_what_the_database_takes_at_the_end_is_in_no_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "data" / "sessions.db"
    store = Store(told.append)
    await store.open(path)
    await store.call(fill_disk)
    short, long = [
        (await store.call(sessions.create_session, model="m", system=LONG * size, settings={})).id for size in (1, 20)
    ]
    await store.call(fill_disk, 100)
    await store.close()
    assert store.rescued is not None
    with closing(open_database(path)) as db:
        assert [session.id for session in sessions.list_sessions(db)] == [short]
        assert short not in store.rescued.read_text()
        assert import_file(db, store.rescued).session_ids == [long]


async def test_a_file_that_has_no_room_in_the_home_is_whole_elsewhere_and_nothing_of_it_is_left_there(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "user", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    written: list[int] = []

    def sync(descriptor: int) -> None:
        """Some disks say only now that they are full."""
        written.append(os.fstat(descriptor).st_size)
        if home in Path(os.readlink(f"/proc/self/fd/{descriptor}")).parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(told.append)
    await store.open(tmp_path / "data" / "sessions.db")
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    await begin(store)
    monkeypatch.setattr("os.fsync", sync)
    await store.close()
    assert store.rescued is not None
    assert [file for file in elsewhere.iterdir() if file.suffix == ".json"] == [store.rescued]
    assert list(home.iterdir()) == []
    # A file that is not on the disk by then, as a whole, would be none where the power fails.
    assert written == [store.rescued.stat().st_size] * 2


async def test_a_draft_that_could_not_be_stored_is_imported_again(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "data" / "sessions.db"
    store = Store(told.append)
    await store.open(path)
    session_id = await begin(store)
    await store.call(sessions.set_draft, session_id, "typed before")
    others = [await begin(store) for _ in range(2)]
    for other in others:
        await store.call(sessions.set_draft, other, "typed there")
    await store.call(fill_disk)
    await store.call(sessions.set_draft, session_id, LONG)
    for other in others:
        await store.call(sessions.rename_session, other, LONG)
    await store.call(sessions.set_draft, others[0], "")
    await store.close()
    assert store.rescued is not None
    with closing(open_database(path)) as db:
        assert import_file(db, store.rescued).n_new == 1
        drafts = {session.id: session.draft for session in sessions.list_sessions(db)}
        assert sorted(drafts.values()) == sorted([LONG, "typed before", "typed there", "typed there"])
        assert drafts[session_id] == "typed before"


async def test_what_is_said_after_the_database_was_replaced_is_in_a_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "data" / "sessions.db"
    store = Store(told.append)
    await store.open(path)
    session_id = await begin(store)
    open_database(tmp_path / "other.db").close()
    (tmp_path / "other.db").replace(path)
    await store.call(tree.append_message, session_id, None, "user", "said meanwhile")
    assert [type(error) for error in told] == [DatabaseMovedError]
    await store.close()
    assert store.rescued is not None
    with closing(open_database(tmp_path / "another.db")) as db:
        import_file(db, store.rescued)
        assert [message.content for message in tree.all_messages(db, session_id)] == ["short", "said meanwhile"]


async def test_what_is_still_in_memory_is_in_a_file_also_where_nobody_knows_the_home(
    tmp_path: Path, nobodys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store(lambda error: None)
    await store.open(tmp_path / "data" / "sessions.db")
    await store.call(fill_disk)
    await store.call(sessions.create_session, model="m", system=LONG, settings={}, title="Kept")
    await store.close()
    assert store.rescued is not None
    assert store.rescued.parent == tmp_path


async def test_the_chat_goes_on_with_a_full_disk(stage: Stage) -> None:
    async with stage.ready() as play:
        store = play.app.workspace.store
        store._retry_s = 0.05
        first_answer = await play.ask("List three rivers")
        first = play.open_session.session
        assert first is not None
        await store.call(fill_disk)
        await play.opening.new()
        assert await play.conversation.send(LONG)
        await play.answered()
        second = play.open_session.session
        assert second is not None
        await play.until_told("kept in memory")
        answer = play.open_session.path[-1].message.content
        # Another session can be looked at, and gone on with.
        await play.opening.open(first.id)
        assert play.open_session.path[-1].message.content == first_answer
        await play.pilot.pause()
        await play.ask("more")
        assert store.is_sheltering
        await store.call(make_room)
        await play.until(lambda: not store.is_sheltering)
        await play.until_told("Everything is stored again")
    path = stage.home / "data" / "sessions.db"
    assert [content for _, content, _ in stored(path, second.id)] == [LONG, answer]
    assert [content for _, content, _ in stored(path, first.id)][:3] == ["List three rivers", first_answer, "more"]


async def test_what_is_said_beside_a_damaged_database_is_in_a_file_afterwards(stage: Stage) -> None:
    path = stage.home / "data" / "sessions.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    async with stage.ready() as play:
        answer = await play.ask("List three rivers")
        store = play.app.workspace.store
    assert store.rescued is not None
    assert store.rescued.parent == stage.home
    with closing(open_database(stage.home / "other.db")) as db:
        report = import_file(db, store.rescued)
        assert tree.path(db, report.session_ids[0])[-1].message.content == answer


async def test_what_is_said_while_a_part_of_the_database_is_damaged_is_in_a_file_afterwards(stage: Stage) -> None:
    path = stage.home / "data" / "sessions.db"
    with closing(open_database(path)) as db:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'messages_index_data'"
        number, page_bytes = db.execute(sql).fetchone()[0], db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((number - 1) * page_bytes)
        file.write(b"damaged " * (page_bytes // 8))
    async with stage.ready() as play:
        answer = await play.ask("List three rivers")
        await play.until_told("is damaged")
        store = play.app.workspace.store
        await play.press(*"not sent")
    assert store.rescued is not None
    with closing(open_database(stage.home / "other.db")) as db:
        report = import_file(db, store.rescued)
        assert tree.path(db, report.session_ids[0])[-1].message.content == answer
        assert [session.draft for session in sessions.list_sessions(db) if session.draft] == ["not sent"]


async def test_a_database_that_is_read_only_for_a_while(
    store: Store, told: list[StorageError | None], tmp_path: Path
) -> None:
    session_id = await begin(store)
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    await store.call(tree.append_message, session_id, None, "user", "said meanwhile")
    assert [type(error) for error in told] == [ReadOnlyDatabaseError]
    await store.call(lambda db: db.execute("PRAGMA query_only = OFF"))
    await until(lambda: told[-1] is None)
    assert stored(tmp_path / "data" / "sessions.db", session_id)[-1][1] == "said meanwhile"


async def test_a_database_that_another_program_holds_for_a_while(
    store: Store, told: list[StorageError | None], tmp_path: Path
) -> None:
    session_id = await begin(store)
    await store.call(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    path = tmp_path / "data" / "sessions.db"
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        await store.call(tree.append_message, session_id, None, "user", "said meanwhile")
        assert [type(error) for error in told] == [DatabaseBusyError]
        assert [content for _, content, _ in stored(path, session_id)] == ["short"]
        other.execute("ROLLBACK")
    await until(lambda: told[-1] is None)
    assert stored(path, session_id)[-1][1] == "said meanwhile"


async def test_a_program_that_lets_go_of_the_database_at_the_end_leaves_nothing_for_a_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_TIMEOUT_S", "HELD_TIMEOUT_S"):
        monkeypatch.setattr(f"storage.patience.{name}", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "data" / "sessions.db"
    with closing(open_database(path)) as other:
        store = Store(told.append, waits=lambda: other.execute("ROLLBACK"))
        await store.open(path)
        session_id = await begin(store)
        other.execute("BEGIN IMMEDIATE")
        await store.call(tree.append_message, session_id, None, "user", "said meanwhile")
        assert store.is_sheltering
        await store.close()
    assert store.rescued is None
    assert [content for _, content, _ in stored(path, session_id)] == ["said meanwhile"]


async def test_a_program_that_keeps_the_database_at_the_end_is_not_waited_for_for_ever(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("storage.patience.FIRST_TIMEOUT_S", "storage.patience.HELD_TIMEOUT_S"):
        monkeypatch.setattr(name, 0.01)
    monkeypatch.setattr("tui.services.store.LAST_PATIENCE_S", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "data" / "sessions.db"
    store = Store(told.append)
    await store.open(path)
    session_id = await begin(store)
    head = (await store.call(tree.path, session_id))[-1].message.id
    with closing(open_database(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        await store.call(tree.append_message, session_id, head, "user", "said meanwhile")
        await store.close()
        other.execute("ROLLBACK")
        assert store.rescued is not None
        import_file(other, store.rescued)
    assert [content for _, content, _ in stored(path, session_id)] == ["short", "said meanwhile"]


async def test_who_leaves_while_sessions_are_handed_back_leaves_none_in_a_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "sessions.db"
    store = Store(told.append, retry_s=0.01)
    await store.open(path)
    session_ids = [await begin(store) for _ in range(3)]
    await store.call(fill_disk)
    for session_id in session_ids:
        await shelter(store, session_id)
    begun, go_on = threading.Event(), threading.Event()
    merge = merging.merge_session

    merged: list[str] = []

    def merge_slowly(db: sqlite_utils.Database, session: PortableSession, *args: Any) -> str | None:
        begun.set()
        assert go_on.wait(20)
        stored_id = merge(db, session, *args)
        merged.append(session.id)
        return stored_id

    monkeypatch.setattr("tui.services.shelter.merge_session", merge_slowly)
    await store.call(make_room)
    await until(begun.is_set)
    with closing(open_database(path)) as other:
        # What was said in them since becomes sessions of their own: those would be there twice.
        for session_id in session_ids:
            deletion.purge_session(other, session_id)
        closing_ = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing_
        assert (sorted(merged), store.rescued) == (sorted(session_ids), None)
        assert [session.title for session in sessions.list_sessions(other)] == [LONG.strip()[:60]] * 3
