"""What the database remembers about itself: by what it is known, wherever it is, and what is still to be done in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .ids import new_id
from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


IDENTITY = "identity"


@writes
def identify(db: SqliteDatabase) -> str:
    """Tell by what the database, or a copy of it, is known wherever it is; from the first call on."""
    if get_setting(db, IDENTITY) is None:
        set_setting(db, IDENTITY, new_id())
    return str(get_setting(db, IDENTITY))


@reads
def get_setting(db: SqliteDatabase, name: str) -> Any:
    """Return what was stored under a name, None where nothing was."""
    row = db.execute("SELECT value FROM app_settings WHERE name = ?", [name]).fetchone()
    return None if row is None else msgspec.json.decode(row[0])


@writes
def set_setting(db: SqliteDatabase, name: str, value: Any) -> None:
    """Store a value (whatever JSON can hold) under a name."""
    db.execute(
        "INSERT OR REPLACE INTO app_settings (name, value) VALUES (?, ?)", [name, msgspec.json.encode(value).decode()]
    )
