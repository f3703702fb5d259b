"""Who is answered next: one at a time, callers in turn, and for each caller first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooManyWaitingError(Exception):
    """The line is full."""


class WaitingLine:
    """The line before the engine. A caller who sends a hundred requests does not keep another one's first waiting.

    ended: set when nobody will be answered any more.
    """

    def __init__(self, most_waiting: int, ended: asyncio.Event | None = None) -> None:
        self.ended = ended or asyncio.Event()
        self._most_waiting = most_waiting
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._busy = False

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for the turn and have it while the block runs; TooManyWaitingError if the line is full."""
        if self._busy:
            await self._wait(caller)
        self._busy = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str) -> None:
        if self.n_waiting >= self._most_waiting:
            raise TooManyWaitingError
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._pass_on()
            else:
                self._leave(caller, mine)
            raise

    def _leave(self, caller: str, mine: asyncio.Future[None]) -> None:
        theirs = self._waiting.get(caller, deque())
        if mine in theirs:
            theirs.remove(mine)
            if not theirs:
                del self._waiting[caller]

    def _pass_on(self) -> None:
        """Give the turn to the caller who has gone without for longest; it stays taken meanwhile."""
        while self._waiting:
            caller = next(iter(self._waiting))
            theirs = self._waiting.pop(caller)
            next_one = theirs.popleft()
            if theirs:
                self._waiting[caller] = theirs
            # Whoever is leaving just now is passed over.
            if not next_one.cancelled():
                next_one.set_result(None)
                return
        self._busy = False
