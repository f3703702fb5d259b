"""What the database remembers about itself: which words of deleted texts its indexes still have to lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .transactions import reads, writes

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


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
