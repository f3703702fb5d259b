"""The session that is open: what is shown of it, what is still to be saved, and whether it is ours to write in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from engine.protocol import ModelCard, Sampling
from storage import claims, sessions, tree
from storage.errors import NoSuchSessionError, SessionHeldError, StorageError
from storage.owners import Owner, this_owner
from storage.records import PathMessage, Session
from tui.messages import HeldElsewhere, HistoryChanged, PathChanged, Post, TitleChanged
from tui.services import background
from tui.services.answer import sampling_of
from tui.services.drafts import Drafts
from tui.services.engine_session import EngineSession
from tui.services.store import Store
from tui.text import first_line

SAVE_DELAY_S = 0.4
"""Drafts and settings are written so long after they begin to change, and whenever the session is left."""


@dataclass(frozen=True)
class Defaults:
    """What a new session begins with. sampling_for: the user's settings on top of a model's recommended ones."""

    system: str
    sampling_for: Callable[[Sampling], Sampling]


class OpenSession:
    """One session at a time, None while nothing was said in it yet; it is stored with its first message.

    held_by: another running app that writes in it; it is only looked at here then.
    """

    def __init__(self, store: Store, engine: EngineSession, post: Post, defaults: Defaults) -> None:
        self._store = store
        self._engine = engine
        self._post = post
        self._lock = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self._has_to_save = False
        self._unsaved_sampling = False
        self._drafts = Drafts(store)
        self.owner = this_owner()
        self.held_by: Owner | None = None
        self.defaults = defaults
        self.session: Session | None = None
        self.path: list[PathMessage] = []
        self.system = defaults.system
        self.template: str | None = None
        self.default_sampling = self.sampling = defaults.sampling_for(Sampling())

    def set_draft(self, text: str) -> None:
        """Keep what stands in the prompt box."""
        if self._drafts.change(text):
            self._save_soon()

    async def claim(self) -> None:
        """Become the one who writes in the session, unless another app does, which is shown."""
        if self.session is None:
            self._set_held(None)
            return
        holder = await self._store.call(claims.claim_session, self.session.id, self.owner)
        self._set_held(None if holder.id == self.owner.id else holder)

    async def beat(self) -> None:
        """Renew the claim, or take it over from an app that is gone."""
        if self.held_by is None:
            await self._store.call(claims.beat, self.owner)
        else:
            async with self._lock:
                await self.claim()

    async def _release(self) -> None:
        if self.session is not None and self.held_by is None:
            with suppress(StorageError):
                await self._store.call(claims.release_session, self.session.id, self.owner)
        self._set_held(None)

    def _set_held(self, holder: Owner | None) -> None:
        if holder != self.held_by:
            self.held_by = holder
            self._post(HeldElsewhere(holder.host if holder else "", holder.pid if holder else 0))

    def _refuse_held(self) -> None:
        if self.held_by is not None and self.session is not None:
            raise SessionHeldError(self.session.id, self.held_by.host, self.held_by.pid)

    def take_title(self, session: Session) -> None:
        """A session was given another title; perhaps this one."""
        if self.session is not None and session.id == self.session.id:
            self.session = session
            self._post(TitleChanged(session.title))

    def _adopt(self, session: Session) -> None:
        self.session = session
        self.system = session.system
        self.template = session.template
        self._drafts.take_up(session.id, session.draft)
        self.sampling = sampling_of(session.settings, self.default_sampling)
        self._unsaved_sampling = False

    async def _create(self, title: str) -> Session:
        self.session = await self._store_session(title)
        self._unsaved_sampling = False
        await self.claim()
        return self.session

    async def _store_session(self, title: str) -> Session:
        card: ModelCard | None = self._engine.card
        return await self._store.call(
            sessions.create_session,
            model=card.name if card else "",
            system=self.system,
            settings=msgspec.to_builtins(self.sampling),
            template=self.template,
            title=title,
        )

    async def _read(self) -> None:
        """Take over what the database has of the session."""
        assert self.session is not None
        self.session = await self._store.call(sessions.get_session, self.session.id)
        self.path = await self._store.call(tree.path, self.session.id)

    async def _part_from_deleted(self) -> bool:
        """Have no session open where it was deleted elsewhere; what is typed is kept, for a new one."""
        if self.session is None:
            return False
        try:
            await self._store.call(sessions.get_session, self.session.id)
        except NoSuchSessionError:
            self.session, self.path = None, []
            self._drafts.lose_place()
            self._set_held(None)
            return True
        return False

    async def _show_path(self) -> None:
        await self._read()
        self._post(PathChanged(self.session, self.path))

    def _head_id(self) -> str | None:
        return self.path[-1].message.id if self.path else None

    def _save_soon(self) -> None:
        self._has_to_save = True
        if self._saving is None or self._saving.done():
            self._saving = background.begin(self._save_later(), "save draft and settings", self._post)

    async def _save_later(self) -> None:
        while self._has_to_save:
            await asyncio.sleep(SAVE_DELAY_S)
            # Before the writing: what changes meanwhile has to be saved again.
            self._has_to_save = False
            with suppress(StorageError):
                await self._save()

    async def _stop_saving(self) -> None:
        """Write nothing any more by itself; what is not written by then is unsaved."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.wait([self._saving])

    async def _save(self, *, create: bool = False) -> None:
        """Write the draft and the settings; create: also for a session that so far has nothing but a draft."""
        if self.held_by is not None:
            return
        if self.session is None:
            if not (create and self._drafts.text.strip()):
                return
            await self._create(first_line(self._drafts.text))
            self._post(HistoryChanged())
        assert self.session is not None
        session_id = self.session.id
        await self._drafts.save(session_id)
        if self._unsaved_sampling:
            self._unsaved_sampling = False
            try:
                await self._store.call(sessions.set_settings, session_id, msgspec.to_builtins(self.sampling))
            except BaseException:
                self._unsaved_sampling = True
                raise

    async def _keep_draft(self) -> None:
        """Store the draft of the session that is left; one that it cannot take comes back when it is opened again."""
        with suppress(StorageError):
            await self._part_from_deleted()
            await self._save(create=True)
        self._drafts.keep(self.session.id if self.session else "")

    async def _store_kept_drafts(self) -> None:
        """Make sessions of the drafts that are only kept here: nobody can come back to them after the app's end."""
        for draft in self._drafts.take_kept():
            with suppress(StorageError):
                session = await self._store_session(first_line(draft))
                await self._store.call(sessions.set_draft, session.id, draft)
