"""While a session is kept in memory, another app may go on in it: what that has stored is not written over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlite_utils import Database
from textual.message import Message

from storage import answers, claims, sessions, tree
from storage.connections import open_database
from storage.deletion import delete_session, purge_deleted, purge_session
from storage.errors import ReadOnlyDatabaseError, StorageError
from storage.merging import merge_session
from storage.owners import this_owner
from tests.tui.sheltering import LONG, begin, fill_disk, make_room, said, shelter, store_again, until
from tui.messages import Trouble
from tui.services.history import History
from tui.services.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
def posted() -> list[Message]:
    return []


@pytest.fixture
async def store(
    path: Path, told: list[StorageError | None], posted: list[Message], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """A store that tries again at once."""
    # Else what a test leaves unstored would go to the home of whoever runs it.
    monkeypatch.setenv("HOME", str(path.parent))
    store = Store(told.append, retry_s=0.01, post=posted.append)
    await store.open(path)
    yield store
    await store.close()


async def test_an_answer_that_another_app_ends_meanwhile_stays_whole(
    store: Store, told: list[StorageError | None], path: Path
) -> None:
    session_id = await begin(store)
    with closing(open_database(path)) as other:
        asked = tree.path(other, session_id)[-1].message.id
        answer = answers.begin_answer(other, session_id, asked, model="m", settings={}, seed=None)
        answers.checkpoint_answer(other, answer.id, "half", None, 1)
        await store.call(fill_disk)
        await store.call(sessions.rename_session, session_id, LONG)
        assert store.is_sheltering
        answers.finish_answer(
            other, answer.id, "half and whole", "complete", prompt_tokens=1, generated_tokens=2,
            tokens_per_second=1.0, first_token_ms=1.0, seed=3,
        )  # fmt: skip
        further = tree.append_message(other, session_id, answer.id, "user", "and further")
        await store_again(store, told)
        kept = tree.get_message(other, answer.id)
        assert (kept.content, kept.state) == ("half and whole", "complete")
        session = sessions.get_session(other, session_id)
        assert (session.title, session.head_id) == (LONG, further.id)


async def test_only_what_was_changed_in_memory_is_changed_afterwards(
    store: Store, told: list[StorageError | None], path: Path
) -> None:
    session_id = await begin(store)
    await store.call(fill_disk)
    await shelter(store, session_id)
    with closing(open_database(path)) as other:
        sessions.rename_session(other, session_id, "Renamed elsewhere")
    await store.call(sessions.set_system, session_id, "Be brief.")
    await store_again(store, told)
    session = await store.call(sessions.get_session, session_id)
    assert (session.title, session.system) == ("Renamed elsewhere", "Be brief.")
    assert await said(store, session_id) == ["short", LONG]


async def test_a_session_that_another_app_writes_in_is_not_claimed_in_memory(store: Store, path: Path) -> None:
    session_id = await begin(store)
    with closing(open_database(path)) as other:
        holder = this_owner()
        claims.claim_session(other, session_id, holder)
        await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
        assert (await store.call(claims.claim_session, session_id, this_owner())).id == holder.id
        claims.release_session(other, session_id, holder)
        owner = this_owner()
        assert await store.call(claims.claim_session, session_id, owner) == owner
        # That it still runs, an app tells others in the database alone.
        with pytest.raises(ReadOnlyDatabaseError):
            await store.call(claims.hold_only, owner, session_id)


async def test_what_is_deleted_in_both_apps_is_deleted(
    store: Store, told: list[StorageError | None], path: Path
) -> None:
    session_id = await begin(store)
    short = (await store.call(tree.path, session_id))[-1].message.id
    await store.call(fill_disk)
    await shelter(store, session_id)
    with closing(open_database(path)) as other:
        delete_session(other, session_id)
        await store.call(tree.delete_message, short)
        await store.call(delete_session, session_id)
        await store_again(store, told)
        assert sessions.list_sessions(other) == []


async def test_a_deletion_can_still_be_undone_after_that_was_refused_once(store: Store, tmp_path: Path) -> None:
    history = History(store, lambda message: None, tmp_path)
    session_id = await begin(store)
    await history.delete(session_id)
    await store.call(lambda db: db.execute("PRAGMA query_only = ON"))
    with pytest.raises(ReadOnlyDatabaseError):
        await history.restore_last()
    await store.call(lambda db: db.execute("PRAGMA query_only = OFF"))
    assert await history.restore_last() == session_id
    assert await said(store, session_id) == ["short"]


@pytest.mark.parametrize("delete", [delete_session, purge_session])
async def test_what_is_deleted_elsewhere_stays_deleted_and_what_was_said_since_is_a_session_of_its_own(
    store: Store,
    told: list[StorageError | None],
    posted: list[Message],
    path: Path,
    delete: Callable[[Database, str], None],
) -> None:
    session_id, untouched = await begin(store), await begin(store)
    head = (await store.call(tree.path, session_id))[-1].message.id
    await store.call(sessions.rename_session, session_id, "First")
    await store.call(sessions.set_pinned, session_id, True)
    await store.call(sessions.set_draft, session_id, "typed before")
    await store.call(fill_disk)
    question = await store.call(tree.append_message, session_id, head, "user", LONG)
    answer = await store.call(answers.begin_answer, session_id, question.id, model="m", settings={}, seed=None)
    # Only its title has changed, and that is deleted with it.
    await store.call(sessions.rename_session, untouched, LONG)
    with closing(open_database(path)) as other:
        for id_ in (session_id, untouched):
            delete(other, id_)
        await store_again(store, told)
        [kept] = sessions.list_sessions(other)
        assert kept.id != session_id
        assert (kept.title, kept.title_source) == (LONG.strip()[:60], "auto")
        assert (kept.pinned, kept.draft, kept.created_utc) == (False, "", question.created_utc)
        # Whoever has the old one open goes on in this.
        assert (await store.call(sessions.get_session, session_id)).id == kept.id
        await store.call(answers.checkpoint_answer, answer.id, "half", None, 1)
        await store.call(tree.append_message, session_id, answer.id, "user", "and further")
        assert [message.content for message in tree.all_messages(other, kept.id)] == [LONG, "half", "and further"]
        assert (kept.model, kept.system) == ("m", "s")
        # As the end of the app does with what was deleted in it.
        await store.call(purge_deleted, [session_id])
        assert (await store.call(sessions.last_session)).id == kept.id
    [trouble] = [message for message in posted if isinstance(message, Trouble)]
    assert trouble.sentence.startswith("“First” was deleted elsewhere and stays deleted.")


async def test_what_waits_while_a_session_that_is_deleted_elsewhere_is_handed_back_is_said_in_what_it_becomes(
    store: Store, told: list[StorageError | None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await begin(store)
    await store.call(fill_disk)
    head_id = await shelter(store, session_id)
    is_room, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    def make_room_at_last(db: Database) -> None:
        make_room(db)
        is_room.set()

    def merge_slowly(*args: Any) -> str | None:
        # Earlier tries fail at once: on this thread, room is still to be made.
        if is_room.is_set():
            begun.set()
            assert go_on.wait(20)
        return merge_session(*args)

    monkeypatch.setattr("tui.services.shelter.merge_session", merge_slowly)
    with closing(open_database(path)) as other:
        delete_session(other, session_id)
        await store.call(make_room_at_last)
        await until(begun.is_set)
        saying = asyncio.create_task(store.call(tree.append_message, session_id, head_id, "user", "and further"))
        await asyncio.sleep(0)
        go_on.set()
        await saying
        [kept] = sessions.list_sessions(other)
        assert [message.content for message in tree.all_messages(other, kept.id)] == [LONG, "and further"]


async def test_a_message_that_is_deleted_elsewhere_stays_deleted(
    store: Store, told: list[StorageError | None], path: Path
) -> None:
    session_id = await begin(store)
    first = (await store.call(tree.path, session_id))[-1].message.id
    second = await store.call(tree.append_message, session_id, first, "user", "second")
    await store.call(fill_disk)
    await store.call(tree.append_message, session_id, second.id, "user", LONG)
    with closing(open_database(path)) as other:
        tree.delete_message(other, second.id)
        await store_again(store, told)
        assert [shown.message.content for shown in tree.path(other, session_id)] == ["short", LONG]


async def test_a_draft_that_was_typed_since_the_session_was_deleted_elsewhere_is_kept(
    store: Store, told: list[StorageError | None], path: Path
) -> None:
    session_id = await begin(store)
    await store.call(fill_disk)
    await store.call(sessions.set_draft, session_id, LONG)
    with closing(open_database(path)) as other:
        purge_session(other, session_id)
        await store_again(store, told)
        [kept] = sessions.list_sessions(other)
        assert (kept.draft, kept.n_messages) == (LONG, 0)


async def test_who_goes_on_in_a_session_that_is_deleted_elsewhere_sees_what_was_said_since(stage: Stage) -> None:
    async with stage.ready() as play:
        store = play.app.workspace.store
        store._retry_s = 0.01
        await play.ask("before")
        deleted = play.open_session.session
        assert deleted is not None
        await store.call(fill_disk)
        await play.conversation.send(LONG)
        await play.answered()
        with closing(open_database(stage.home / "data" / "sessions.db")) as other:
            delete_session(other, deleted.id)
        await store.call(make_room)
        await play.until_told("was deleted elsewhere and stays deleted")
        await play.until(lambda: play.open_session.session.id != deleted.id)
        await play.until(lambda: "before" not in play.shown("#transcript"))
        await play.ask("after")
        contents = [shown.message.content for shown in play.open_session.path]
        assert (contents[0], contents[2]) == (LONG, "after")
