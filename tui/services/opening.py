"""Which session is open: a stored one or a new one, and nothing is lost of the one before."""

from __future__ import annotations

from storage import answers, sessions, tree
from tui.language import _
from tui.messages import HistoryChanged, PathChanged, Post, SettingsShown, Trouble
from tui.services.answer import is_resumable
from tui.services.claim import Claim
from tui.services.drafts import Drafts
from tui.services.open_session import OpenSession
from tui.services.saving import Saving
from tui.services.store import Store
from tui.services.writing import Writing


class Opening:
    """Opens sessions, leaves them, and follows what other apps do to the open one."""

    def __init__(
        self,
        store: Store,
        open_session: OpenSession,
        claim: Claim,
        drafts: Drafts,
        saving: Saving,
        writing: Writing,
        post: Post,
    ) -> None:
        self._store = store
        self._open = open_session
        self._claim = claim
        self._drafts = drafts
        self._saving = saving
        self._writing = writing
        self._post = post

    async def open(self, session_id: str, *, at: str | None = None, keep_typed: bool = False) -> None:
        """Show a stored session instead of the open one, which is left in good order. Raises StorageError.

        at: the message to show, on its branch. keep_typed: what was typed before any session was open belongs to this
        one, behind its draft.
        """
        async with self._open.lock:
            is_other = self._open.id != session_id
            stored = await self._store.call(sessions.get_session, session_id)
            if at is not None:
                # Before the open one is left for it: what is gone cannot be shown.
                await self._store.call(tree.get_message, at)
            if is_other:
                if self._open.session is not None or not keep_typed:
                    await self._leave_for_another()
                await self._open.adopt(stored, keep_typed=keep_typed)
            draft = self._drafts.to_show if is_other else None
            may_switch = self._claim.held_by is None and not self._writing.is_busy
            await self._open.read_through(at, may_switch=may_switch)
        session, path = self._open.session, self._open.path
        self._post(PathChanged(session, path, is_other=True, draft=draft, keeps_typed=keep_typed, at=at))
        self._post(SettingsShown())

    async def new(self, *, for_good: bool = False) -> None:
        """Begin a session; nothing is stored before something is said. for_good: the open one is deleted."""
        async with self._open.lock:
            await (self._leave() if for_good else self._leave_for_another())
            self._open.begin_new()
            draft = self._drafts.text
        self._post(PathChanged(None, [], is_other=True, draft=draft))
        self._post(SettingsShown())

    async def fork(self, message_id: str) -> None:
        """Copy the session up to a message into one of its own, and open that."""
        if self._open.session is None:
            return
        forked = await self._store.call(tree.fork_session, self._open.session.id, message_id)
        self._post(HistoryChanged())
        if self._claim.held_by is not None:
            # The one that is left could not keep what was typed in it.
            self._drafts.hand_over(forked.id)
        await self.open(forked.id)

    async def close(self) -> None:
        """Leave the session with everything stored: the way out of the app, whatever its reason."""
        async with self._open.lock:
            await self._leave()
            await self._saving.store_kept_drafts()

    async def _leave_for_another(self) -> None:
        """Leave the session while the app goes on, and tell of an answer that this stops."""
        answer = self._writing.answer
        await self._leave()
        last = self._open.path[-1].message if answer is not None and self._open.path else None
        if last is None or last.state != "stopped":
            return
        goes_on = _("The answer was stopped. ctrl+g there goes on.")
        writes = _("The answer was stopped. ctrl+r there writes another.")
        self._post(Trouble(goes_on if is_resumable(last) else writes, "information"))

    async def _leave(self) -> None:
        self._writing.take_waiting()
        await self._writing.end()
        await self._saving.stop()
        await self._saving.keep_draft()
        await self._claim.release(self._open.id)

    async def refresh(self) -> bool:
        """Another app has written in the database: show what it has written in this session; False: not now."""
        if self._open.session is None:
            return True
        if self._writing.is_busy or self._open.lock.locked():
            return False
        async with self._open.lock:
            if await self._open.part_from_deleted():
                self._post(PathChanged(None, [], is_other=True, keeps_typed=True))
                self._post(
                    Trouble(_("This session was deleted elsewhere. What is typed here begins a new one."), "warning")
                )
                return True
            await self._claim.look_again(self._open.id)
            before = (self._open.session, self._open.path)
            await self._open.read()
            if (self._open.session, self._open.path) != before:
                self._post(PathChanged(self._open.session, self._open.path))
                self._post(SettingsShown())
        return True

    async def beat(self) -> None:
        """Renew the claim, or take it over from an app that is gone; end the answers that such apps have left."""
        async with self._open.lock:
            await self._claim.renew(self._open.id)
            ended = await self._store.call(answers.recover_interrupted)
            if any(answer.session_id == self._open.id for answer in ended) and not self._writing.is_busy:
                await self._open.show()
