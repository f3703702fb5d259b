"""A database that takes nothing, and what tests of the shelter from that ask of a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlite_utils

from storage import sessions, tree
from storage.connections import open_database
from storage.errors import StorageError
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


async def begin(store: Store) -> str:
    """A session with a question in it."""
    session = await store.call(sessions.create_session, model="m", system="s", settings={}, title="First")
    await store.call(tree.append_message, session.id, None, "user", "short")
    return session.id


def stored(path: Path, session_id: str) -> list[tuple[str, str, str]]:
    """What the file has of a session."""
    with closing(open_database(path, read_only=True)) as db:
        return [(step.message.role, step.message.content, step.message.state) for step in tree.path(db, session_id)]


async def shelter(store: Store, session_id: str) -> str:
    """Say something in a session that the full disk does not take; the message's id."""
    return (await store.call(tree.append_message, session_id, None, "user", LONG)).id


async def store_again(store: Store, told: list[StorageError | None]) -> None:
    """Make room, and wait until all that was said in memory is in the file. told: what the store says of its state."""
    await store.call(make_room)
    await until(lambda: told[-1] is None)


async def said(store: Store, session_id: str) -> list[str]:
    return [message.content for message in await store.call(tree.all_messages, session_id)]
