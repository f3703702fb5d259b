"""What the database has not taken when the app is left: it takes it then, or a file has it, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from engine.kept_caches import kept_file
from storage import deletion, merging, sessions, tree
from storage.connections import open_database
from storage.errors import (
    DatabaseMovedError,
    StorageError,
)
from storage.export import all_sessions_json, export_session
from storage.importers import import_file
from storage.portable import PortableSession
from tests.tui.sheltering import LONG, begin, fill_disk, make_room, shelter, stored, until
from tui.services.history import History
from tui.services.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
async def store(path: Path, tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch) -> Store:
    """An open store of a user with a home; whoever has it closes it."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    store = Store(told.append)
    await store.open(path)
    return store


async def test_what_was_deleted_is_in_no_file_at_the_end(store: Store, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
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


async def test_what_is_still_in_memory_at_the_end_is_in_a_file(store: Store, tmp_path: Path) -> None:
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


async def test_what_the_database_takes_at_the_end_is_in_no_file(store: Store, path: Path) -> None:
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
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "user", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    written: list[int] = []

    def sync(descriptor: int) -> None:
        """Some disks say only now that they are full."""
        written.append(os.fstat(descriptor).st_size)
        if home in Path(os.readlink(f"/proc/self/fd/{descriptor}")).parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    await begin(store)
    monkeypatch.setattr("os.fsync", sync)
    await store.close()
    assert store.rescued is not None
    assert [file for file in elsewhere.iterdir() if file.suffix == ".json"] == [store.rescued]
    assert list(home.iterdir()) == []
    # A file that is not on the disk by then, as a whole, would be none where the power fails.
    assert written == [store.rescued.stat().st_size] * 2


async def test_a_draft_that_could_not_be_stored_is_imported_again(store: Store, path: Path) -> None:
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


async def test_what_was_being_sent_when_the_session_went_to_memory_is_no_draft_in_the_file(
    store: Store, tmp_path: Path
) -> None:
    session_id = await begin(store)
    # Written by itself while the message waits to be stored.
    await store.call(sessions.set_draft, session_id, LONG)
    await store.call(fill_disk)
    await shelter(store, session_id)
    await store.call(sessions.set_draft, session_id, "not sent")
    await store.close()
    assert store.rescued is not None
    with closing(open_database(tmp_path / "other.db")) as db:
        import_file(db, store.rescued)
        assert sorted(session.draft for session in sessions.list_sessions(db)) == ["", "not sent"]


async def test_what_is_said_after_the_database_was_replaced_is_in_a_file(
    store: Store, path: Path, tmp_path: Path, told: list[StorageError | None]
) -> None:
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
        # Made here: a call for it would stand behind this one.
        make_room(db)
        begun.set()
        assert go_on.wait(20)
        stored_id = merge(db, session, *args)
        merged.append(session.id)
        return stored_id

    monkeypatch.setattr("tui.services.shelter.merge_session", merge_slowly)
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


async def test_who_leaves_while_a_session_goes_to_memory_leaves_it_in_a_file(
    tmp_path: Path, told: list[StorageError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(told.append)
    await store.open(tmp_path / "data" / "sessions.db")
    session_id = await begin(store)
    await store.call(fill_disk)
    begun, go_on = threading.Event(), threading.Event()

    def copy_slowly(db: sqlite_utils.Database, session_id: str) -> PortableSession:
        begun.set()
        assert go_on.wait(20)
        return export_session(db, session_id)

    monkeypatch.setattr("tui.services.shelter.export_session", copy_slowly)
    saying = asyncio.create_task(shelter(store, session_id))
    await until(begun.is_set)
    closing_ = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(saying, closing_)
    assert store.rescued is not None
    with closing(open_database(tmp_path / "other.db")) as other:
        import_file(other, store.rescued)
        assert [message.content for message in tree.all_messages(other, session_id)] == ["short", LONG]
