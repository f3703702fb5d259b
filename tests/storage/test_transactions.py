"""A function of the storage is one transaction: all or nothing, in its turn, at one moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteDatabase

from storage.connections import open_database
from storage.sessions import get_session, list_sessions, set_draft
from storage.transactions import reads, transaction, writes
from tests.storage.filling import fill


def test_a_function_is_all_or_nothing(db: SqliteDatabase) -> None:
    def half() -> None:
        with transaction(db):
            fill(db)
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list_sessions(db) == []


def test_a_writing_function_is_not_overtaken(db: SqliteDatabase, path: Path) -> None:
    session_id = fill(db)

    @writes
    def read_then_write(db: SqliteDatabase) -> None:
        before = get_session(db, session_id).draft
        with closing(open_database(path, read_only=True)) as reader:
            assert get_session(reader, session_id).draft == before
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("UPDATE sessions SET draft = 'overtaken'")
        set_draft(db, session_id, before + "!")

    read_then_write(db)
    assert get_session(db, session_id).draft == "!"


def test_a_reading_function_sees_one_moment(db: SqliteDatabase, path: Path) -> None:
    session_id = fill(db)

    @reads
    def look_twice(db: SqliteDatabase) -> tuple[str, str]:
        before = get_session(db, session_id).draft
        with closing(open_database(path)) as other:
            set_draft(other, session_id, "from another window")
        return before, get_session(db, session_id).draft

    assert look_twice(db) == ("", "")
    assert get_session(db, session_id).draft == "from another window"
