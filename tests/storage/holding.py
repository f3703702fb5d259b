"""Who writes in a session, as another app finds it."""

from __future__ import annotations

from sqlite_utils import Database

from storage.claims import claim_session
from storage.owners import Owner, this_owner


def who_holds(db: Database, session_id: str) -> Owner | None:
    """The app that another one would have to leave the session to, None when none; nothing changes."""
    other = this_owner()
    db.execute("BEGIN IMMEDIATE")
    try:
        holder = claim_session(db, session_id, other)
    finally:
        db.execute("ROLLBACK")
    return None if holder == other else holder
