"""How long an app's connection waits for a lock that another program holds: a while, then hardly at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import DatabaseBusyError

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

FIRST_TIMEOUT_S = 2.0
"""Longer than nearly any write of ours, and as long as somebody waits who has pressed a key."""

HELD_TIMEOUT_S = 0.2
"""For a lock that was not given up in that time: still more than a short write of another app takes."""


class Patience:
    """What one connection has learned about the lock. Whoever asks behind a call that has waited in vain is told soon.

    So a program that stays in the database holds up one call, and not each of those behind it.
    """

    def __init__(self) -> None:
        self._is_held = False
        self._timeout_s = 0.0

    @contextmanager
    def around(self, db: SqliteDatabase, *, takes_lock: bool) -> Iterator[None]:
        """Wait in a block as long as is worth it. takes_lock: whether one that ends well has had the lock.

        Raises DatabaseBusyError as the block does.
        """
        timeout_s = HELD_TIMEOUT_S if self._is_held else FIRST_TIMEOUT_S
        if timeout_s != self._timeout_s:
            db.conn.execute(f"PRAGMA busy_timeout = {timeout_s * 1000:.0f}")
            self._timeout_s = timeout_s
        try:
            yield
        except DatabaseBusyError:
            self._is_held = True
            raise
        else:
            self._is_held = self._is_held and not takes_lock
