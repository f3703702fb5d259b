"""The database opens, or says plainly why it does not."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from sqlite_utils import Database as SqliteDatabase

from storage.connections import backup, check, open_database
from storage.errors import (
    CorruptDatabaseError,
    DatabaseAccessError,
    DatabaseBusyError,
    DiskFullError,
    ForeignDatabaseError,
    LinkedDatabaseError,
    NewerDatabaseError,
    ReadOnlyDatabaseError,
    StorageError,
    StrayLogError,
    translate,
)
from storage.migrations import MIGRATIONS
from storage.search import search
from storage.sessions import get_session, list_sessions, set_draft
from storage.transactions import transaction
from storage.tree import append_message
from tests.storage.filling import fill

NOBODY = 65534


def bytes_in(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def unprivileged() -> Iterator[None]:
    """File permissions do not bind root; be somebody whom they do."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_new_database_is_durable_and_forgets_what_is_deleted(db: SqliteDatabase) -> None:
    pragmas = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "secure_delete")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
    assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    assert check(db) == []


def test_folders_are_made(tmp_path: Path) -> None:
    open_database(tmp_path / "a" / "b" / "sessions.db").close()
    assert (tmp_path / "a" / "b" / "sessions.db").exists()


def test_nobody_else_can_read_what_is_said(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = tmp_path / "data"
        with closing(open_database(folder / "sessions.db")) as db:
            fill(db)
            backup(db, folder / "copy.db")
            assert {file.name: oct(file.stat().st_mode)[-3:] for file in [folder, *folder.iterdir()]} == {
                "data": "700",
                "sessions.db": "600",
                "sessions.db-wal": "600",
                "sessions.db-shm": "600",
                "copy.db": "600",
            }
    finally:
        os.umask(before)


def test_a_newer_database_is_refused_and_not_touched(path: Path) -> None:
    with closing(open_database(path)) as db:
        fill(db)
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = bytes_in(path.parent)
    for _ in range(2):
        with pytest.raises(NewerDatabaseError, match="version 99") as caught:
            open_database(path)
        assert (caught.value.found, caught.value.known) == (99, len(MIGRATIONS))
    with pytest.raises(NewerDatabaseError):
        open_database(path, read_only=True)
    assert bytes_in(path.parent) == before


def test_a_newer_version_that_is_still_in_the_log_is_seen_too(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(open_database(path)) as db:
        fill(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA user_version = 99")
        for name in ("sessions.db", "sessions.db-wal"):
            (crashed / name).write_bytes((path.parent / name).read_bytes())
    before = bytes_in(crashed)
    with pytest.raises(NewerDatabaseError):
        open_database(crashed / "sessions.db")
    after = bytes_in(crashed)
    assert {name: after[name] for name in before} == before


def test_a_log_of_the_database_before_does_no_harm_to_a_restored_backup(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    restored = crashed / "sessions.db"
    with closing(open_database(path)) as db:
        session_id = fill(db)
        backup(db, restored)
        for number in range(50):
            append_message(db, session_id, None, "user", f"{number} " * 500)
        log = path.with_name("sessions.db-wal").read_bytes()
    restored.with_name("sessions.db-wal").write_bytes(log)
    before = bytes_in(crashed)
    for read_only in (False, True):
        with pytest.raises(StrayLogError, match=r"sessions\.db-wal is not the log of") as caught:
            open_database(restored, read_only=read_only)
        assert "sessions.db-shm" in caught.value.hint
    assert bytes_in(crashed) == before
    restored.with_name("sessions.db-wal").unlink()
    with closing(open_database(restored)) as db:
        assert check(db) == []
        assert len(search(db, "danube")) == 1


def test_the_log_is_looked_for_where_a_link_to_the_database_leads(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "home" / "sessions.db"
    with closing(open_database(path)) as db:
        fill(db)
        log = path.with_name("sessions.db-wal").read_bytes()
        backup(db, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    path.with_name("sessions.db-wal").write_bytes(log)
    link.parent.mkdir()
    link.symlink_to(path)
    with pytest.raises(StrayLogError):
        open_database(link)


def test_where_a_link_leads_nowhere_no_empty_database_is_made(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "disk" / "sessions.db")
    with pytest.raises(DatabaseAccessError, match="cannot be opened"):
        open_database(path)
    assert not (tmp_path / "disk").exists()


def test_a_log_that_another_app_removes_meanwhile_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_database(path)) as db:
        fill(db)
    path.with_name("sessions.db-wal").touch()
    look = Path.stat

    def look_last(file: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = look(file, follow_symlinks=follow_symlinks)
        if file.name.endswith("-wal"):
            file.unlink()
        return found

    monkeypatch.setattr(Path, "stat", look_last)
    with closing(open_database(path)) as db:
        assert len(list_sessions(db)) == 1


def test_a_log_is_taken_for_the_database_s_own_from_its_first_moment(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(open_database(path)) as db:
        fill(db)
        for suffix in ("", "-wal"):
            (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"sessions.db{suffix}").read_bytes())
    with closing(open_database(copy)) as db:
        assert len(search(db, "danube")) == 1


def test_another_program_s_database_is_refused_and_not_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name)")
        other.commit()
    before = bytes_in(path.parent)
    with pytest.raises(ForeignDatabaseError, match="another program"):
        open_database(path)
    assert bytes_in(path.parent) == before


@pytest.mark.parametrize(
    "content", [b"Not a database, but long enough to be one. " * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises((CorruptDatabaseError, ForeignDatabaseError), match=str(path)):
        open_database(path)
    assert path.read_bytes() == content


def test_a_damaged_database_is_said_to_be_damaged(path: Path) -> None:
    with closing(open_database(path)) as db:
        session_id = fill(db)
        for number in range(500):
            append_message(db, session_id, None, "user", f"{number} " * 50)
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\x55" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(CorruptDatabaseError, match="damaged") as caught, closing(open_database(path)) as db:
        list_sessions(db)
        search(db, "danube")
    assert "-wal and -shm files, then restore a backup" in caught.value.hint


def test_a_damaged_database_takes_no_backups_place(path: Path, tmp_path: Path) -> None:
    with closing(open_database(path)) as db:
        session_id = fill(db)
        for number in range(500):
            append_message(db, session_id, None, "user", f"{number} " * 50)
        copy = tmp_path / "copy.db"
        backup(db, copy)
    whole = copy.read_bytes()
    content = bytearray(path.read_bytes())
    # A page that nothing reads at the start.
    content[-4096 * 20 : -4096 * 19] = b"\x55" * 4096
    path.write_bytes(content)
    with closing(open_database(path)) as db, pytest.raises(CorruptDatabaseError, match="the database is damaged"):
        backup(db, copy)
    assert copy.read_bytes() == whole


def test_an_index_without_what_its_table_has_is_damage(path: Path) -> None:
    with closing(open_database(path)) as db:
        fill(db)
    index = "name = 'messages_by_session'"
    with closing(sqlite3.connect(path)) as raw:
        entry = raw.execute(f"SELECT * FROM sqlite_master WHERE {index}").fetchone()
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute(f"DELETE FROM sqlite_master WHERE {index}")
        raw.commit()
    with closing(open_database(path)) as db:
        fill(db)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
        raw.commit()
    with closing(open_database(path, read_only=True)) as db:
        assert "wrong # of entries in index messages_by_session" in check(db)


def test_a_folder_in_the_place_of_the_database_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAccessError, match=str(tmp_path)):
        open_database(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseAccessError):
        open_database(tmp_path / "file" / "sessions.db")


def test_a_file_that_may_not_be_written_can_still_be_read(public_folder: Path) -> None:
    file = public_folder / "sessions.db"
    with closing(open_database(file)) as db:
        session_id = fill(db)
    file.chmod(0o444)
    public_folder.chmod(0o555)
    with unprivileged():
        with pytest.raises(ReadOnlyDatabaseError, match="cannot be written"):
            open_database(file)
        with closing(open_database(file, read_only=True)) as db:
            assert get_session(db, session_id).title == "Rivers"
            assert len(search(db, "danube")) == 1
            with pytest.raises(ReadOnlyDatabaseError):
                set_draft(db, session_id, "x")
    public_folder.chmod(0o755)


def test_a_folder_that_may_not_be_written_is_an_error_in_words(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    with unprivileged(), pytest.raises(StorageError, match=r"sessions\.db"):
        open_database(public_folder / "sessions.db")
    public_folder.chmod(0o755)


def test_a_full_disk_is_said_and_costs_nothing_that_was_there(db: SqliteDatabase) -> None:
    session_id = fill(db)
    n_pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {n_pages}")
    with pytest.raises(DiskFullError, match="no room"):
        append_message(db, session_id, None, "user", "x" * 1_000_000)
    assert not db.conn.in_transaction
    assert get_session(db, session_id).n_messages == 1
    db.execute("PRAGMA max_page_count = 1000000")
    append_message(db, session_id, None, "user", "x" * 1_000_000)
    assert check(db) == []


def test_an_error_of_a_full_disk_is_said_to_be_that() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    # A file system that has no room, by its nature.
    assert isinstance(translate(error, "/proc/sessions.db"), DiskFullError)
    assert isinstance(translate(error, f"{tempfile.gettempdir()}/sessions.db"), DatabaseAccessError)
    assert isinstance(translate(error, "The database"), DatabaseAccessError)


def test_an_empty_file_beside_a_full_log_is_damage_and_not_touched(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    with closing(open_database(path)) as db:
        fill(db)
        content = log.read_bytes()
    assert content
    path.write_bytes(b"")
    log.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(CorruptDatabaseError, match="it is empty, but its log"):
            open_database(path, read_only=read_only)
    assert (path.read_bytes(), log.read_bytes()) == (b"", content)


def test_a_locked_database_is_said_to_be_in_use(db: SqliteDatabase, path: Path) -> None:
    session_id = fill(db)
    db.execute("PRAGMA busy_timeout = 1")
    with closing(open_database(path)) as other, transaction(other):
        with pytest.raises(DatabaseBusyError, match="in use"):
            set_draft(db, session_id, "x")
        assert get_session(db, session_id).draft == ""
    set_draft(db, session_id, "x")


def test_a_locked_database_is_not_read_without_its_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.connections.BUSY_TIMEOUT_S", 0.01)
    with closing(open_database(path)) as db:
        fill(db)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("SELECT count(*) FROM sessions").fetchone()
        with pytest.raises(DatabaseBusyError):
            open_database(path, read_only=True)


def test_what_is_open_here_is_never_read_without_locks(public_folder: Path) -> None:
    path = public_folder / "sessions.db"
    with closing(open_database(path)) as db:
        fill(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        path.chmod(0o444)
        path.with_name("sessions.db-wal").chmod(0)
        with unprivileged(), pytest.raises(DatabaseAccessError):
            open_database(path, read_only=True)


def test_a_backup_is_one_whole_file(db: SqliteDatabase, path: Path, tmp_path: Path) -> None:
    session_id = fill(db)
    (tmp_path / "out").mkdir()
    backup(db, tmp_path / "out" / "copy.db")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["copy.db"]
    with closing(open_database(tmp_path / "out" / "copy.db")) as copy:
        assert get_session(copy, session_id) == get_session(db, session_id)
    with pytest.raises(DatabaseAccessError, match="nowhere"):
        backup(db, tmp_path / "nowhere" / "copy.db")


def test_opening_storage_does_not_import_what_is_slow() -> None:
    code = (
        "import sys, storage.database, storage.sessions, storage.tree, storage.answers, storage.search, storage.claims,"
        " storage.deletion; print(sorted({'sqlite_utils', 'psutil', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_left_closed(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"no database at all " * 1000)
    with pytest.raises(CorruptDatabaseError) as caught:
        open_database(path, read_only=read_only)
    # The traceback keeps what was opened alive.
    assert caught.value.__traceback__ is not None
    assert str(path) not in [file.path for file in psutil.Process().open_files()]


def test_a_database_with_two_names_is_only_read(path: Path) -> None:
    with closing(open_database(path)) as db:
        session_id = fill(db)
    other = path.with_name("other.db")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(LinkedDatabaseError, match="has another name, too"):
            open_database(name)
        with closing(open_database(name, read_only=True)) as db:
            assert [session.id for session in list_sessions(db)] == [session_id]
    other.unlink()
    with closing(open_database(path)) as db:
        fill(db)
