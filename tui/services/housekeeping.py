"""What is done while nobody waits: look what other apps wrote, stay alive in their eyes, make titles, forget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from storage.errors import StorageError
from tui.before_textual import tidy_up
from tui.log import start_log
from tui.messages import HistoryChanged, Post
from tui.services import background
from tui.services.history import History
from tui.services.opening import Opening
from tui.services.store import Store
from tui.services.titles import Titles
from tui.services.writing import Writing

LOOK_PERIOD_S = 0.5
"""Two apps see each other's sessions within a second."""

BEAT_PERIOD_S = 10.0
TIDY_AFTER_S = 1.0
"""So long after an answer and the last key: it stops the app for a moment."""

TITLE_AFTER_S = 2.0
"""A title is made once nothing was typed or answered for so long."""

PURGE_AFTER_S = 5.0


class Housekeeping:
    """One task that looks round regularly; a storage error only makes it try again later."""

    def __init__(
        self,
        store: Store,
        writing: Writing,
        opening: Opening,
        history: History,
        titles: Titles | None,
        post: Post,
    ) -> None:
        self._store = store
        self._writing = writing
        self._opening = opening
        self._history = history
        self._titles = titles
        self._post = post
        self._task: asyncio.Task[None] | None = None
        self._title: asyncio.Task[None] | None = None
        self._beaten_s = self._busy_s = time.monotonic()
        self._is_untidy = False
        self._is_outdated = False
        self._failing: dict[Callable[[], Awaitable[object]], str] = {}

    def start(self) -> None:
        """Begin to look round."""
        self._task = background.begin(self._run(), "housekeeping", self._post)

    def touch(self) -> None:
        """Somebody does something: what can wait waits."""
        self._busy_s = time.monotonic()

    def answer_ended(self) -> None:
        """Drawing it has left a lot of garbage."""
        self.touch()
        self._is_untidy = True

    def stored_again(self) -> None:
        """What was in memory is in the database, where others may have written: the open session is read anew."""
        self._is_outdated = True

    async def stop(self) -> None:
        """End it, and what it has begun."""
        for task in (self._task, self._title):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            if self._writing.is_busy:
                self.touch()
            await self._try(self._look)
            if time.monotonic() - self._beaten_s > BEAT_PERIOD_S:
                self._beaten_s = time.monotonic()
                await self._try(self._opening.beat)
            idle_s = time.monotonic() - self._busy_s
            if self._is_untidy and idle_s > TIDY_AFTER_S:
                tidy_up()
                self._is_untidy = False
            if idle_s > TITLE_AFTER_S:
                self._make_title()
            if idle_s > PURGE_AFTER_S:
                await self._try(self._history.purge)

    async def _try(self, deed: Callable[[], Awaitable[object]]) -> None:
        try:
            await deed()
        except StorageError as error:
            # Again and again, until the database can be used: once is enough to read.
            if self._failing.get(deed) != str(error):
                start_log().info("Tried again later: %s", error)
            self._failing[deed] = str(error)
        else:
            if self._failing.pop(deed, None):
                start_log().info("What was tried again worked.")

    async def _look(self) -> None:
        if await self._store.changed_elsewhere():
            self._is_outdated = True
            self._post(HistoryChanged())
        if self._is_outdated:
            self._is_outdated = not await self._opening.refresh()

    def _make_title(self) -> None:
        if self._titles is None or (self._title is not None and not self._title.done()):
            return
        if self._titles.wanted is not None:
            self._title = background.begin(self._try(self._titles.make), "title", self._post)
