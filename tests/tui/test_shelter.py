"""A database that cannot be written for a while: what is said stays usable, and is stored as soon as that works."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlite_utils

from storage import answers, claims, deletion, sessions, tree
from storage.connections import open_database
from storage.deletion import delete_session, deleted_sessions, purge_deleted, restore_session
from storage.errors import (
    DatabaseBusyError,
    DiskFullError,
    NoSuchSessionError,
    ReadOnlyDatabaseError,
    StorageError,
)
from storage.export import export_session
from storage.importers import import_file
from storage.owners import this_owner
from storage.portable import PortableSession
from tests.tui.conftest import PATIENCE_S, Stage
from tests.tui.sheltering import LONG, begin, fill_disk, make_room, said, shelter, store_again, stored, until
from tui.services.shelter import IN_BOTH, WRITES
from tui.services.store import Store

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
    await store_again(store, told)
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
    await store_again(store, told)
    assert [shown.message.parent_id for shown in await store.call(tree.path, session_id)] == [None, said_id]


async def test_what_nobody_waits_for_any_more_goes_to_memory_all_the_same_and_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr("tui.services.shelter_folder.MEMORY", memory)
    told: list[StorageError | None] = []
    store = Store(told.append, retry_s=0.01)
    await store.open(tmp_path / "sessions.db")
    session_id = await begin(store)
    gate = threading.Event()
    await store.call(fill_disk)
    renaming = asyncio.create_task(store.call(sessions.rename_session, session_id, LONG))
    held_up = asyncio.create_task(store.call(lambda db: gate.wait(PATIENCE_S)))
    await until(lambda: list(memory.iterdir()))
    renaming.cancel()
    with suppress(asyncio.CancelledError):
        await renaming
    gate.set()
    await held_up
    await until(lambda: told)
    await store.call(make_room)
    await store.close()
    assert list(memory.iterdir()) == []
    with closing(open_database(tmp_path / "sessions.db", read_only=True)) as db:
        assert sessions.get_session(db, session_id).title == LONG


async def test_what_is_written_while_a_session_is_copied_to_memory_is_not_missed_there(
    store: Store, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session_id = await begin(store)
    copied, go_on = threading.Event(), threading.Event()

    def copy_slowly(db: sqlite_utils.Database, session_id: str) -> PortableSession:
        copy = export_session(db, session_id)
        copied.set()
        assert go_on.wait(PATIENCE_S)
        return copy

    monkeypatch.setattr("tui.services.shelter.export_session", copy_slowly)
    await store.call(fill_disk)
    renaming = asyncio.create_task(store.call(sessions.rename_session, session_id, LONG))
    await until(copied.is_set)
    saying = asyncio.create_task(store.call(tree.append_message, session_id, None, "user", "said behind"))
    # It has all the time to get past the copy, if that could be.
    await asyncio.wait([saying], timeout=0.5)
    go_on.set()
    await asyncio.gather(renaming, saying)
    assert [shown.message.content for shown in await store.call(tree.path, session_id)] == ["said behind"]
    await store_again(store, told)
    assert [content for _, content, _ in stored(tmp_path / "data" / "sessions.db", session_id)] == ["said behind"]
    assert await said(store, session_id) == ["short", "said behind"]


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
    await store_again(store, told)
    assert (await store.call(sessions.get_session, session_id)).title == "Second"
    message = await store.call(tree.get_message, answer.id)
    assert (message.content, message.state, message.settings, message.seed) == (LONG, "complete", {"k": 2}, 3)
    assert (await store.call(sessions.get_session, session_id)).n_messages == 2


async def test_what_is_deleted_pinned_or_archived_meanwhile_stays_so(
    store: Store, told: list[StorageError | None]
) -> None:
    talk, gone, old = [await begin(store) for _ in range(3)]
    short = (await store.call(tree.path, talk))[-1].message.id
    await store.call(fill_disk)
    for session_id in (talk, gone, old):
        await shelter(store, session_id)
    # It is told once, however many sessions go there.
    assert len(told) == 1
    second = await shelter(store, talk)
    await store.call(tree.delete_message, short)
    await store.call(tree.delete_message, second)
    await store.call(sessions.set_pinned, talk, True)
    await store.call(sessions.set_archived, old, True)
    await store.call(delete_session, gone)
    # The history says so at once.
    assert [(each.id, each.pinned) for each in await store.call(sessions.list_sessions)] == [(talk, True)]
    assert await said(store, talk) == [LONG]
    await store_again(store, told)
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
    await store_again(store, told)
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
    await store_again(store, told)
    assert await store.call(deleted_sessions) == []
    assert [session.id for session in await store.call(sessions.list_sessions)] == [kept]


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
