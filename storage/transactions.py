"""The one border to SQLite: every public function is a whole transaction and speaks our errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from .errors import DatabaseMovedError, translate
from .held_files import HoldingConnection

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

P = ParamSpec("P")
R = TypeVar("R")
_TO_WRITE = "BEGIN IMMEDIATE"
Function = Callable[Concatenate["SqliteDatabase", P], R]

_reading: set[Callable[..., Any]] = set()


def reads(function: Function[P, R]) -> Function[P, R]:
    """Make all that a function reads come from one moment."""
    inside = _transactional(function, "BEGIN")
    _reading.add(inside)
    return inside


def only_reads(function: Callable[..., Any]) -> bool:
    """Tell whether a function is one of those that `reads` has marked."""
    return function in _reading


def writes(function: Function[P, R]) -> Function[P, R]:
    """Make all that a function writes happen, or nothing of it.

    The lock is taken at once (IMMEDIATE): a transaction that starts by reading could not wait for another app's write
    any more and would fail.
    """
    return _transactional(function, _TO_WRITE)


def _transactional(function: Function[P, R], begin: str) -> Function[P, R]:
    @wraps(function)
    def inside(db: SqliteDatabase, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with transaction(db, begin):
            return function(db, *args, **kwargs)

    return inside


@contextmanager
def transaction(db: SqliteDatabase, begin: str = _TO_WRITE) -> Iterator[None]:
    """Commit at the end of the block, or take back all of it; inside another transaction, become part of that one.

    Raises DatabaseMovedError rather than write what nobody would find.
    """
    if db.conn.in_transaction:
        yield
        return
    if begin == _TO_WRITE and has_moved(db):
        raise DatabaseMovedError(database_path(db))
    try:
        db.conn.execute(begin)
        try:
            yield
            db.conn.execute("COMMIT")
        finally:
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translate(error, database_path(db)) from error


def has_moved(db: SqliteDatabase) -> bool:
    """Whether the database's file is not in its place any more."""
    return isinstance(db.conn, HoldingConnection) and db.conn.has_moved


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise our errors instead of SQLite's; path: the database that they are about."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def database_path(db: SqliteDatabase) -> str:
    """Tell which file a connection is about, for messages."""
    with suppress(sqlite3.Error):
        for _, name, file in db.conn.execute("PRAGMA database_list"):
            if name == "main" and file:
                return str(file)
    return "The database"
