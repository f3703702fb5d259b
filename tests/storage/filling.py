"""What tests put into a database where it matters only that something is there."""

from __future__ import annotations

from sqlite_utils import Database as SqliteDatabase

from storage.sessions import create_session
from storage.tree import append_message


def fill(db: SqliteDatabase) -> str:
    """One session with one message; returns its id."""
    session = create_session(db, model="tiny", system="", settings={}, title="Rivers")
    append_message(db, session.id, None, "user", "The Danube")
    return session.id
