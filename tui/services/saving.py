"""What is not said but has to last: the open session's draft and settings, written soon after they change."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from storage import sessions
from storage.errors import StorageError
from tui.messages import HistoryChanged, Post
from tui.services import background
from tui.services.claim import Claim
from tui.services.drafts import Drafts
from tui.services.open_session import OpenSession
from tui.services.store import Store
from tui.text import first_line

SAVE_DELAY_S = 0.4
"""Drafts and settings are written so long after they begin to change, and whenever the session is left."""


class Saving:
    """Writes them by itself from `soon` to `stop`, and at once where somebody asks for it."""

    def __init__(self, store: Store, open_session: OpenSession, claim: Claim, drafts: Drafts, post: Post) -> None:
        self._store = store
        self._open = open_session
        self._claim = claim
        self._drafts = drafts
        self._post = post
        self._task: asyncio.Task[None] | None = None
        self._has_to_save = False
        self._lock = asyncio.Lock()

    @property
    def has_draft(self) -> bool:
        """Whether something is typed that has not been sent."""
        return bool(self._drafts.text.strip()) or self._drafts.has_apart

    def take_draft(self, text: str) -> None:
        """Keep what stands in the prompt box."""
        if self._drafts.change(text):
            self.soon()

    def draft_is_shown(self) -> None:
        """What stands in the prompt box is all of the draft from now on."""
        self._drafts.is_shown()

    def take_apart(self, text: str) -> None:
        """Keep what was typed for no session that is open: at the app's end, it is one of its own."""
        self._drafts.keep_apart(text)

    async def save_sent(self) -> None:
        """What stood in the prompt box was said: nothing of it stays a draft, in the database either."""
        self._drafts.clear()
        await self.save()

    def soon(self) -> None:
        """Something has changed."""
        self._has_to_save = True
        if self._task is None or self._task.done():
            self._task = background.begin(self._save_later(), "save draft and settings", self._post)

    async def _save_later(self) -> None:
        while self._has_to_save:
            await asyncio.sleep(SAVE_DELAY_S)
            # Before the writing: what changes meanwhile has to be saved again.
            self._has_to_save = False
            with suppress(StorageError):
                await self.save()

    async def stop(self) -> None:
        """Write nothing any more by itself; what is not written by then is unsaved."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def save(self, *, create: bool = False) -> None:
        """Write the draft and the settings; create: also for a session that so far has nothing but a draft."""
        await background.to_the_end(self._save(create))

    async def _save(self, create: bool) -> None:
        # Whoever saves behind one that nobody waits for any more finds the session that it makes.
        async with self._lock:
            if self._claim.held_by is not None:
                return
            if self._open.session is None:
                if not (create and self._drafts.text.strip()):
                    return
                await self._open.create(first_line(self._drafts.text))
                self._post(HistoryChanged())
            assert self._open.session is not None
            session_id = self._open.session.id
            await self._drafts.save(session_id)
            await self._open.save_sampling(session_id)

    async def keep_draft(self) -> None:
        """Store the draft of the session that is left; one that it cannot take comes back when it is opened again."""
        with suppress(StorageError):
            await self._open.part_from_deleted()
            await self.save(create=True)
        self._drafts.keep(self._open.id or "")

    async def store_kept_drafts(self) -> None:
        """Make sessions of the drafts that are only kept here: nobody can come back to them after the app's end."""
        for draft in self._drafts.take_kept():
            with suppress(StorageError):
                session = await self._open.store_new(first_line(draft))
                await self._store.call(sessions.set_draft, session.id, draft)
