"""Delete sessions: at first so that it can be undone, then so that nothing of them is left in the file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .app_settings import get_setting, set_setting
from .claims import refuse_held
from .errors import DatabaseAccessError, NoSuchSessionError
from .migrations import copies_of, left_parts
from .records import format_utc, now_utc
from .rows import session_key
from .transactions import database_path, reads, transaction, translated, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

_INDEXES = ("messages_index", "titles_index")
_MERGE_PAGES = 500
_VACUUM_PAGES = 2000
_UNMERGED = "deleted_words_in_index"


@writes
def delete_session(db: SqliteDatabase, session_id: str) -> None:
    """Put a session out of all sight until restore_session brings it back or purge_deleted makes it truly gone."""
    db.execute("UPDATE sessions SET deleted_utc = ? WHERE key = ?", [now_utc(), session_key(db, session_id)])


@writes
def restore_session(db: SqliteDatabase, session_id: str) -> None:
    """Undo delete_session; raises NoSuchSessionError when the session is truly gone."""
    cursor = db.execute("UPDATE sessions SET deleted_utc = NULL WHERE id = ?", [session_id])
    if not cursor.rowcount:
        raise NoSuchSessionError(session_id)


def purge_deleted(
    db: SqliteDatabase, ids: Sequence[str] | None = None, *, older_than_s: float = 0, budget_s: float | None = None
) -> bool:
    """Remove deleted sessions for good: rows, words in the search index, traces in free pages and in the log.

    ids: only these of them; what is gone already or was brought back meanwhile is left alone. older_than_s: leave those
    that were deleted later; another window may still offer to undo. Each step is a short transaction, so that other
    apps can write in between. budget_s: stop after so long; returns False when there is more to do, by another call.
    """
    deadline_s = None if budget_s is None else time.monotonic() + budget_s
    before_utc = _utc_ago(older_than_s)
    with translated(database_path(db)):
        for _ in _steps(db, before_utc, None if ids is None else json.dumps(list(ids))):
            if deadline_s is not None and time.monotonic() > deadline_s:
                return False
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return True


def purge_session(db: SqliteDatabase, session_id: str) -> None:
    """Remove one session for good, deleted before or not, with every trace of it; other deleted ones stay as they are.

    Raises NoSuchSessionError when it is gone already, SessionHeldError when another process writes in it.
    """
    with translated(database_path(db)):
        with transaction(db):
            row = db.execute("SELECT key FROM sessions WHERE id = ?", [session_id]).fetchone()
            if row is None:
                raise NoSuchSessionError(session_id)
            refuse_held(db, row[0], session_id)
            _remove(db, row[0])
        for _ in _traces(db):
            pass
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@reads
def deleted_sessions(db: SqliteDatabase, *, older_than_s: float = 0) -> list[str]:
    """The ids of the sessions that purge_deleted would remove."""
    rows = db.execute(
        "SELECT id FROM sessions WHERE deleted_utc IS NOT NULL AND deleted_utc <= ?", [_utc_ago(older_than_s)]
    )
    return [row[0] for row in rows.fetchall()]


def _utc_ago(older_than_s: float) -> str:
    if not older_than_s:
        # The clock may have been set back since something was deleted; deleted it is.
        return format_utc(datetime.max.replace(tzinfo=UTC))
    return format_utc(datetime.now(UTC) - timedelta(seconds=older_than_s))


def forget_words(db: SqliteDatabase) -> None:
    """Remember that words of what was deleted are in the search index, for purge_deleted. Belongs in a transaction."""
    for index in _INDEXES:
        set_setting(db, f"{_UNMERGED}:{index}", "begin")


def _steps(db: SqliteDatabase, before_utc: str, ids: str | None) -> Iterator[None]:
    while _purge_one(db, before_utc, ids):
        yield
    yield from _traces(db)


def _traces(db: SqliteDatabase) -> Iterator[None]:
    """Overwrite what removed rows left in the search index and in free pages; copies of them go, too."""
    if any(get_setting(db, f"{_UNMERGED}:{index}") for index in _INDEXES):
        _remove_copies(db)
    for index in _INDEXES:
        while _merge_step(db, index):
            yield
    while _vacuum_step(db):
        yield


@writes
def _purge_one(db: SqliteDatabase, before_utc: str, ids: str | None) -> bool:
    """Remove one of the deleted sessions; ids: None or a JSON list."""
    row = db.execute(
        "SELECT key FROM sessions WHERE deleted_utc IS NOT NULL AND deleted_utc <= :before_utc"
        " AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids))) LIMIT 1",
        {"before_utc": before_utc, "ids": ids},
    ).fetchone()
    if row is None:
        return False
    _remove(db, row[0])
    return True


def _remove(db: SqliteDatabase, key: int) -> None:
    forget_words(db)
    db.execute("UPDATE sessions SET head_key = NULL WHERE key = ?", [key])
    db.execute("DELETE FROM messages WHERE session_key = ?", [key])
    db.execute("DELETE FROM sessions WHERE key = ?", [key])


def _remove_copies(db: SqliteDatabase) -> None:
    """Remove the copies that migrations made of the database: what is deleted for good may still be in them."""
    path = Path(database_path(db))
    for copy in [*copies_of(path), *left_parts(path)]:
        try:
            copy.unlink(missing_ok=True)
        except OSError as error:
            raise DatabaseAccessError(f"{copy} cannot be removed: {error.strerror}.") from error


def _merge_step(db: SqliteDatabase, index: str) -> bool:
    """Rewrite a part of a search index without the words of what was deleted; True when more is left.

    FTS5 only notes down that words are gone, until it merges what it has written; here it is made to merge all.
    """
    with transaction(db):
        state = get_setting(db, f"{_UNMERGED}:{index}")
        if state is None:
            return False
        before = db.conn.total_changes
        # A negative number begins to merge everything; positive ones go on with it.
        pages = -_MERGE_PAGES if state == "begin" else _MERGE_PAGES
        db.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", [pages])
        # FTS5's documented sign that nothing is left to merge.
        done = db.conn.total_changes - before < 2
        set_setting(db, f"{_UNMERGED}:{index}", None if done else "going")
        return not done


def _vacuum_step(db: SqliteDatabase) -> bool:
    """Give some free pages back to the disk; True when there are more."""
    # A single execute() would take one step of the pragma, which is one page.
    db.conn.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
    return bool(db.execute("PRAGMA freelist_count").fetchone()[0])
