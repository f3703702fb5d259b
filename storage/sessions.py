"""Sessions: make, list, find and change them. What is said in them is in tree.py and answers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import NoSuchSessionError
from .ids import new_id
from .records import Session, Settings, TitleSource, now_utc
from .rows import read_sessions, session_key, settings_text, storable
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


_AFTER_ALL_KEYS = 2**63 - 1


@writes
def create_session(
    db: SqliteDatabase, *, model: str, system: str, settings: Settings, template: str | None = None, title: str = ""
) -> Session:
    """Begin a session without messages."""
    now = now_utc()
    session_id = new_id()
    db.execute(
        "INSERT INTO sessions (id, title, title_source, model, system, settings, template, created_utc, updated_utc)"
        " VALUES (?, ?, 'auto', ?, ?, ?, ?, ?, ?)",
        [session_id, storable(title), storable(model), storable(system), settings_text(settings), template, now, now],
    )
    return get_session(db, session_id)


@reads
def get_session(db: SqliteDatabase, session_id: str) -> Session:
    """Return one session; raises NoSuchSessionError."""
    found = read_sessions(db, "WHERE s.id = ? AND s.deleted_utc IS NULL", session_id)
    if not found:
        raise NoSuchSessionError(session_id)
    return found[0]


@reads
def list_sessions(
    db: SqliteDatabase, *, limit: int = 50, after: Session | str | None = None, archived: bool = False
) -> list[Session]:
    """Return a page of sessions: pinned ones first, then the last changed first.

    after: the last session of the page before; the page begins where that one was, though it may have moved or be gone
    since. By its id alone, the page begins where it is now, and is empty where it is gone.
    """
    rest = "WHERE s.deleted_utc IS NULL AND s.archived = ?"
    parameters: list[object] = [archived]
    if isinstance(after, Session):
        # Of one that is gone nobody knows where it was among those of the same moment: they come once more.
        rest += (
            " AND (s.pinned, s.updated_utc, s.key)"
            f" < (?, ?, coalesce((SELECT key FROM sessions WHERE id = ?), {_AFTER_ALL_KEYS}))"
        )
        parameters += [after.pinned, after.updated_utc, after.id]
    elif after is not None:
        rest += " AND (s.pinned, s.updated_utc, s.key) < (SELECT pinned, updated_utc, key FROM sessions WHERE id = ?)"
        parameters.append(after)
    rest += " ORDER BY s.pinned DESC, s.updated_utc DESC, s.key DESC LIMIT ?"
    return read_sessions(db, rest, *parameters, limit)


@reads
def last_session(db: SqliteDatabase) -> Session | None:
    """Return the session that changed last, archived ones aside; None when there is none."""
    where = "WHERE s.deleted_utc IS NULL AND s.archived = 0 AND s.pinned = ?"
    rest = f"{where} ORDER BY s.updated_utc DESC, s.key DESC LIMIT 1"
    latest = read_sessions(db, rest, 0) + read_sessions(db, rest, 1)
    return max(latest, key=lambda session: session.updated_utc, default=None)


@writes
def rename_session(db: SqliteDatabase, session_id: str, title: str, source: TitleSource = "user") -> Session:
    """Give a session a title. One that the user gave is replaced by the user only."""
    key = session_key(db, session_id)
    db.execute(
        "UPDATE sessions SET title = :title, title_source = :source"
        " WHERE key = :key AND (:source = 'user' OR title_source <> 'user')",
        {"title": storable(title), "source": source, "key": key},
    )
    return get_session(db, session_id)


def set_pinned(db: SqliteDatabase, session_id: str, pinned: bool) -> None:
    """Keep a session at the head of the history, or let it go down with time."""
    _set(db, session_id, "pinned", pinned)


def set_archived(db: SqliteDatabase, session_id: str, archived: bool) -> None:
    """Put a session out of sight without deleting it, or back."""
    _set(db, session_id, "archived", archived)


def set_system(db: SqliteDatabase, session_id: str, system: str) -> None:
    """Change the system prompt."""
    _set(db, session_id, "system", storable(system))


def set_settings(db: SqliteDatabase, session_id: str, settings: Settings) -> None:
    """Change the sampling settings with which the session goes on."""
    _set(db, session_id, "settings", settings_text(settings))


def set_template(db: SqliteDatabase, session_id: str, template: str | None) -> None:
    """Choose a chat template, None for the model's own."""
    _set(db, session_id, "template", template)


def set_draft(db: SqliteDatabase, session_id: str, draft: str) -> None:
    """Keep what stands unsent in the prompt box."""
    _set(db, session_id, "draft", storable(draft))


@writes
def _set(db: SqliteDatabase, session_id: str, column: str, value: object) -> None:
    # The columns are this file's own words.
    db.execute(f"UPDATE sessions SET {column} = ? WHERE key = ?", [value, session_key(db, session_id)])
