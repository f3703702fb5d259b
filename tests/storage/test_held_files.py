"""What this process has open stays locked for others, whatever it opens and closes beside it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from storage.connections import backup, check, open_database
from storage.database import Database
from storage.errors import DatabaseMovedError, ForeignDatabaseError, ImportFileError, NewerDatabaseError
from storage.importers import import_file
from storage.search import search
from storage.sessions import list_sessions
from tests.storage.filling import fill

FILLING = """
import sys
from storage.connections import open_database
from tests.storage.filling import fill

db = open_database(sys.argv[1])
fill(db)
db.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def fill_elsewhere(path: Path) -> None:
    """What a command does meanwhile: were it the last one with the database, it would remove the log."""
    subprocess.run([sys.executable, "-c", FILLING, path], check=True)


async def test_nothing_is_lost_to_another_process_after_a_search(path: Path) -> None:
    database = await Database.open(path)
    await database.call(fill)
    assert len(await database.read(search, "Danube")) == 1
    fill_elsewhere(path)
    await database.call(fill)
    assert len(await database.call(list_sessions)) == 3
    fill_elsewhere(path)
    await database.close()
    with closing(open_database(path)) as db:
        assert check(db) == []
        assert len(list_sessions(db)) == 4


async def test_nothing_is_lost_after_what_could_only_be_read_is_opened_to_write(path: Path) -> None:
    with closing(open_database(path)) as db:
        fill(db)
    read_only = await Database.open(path, read_only=True)
    assert len(await read_only.call(list_sessions)) == 1
    database = await Database.open(path)
    fill_elsewhere(path)
    await database.call(fill)
    await read_only.close()
    fill_elsewhere(path)
    await database.call(fill)
    await database.close()
    with closing(open_database(path)) as db:
        assert check(db) == []
        assert len(list_sessions(db)) == 5


def test_nothing_is_lost_when_the_database_itself_is_to_be_imported(path: Path) -> None:
    with closing(open_database(path)) as db:
        fill(db)
        with pytest.raises(ImportFileError, match="is the database itself"):
            import_file(db, path)
        fill_elsewhere(path)
        fill(db)
        fill_elsewhere(path)
    with closing(open_database(path)) as db:
        assert len(list_sessions(db)) == 4


def test_what_is_open_here_and_was_migrated_elsewhere_is_still_refused(path: Path) -> None:
    with closing(open_database(path)) as db:
        db.execute("PRAGMA user_version = 99")
        with pytest.raises(NewerDatabaseError):
            open_database(path)


def test_what_is_closed_again_is_looked_at_as_before(path: Path) -> None:
    open_database(path).close()
    other = bytearray(path.read_bytes())
    other[68:72] = b"othr"
    path.write_bytes(other)
    with pytest.raises(ForeignDatabaseError):
        open_database(path)


async def test_nothing_is_written_in_a_file_that_another_one_has_taken_the_place_of(path: Path, tmp_path: Path) -> None:
    database = await Database.open(path)
    await database.call(fill)
    await database.call(backup, tmp_path / "copy.db")
    log = path.with_name(f"{path.name}-wal")
    before = log.read_bytes()
    (tmp_path / "copy.db").replace(path)
    with pytest.raises(DatabaseMovedError):
        await database.call(fill)
    assert len(await database.call(list_sessions)) == 1
    await database.close()
    # It may belong to an app that has opened the new file by now.
    assert log.read_bytes() == before


def test_a_file_that_was_moved_and_put_back_is_written_again(path: Path, tmp_path: Path) -> None:
    with closing(open_database(path)) as db:
        path.rename(tmp_path / "moved.db")
        with pytest.raises(DatabaseMovedError):
            fill(db)
        (tmp_path / "moved.db").rename(path)
        fill(db)
        assert len(list_sessions(db)) == 1
