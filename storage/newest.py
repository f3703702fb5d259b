"""Messages by time, the newest first, without reading all: keys follow the time only until something is imported."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

# So many sessions are looked at together at first, then twice as many each time.
_FIRST = 64
_AT_MOST = 2048


class Place(NamedTuple):
    """Where a message is in time, and in which session. Those behind it are greater."""

    created_utc: str
    key: int
    session_key: int


Found = list[tuple[str, int, int]]


def newest_first(db: SqliteDatabase, find: Callable[[str], Found], deadline_s: float | None = None) -> Iterator[Place]:
    """Yield the messages that `find` finds, the newest first.

    find: tells those in some sessions (a JSON list of keys), each as a Place has it. Sessions are looked at in the
    order in which they changed, until none can have newer messages. deadline_s: then only what was found is yielded.
    """
    sessions = db.execute("SELECT key, updated_utc FROM sessions WHERE deleted_utc IS NULL ORDER BY updated_utc DESC")
    found: Found = []
    size = _FIRST
    while some := list(islice(sessions, size)):
        changed_utc = some[0][1]
        while found and found[-1][0] >= changed_utc:
            yield Place(*found.pop())
        if deadline_s is not None and time.monotonic() > deadline_s:
            break
        found = sorted(found + find(json.dumps([key for key, _ in some])))
        size = min(2 * size, _AT_MOST)
    yield from (Place(*place) for place in reversed(found))
