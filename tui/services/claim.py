"""Which app writes in the open session: this one, or another that had it open before."""

from __future__ import annotations

from contextlib import suppress

from storage import claims
from storage.errors import SessionHeldError, StorageError
from storage.owners import Owner, this_owner
from tui.messages import HeldElsewhere, Post
from tui.services.store import Store


class Claim:
    """This app's claim on one session at a time.

    held_by: another running app that writes in the session; it is only looked at here then.
    """

    def __init__(self, store: Store, post: Post) -> None:
        self._store = store
        self._post = post
        self._owner = this_owner()
        self.held_by: Owner | None = None

    async def take(self, session_id: str | None) -> None:
        """Become the one who writes in a session, unless another app does, which is shown. None: in one not stored."""
        if session_id is None:
            self.give_up()
            return
        # Who only looks on needs nothing written: the database may be a third program's for a while.
        if (holder := await self._other_holder(session_id)) is None:
            claimed = await self._store.call(claims.claim_session, session_id, self._owner)
            holder = None if claimed.id == self._owner.id else claimed
        self._set_held(holder)

    async def look_again(self, session_id: str | None) -> None:
        """Become the one who writes in a session that is held elsewhere, if it is not any more and that works now."""
        if session_id is not None and self.held_by is not None and await self._other_holder(session_id) is None:
            with suppress(StorageError):
                await self.renew(session_id)

    async def _other_holder(self, session_id: str) -> Owner | None:
        holder = await self._store.call(claims.holder_of, session_id)
        return None if holder is None or holder.id == self._owner.id else holder

    async def renew(self, session_id: str | None) -> None:
        """Let other apps see that this one still runs, and where it writes; perhaps one of them was there first."""
        holder = await self._store.call(claims.hold_only, self._owner, session_id)
        if holder is not None:
            self._set_held(None if holder.id == self._owner.id else holder)

    async def release(self, session_id: str | None) -> None:
        """Let others write in the session."""
        if session_id is not None and self.held_by is None:
            with suppress(StorageError):
                await self._store.call(claims.release_session, session_id, self._owner)
        self.give_up()

    def give_up(self) -> None:
        """There is no session any more that anybody could hold."""
        self._set_held(None)

    def check(self, session_id: str | None) -> None:
        """Raises SessionHeldError where another app writes in the session."""
        if self.held_by is not None and session_id is not None:
            raise SessionHeldError(session_id, self.held_by.host, self.held_by.pid)

    def _set_held(self, holder: Owner | None) -> None:
        if holder != self.held_by:
            self.held_by = holder
            self._post(HeldElsewhere(holder.host if holder else "", holder.pid if holder else 0))
