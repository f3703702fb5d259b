"""Our own databases as files to import: backups and copies, older and newer ones, whole and damaged."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage.answers import begin_answer, checkpoint_answer
from storage.connections import backup, open_database
from storage.deletion import delete_session
from storage.errors import ImportFileError, StrayLogError
from storage.export import export_session
from storage.importers import import_file
from storage.migrations import MIGRATIONS, migrate
from storage.records import pack_token_ids
from storage.sessions import get_session, list_sessions
from storage.tree import all_messages, append_message
from tests.storage.filling import fill


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Database]:
    """Another database."""
    (tmp_path / "other").mkdir()
    with closing(open_database(tmp_path / "other" / "sessions.db")) as db:
        yield db


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def test_a_backup_is_imported_whole_and_once(db: Database, other: Database, copy: Path) -> None:
    session_id = fill(other)
    append_message(other, session_id, all_messages(other, session_id)[0].id, "assistant", "flows")
    delete_session(other, fill(other))
    backup(other, copy)
    before = copy.read_bytes()
    os.chmod(copy, 0o400)
    assert import_file(db, copy).session_ids == [session_id]
    assert export_session(db, session_id) == export_session(other, session_id)
    assert import_file(db, copy).n_known == 1
    assert (copy.read_bytes(), list(copy.parent.glob("copy.db?*"))) == (before, [])


def test_it_comes_through_a_pipe(db: Database, other: Database, copy: Path) -> None:
    session_id = fill(other)
    backup(other, copy)
    assert import_file(db, "stdin", io.BytesIO(copy.read_bytes())).session_ids == [session_id]


def test_what_is_only_in_its_log_is_imported_too(db: Database, other: Database, tmp_path: Path) -> None:
    session_id = fill(other)
    question = all_messages(other, session_id)[0]
    answer = begin_answer(other, session_id, question.id, model="tiny", settings={}, seed=None)
    checkpoint_answer(other, answer.id, "It is", pack_token_ids([7, 8]), 2)
    assert import_file(db, shutil.copytree(tmp_path / "other", tmp_path / "killed") / "sessions.db").n_new == 1
    assert [(m.content, m.state) for m in all_messages(db, session_id)] == [
        ("The Danube", "complete"),
        ("It is", "interrupted"),
    ]


def test_an_older_one_is_imported_and_left_as_it_is(db: Database, copy: Path) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as conn:
        migrate(conn, copy, MIGRATIONS[:1])
        conn.execute(
            "INSERT INTO sessions (id, title, title_source, model, system, settings, created_utc, updated_utc)"
            " VALUES ('0123456789abcdef', 'Rivers', 'auto', 'tiny', '', '{}', '2026-01-01', '2026-01-01')"
        )
    before = copy.read_bytes()
    import_file(db, copy)
    assert get_session(db, "0123456789abcdef").title == "Rivers"
    assert copy.read_bytes() == before


def test_a_newer_one_is_refused_by_its_name(db: Database, other: Database, copy: Path) -> None:
    other.execute("PRAGMA user_version = 99")
    backup(other, copy)
    with pytest.raises(ImportFileError, match=f"^{copy} was written by a newer llm-tui. Update llm-tui.$"):
        import_file(db, copy)


def test_a_damaged_one_is_refused_by_its_name(db: Database, other: Database, copy: Path) -> None:
    fill(other)
    backup(other, copy)
    with copy.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (copy.stat().st_size - 100))
    with pytest.raises(ImportFileError, match=f"^{copy} is damaged: .*recover"):
        import_file(db, copy)
    assert list_sessions(db) == []


def test_one_beside_which_another_s_log_lies_is_refused(
    db: Database, other: Database, copy: Path, tmp_path: Path
) -> None:
    fill(other)
    backup(other, copy)
    shutil.copy(tmp_path / "other" / "sessions.db-wal", f"{copy}-wal")
    with pytest.raises(StrayLogError, match=str(copy)):
        import_file(db, copy)


WRITING = """
import sys
from contextlib import closing
from storage.connections import open_database
from storage.tree import append_message
with closing(open_database(sys.argv[1])) as db:
    for _ in range(50):
        append_message(db, sys.argv[2], None, "user", "word " * 2000)
"""


def test_what_an_app_writes_while_a_database_is_read_does_not_tear_it(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.db"
    with closing(open_database(path)) as other:
        session_id = fill(other)
    copy_file = shutil.copyfile

    def copy_slowly(source: Path, target: Path) -> Path:
        """Another app comes and goes when half of the file is copied."""
        copy_file(source, target)
        whole = target.read_bytes()
        half = len(whole) // 2
        command = [sys.executable, "-c", WRITING, str(path), session_id]
        subprocess.run(command, check=True)
        target.write_bytes(whole[:half] + source.read_bytes()[half:])
        return target

    monkeypatch.setattr(shutil, "copyfile", copy_slowly)
    assert import_file(db, path).session_ids == [session_id]
    with closing(open_database(path)) as other:
        assert len(all_messages(other, session_id)) == 51
        assert all_messages(db, session_id) == all_messages(other, session_id)
