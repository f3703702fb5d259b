"""While a session is kept in memory, another app may go on in it: what that has stored is not written over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import answers, claims, sessions, tree
from storage.connections import open_database
from storage.errors import ReadOnlyDatabaseError, StorageError
from storage.owners import this_owner
from tests.tui.test_shelter import LONG, begin, fill_disk, make_room, said, shelter, until
from tui.services.history import History
from tui.services.store import Store


@pytest.fixture
def told() -> list[StorageError | None]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
async def store(path: Path, told: list[StorageError | None]) -> AsyncIterator[Store]:
    """A store that tries again at once."""
    store = Store(told.append, retry_s=0.01)
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
        await store.call(make_room)
        await until(lambda: told[-1] is None)
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
    await store.call(make_room)
    await until(lambda: told[-1] is None)
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
