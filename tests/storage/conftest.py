"""A database in a temporary folder, and a session in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage.connections import open_database
from storage.records import Session
from storage.sessions import create_session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    db = open_database(path)
    yield db
    db.close()


@pytest.fixture
def session(db: Database) -> Session:
    return create_session(db, model="tiny", system="Be brief.", settings={"temperature": 0.8})
