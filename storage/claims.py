"""Claims: of several running apps, one writes in a session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .errors import SessionHeldError
from .owners import Owner, is_alive, this_process
from .rows import session_key
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


@writes
def claim_session(db: SqliteDatabase, session_id: str, owner: Owner) -> Owner:
    """Claim a session for writing and return who holds it now: owner, or another app that runs and was first."""
    key = session_key(db, session_id)
    holder = _holder(db, key)
    if holder is not None and holder.id != owner.id:
        return holder
    db.execute(
        "INSERT OR REPLACE INTO claims (session_key, owner_id, host, pid, process_started_s, heartbeat_s)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [key, owner.id, owner.host, owner.pid, owner.process_started_s, time.time()],
    )
    return owner


@reads
def holder_of(db: SqliteDatabase, session_id: str) -> Owner | None:
    """The running app that writes in a session; None where there is none, or no such session."""
    row = db.execute("SELECT key FROM sessions WHERE id = ?", [session_id]).fetchone()
    return None if row is None else _holder(db, row[0])


@writes
def release_session(db: SqliteDatabase, session_id: str, owner: Owner) -> None:
    """Give a claim back; nothing happens when another app holds the session."""
    db.execute(
        "DELETE FROM claims WHERE owner_id = ? AND session_key = (SELECT key FROM sessions WHERE id = ?)",
        [owner.id, session_id],
    )


@writes
def hold_only(db: SqliteDatabase, owner: Owner, session_id: str | None) -> Owner | None:
    """Renew an app's claim on the one session that it writes in, and give back what is left of others.

    Every 10 s is often enough. What could not be claimed or given back before, when the database was another program's
    for a while, is then. Returns who holds the session now as claim_session does; None where there is no such session.
    """
    row = db.execute("SELECT key FROM sessions WHERE id = ? AND deleted_utc IS NULL", [session_id]).fetchone()
    key = None if row is None else row[0]
    db.execute("DELETE FROM claims WHERE owner_id = ? AND session_key IS NOT ?", [owner.id, key])
    return None if session_id is None or key is None else claim_session(db, session_id, owner)


def refuse_held(db: SqliteDatabase, key: int, session_id: str) -> None:
    """Raise SessionHeldError when an app of another process writes in the session."""
    holder = _holder(db, key)
    if holder is not None and not this_process(holder):
        raise SessionHeldError(session_id, holder.host, holder.pid)


def _holder(db: SqliteDatabase, key: int) -> Owner | None:
    row = db.execute(
        "SELECT owner_id, host, pid, process_started_s, heartbeat_s FROM claims WHERE session_key = ?", [key]
    ).fetchone()
    if row is None or not is_alive(*row[1:]):
        return None
    return Owner(*row[:4])
