"""Databases of every earlier version are brought up to date, whole, with a copy made before."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from storage.connections import open_database
from storage.errors import ForeignDatabaseError, NewerDatabaseError, OlderDatabaseError
from storage.migrations import APPLICATION_ID, MIGRATIONS, copy_database, migrate, statements
from storage.sessions import create_session, get_session
from storage.tree import append_message

STEPS = (
    "CREATE TABLE t (x TEXT);",
    "ALTER TABLE t ADD COLUMN y TEXT; UPDATE t SET y = x || '!';",
    "CREATE TABLE u (z);",
)


def at_version(path: Path, version: int) -> sqlite3.Connection:
    conn = sqlite3.connect(path, isolation_level=None)
    migrate(conn, path, STEPS[:version])
    if version:
        conn.execute("INSERT INTO t (x) VALUES ('kept')")
    return conn


def schema(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    return conn.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def pragma(conn: sqlite3.Connection, name: str) -> int:
    return int(conn.execute(f"PRAGMA {name}").fetchone()[0])


@pytest.mark.parametrize("version", range(len(STEPS)))
def test_every_earlier_version_becomes_the_newest(path: Path, version: int) -> None:
    with closing(at_version(path, version)) as conn:
        migrate(conn, path, STEPS)
        assert pragma(conn, "user_version") == len(STEPS)
        assert pragma(conn, "application_id") == APPLICATION_ID
        if version:
            assert conn.execute("SELECT x FROM t").fetchall() == [("kept",)]
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            migrate(fresh, None, STEPS)
            assert schema(conn) == schema(fresh)
    copy = path.with_name(f"{path.name}.before-v{len(STEPS)}")
    assert copy.exists() == (version > 0)
    if version:
        with closing(sqlite3.connect(copy)) as old:
            assert pragma(old, "user_version") == version
            assert old.execute("SELECT x FROM t").fetchall() == [("kept",)]


def test_a_step_that_fails_changes_nothing(path: Path) -> None:
    broken: Sequence[str] = (*STEPS[:2], "CREATE TABLE v (a); INSERT INTO nowhere VALUES (1);")
    with closing(at_version(path, 1)) as conn:
        before = schema(conn)
        with pytest.raises(sqlite3.OperationalError):
            migrate(conn, path, broken)
        assert (schema(conn), pragma(conn, "user_version")) == (before, 1)
        migrate(conn, path, STEPS)
        assert conn.execute("SELECT x, y FROM t").fetchall() == [("kept", "kept!")]


def test_two_apps_that_migrate_at_once_do_it_once(path: Path) -> None:
    with closing(at_version(path, 1)) as first, closing(sqlite3.connect(path, isolation_level=None)) as second:
        versions: list[str] = []

        def overtake(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE" and not versions:
                versions.append(statement)
                migrate(second, path, STEPS)

        first.set_trace_callback(overtake)
        migrate(first, path, STEPS)
        first.set_trace_callback(None)
        assert versions
        assert pragma(first, "user_version") == len(STEPS)
        assert first.execute("SELECT y FROM t").fetchall() == [("kept!",)]


def test_two_apps_that_copy_at_once_do_not_take_each_others_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(at_version(path, 1)) as first, closing(sqlite3.connect(path, isolation_level=None)) as second:

        class Overtaken:
            def __getattr__(self, name: str) -> Any:
                return getattr(first, name)

            def backup(self, copy: sqlite3.Connection) -> None:
                with monkeypatch.context() as other_process:
                    other_process.setattr(os, "getpid", lambda: 1)
                    migrate(second, path, STEPS)
                first.backup(copy)

        migrate(cast(sqlite3.Connection, Overtaken()), path, STEPS)
        assert first.execute("SELECT y FROM t").fetchall() == [("kept!",)]
    copy = path.with_name(f"{path.name}.before-v{len(STEPS)}")
    assert [file for file in path.parent.iterdir() if ".before" in file.name] == [copy]
    with closing(sqlite3.connect(copy)) as old:
        assert pragma(old, "user_version") == 1


def test_what_a_copy_that_was_killed_has_left_is_tidied_up(path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    target = path.with_name(f"{path.name}.before-v{len(STEPS)}")
    names = (f"{dead.pid}.part", f"{dead.pid}.part-journal", f"{os.getppid()}.part", "old.part")
    parts = [target.with_name(f"{target.name}.{name}") for name in names]
    for part in parts:
        part.touch()
    with closing(at_version(path, 1)) as conn:
        migrate(conn, path, STEPS)
    assert [part.exists() for part in parts] == [False, False, True, True]
    assert target.exists()


def test_what_a_migration_that_was_killed_has_left_is_gone_with_the_next_start(path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    # This process has begun none; in a container, the one before it may have had its number.
    left = [f"before-v2.{dead.pid}.part", f"before-v3.{dead.pid}.part-journal", f"before-v2.{os.getpid()}.part"]
    others = [f"before-v2.{os.getppid()}.part", f"before-vx.{dead.pid}.part", f"{dead.pid}.part", "before-v2"]
    for name in left + others:
        path.with_name(f"{path.name}.{name}").touch()
    with closing(open_database(path)):
        assert [path.with_name(f"{path.name}.{name}").exists() for name in left] == [False] * 3
        assert [path.with_name(f"{path.name}.{name}").exists() for name in others] == [True] * 4


def test_a_copy_that_fails_leaves_nothing(path: Path) -> None:
    class Failing:
        def backup(self, copy: sqlite3.Connection) -> None:
            copy.execute("PRAGMA journal_mode = PERSIST")
            copy.execute("CREATE TABLE half (x)")
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        copy_database(cast(sqlite3.Connection, Failing()), path)
    assert list(path.parent.iterdir()) == []


def test_a_newer_version_is_refused_even_when_it_came_just_now(path: Path) -> None:
    with closing(at_version(path, 3)) as conn, pytest.raises(NewerDatabaseError):
        migrate(conn, path, STEPS[:2])


def test_a_foreign_application_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA application_id = 1234")
        conn.execute("CREATE TABLE t (x)")
        with pytest.raises(ForeignDatabaseError):
            migrate(conn, path, STEPS)


def test_statements_keep_triggers_whole() -> None:
    script = "CREATE TABLE t (x DEFAULT 'a;b'); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;\n"
    assert list(statements(script)) == [
        "CREATE TABLE t (x DEFAULT 'a;b');",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;",
    ]


def test_the_real_steps_keep_data(path: Path) -> None:
    """Grows with every release: each version's own tables, filled, become the newest."""
    for version in range(1, len(MIGRATIONS) + 1):
        file = path.with_name(f"v{version}.db")
        with closing(sqlite3.connect(file, isolation_level=None)) as conn:
            migrate(conn, file, MIGRATIONS[:version])
            conn.execute(
                "INSERT INTO sessions (id, title, title_source, model, system, settings, created_utc, updated_utc)"
                " VALUES ('0123456789abcdef', 'Rivers', 'auto', 'tiny', '', '{}', '2026-01-01', '2026-01-01')"
            )
        if version < len(MIGRATIONS):
            with pytest.raises(OlderDatabaseError):
                open_database(file, read_only=True)
        with closing(open_database(file)) as db:
            assert get_session(db, "0123456789abcdef").title == "Rivers"
            append_message(db, create_session(db, model="", system="", settings={}).id, None, "user", "Hello")
