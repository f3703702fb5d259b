"""The stored sessions: pages of them, what a search finds, and what can be done to one that is not open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path

from engine.kept_caches import forget
from storage import answers, deletion, sessions, tree
from storage.errors import NoSuchSessionError, StorageError
from storage.records import Session
from tui.language import N_, _
from tui.messages import Post, Trouble
from tui.sentences import reason
from tui.services.store import Store

PAGE = 60
ALL = -1
"""As SQLite takes a limit: all there are."""

UNDO_S = 600.0
"""A deleted session can be brought back for so long, in whichever app; then it is overwritten."""

PURGE_BUDGET_S = 0.05


_WEEKDAYS = (
    N_("Monday"),
    N_("Tuesday"),
    N_("Wednesday"),
    N_("Thursday"),
    N_("Friday"),
    N_("Saturday"),
    N_("Sunday"),
)
_MONTHS = (
    N_("January"),
    N_("February"),
    N_("March"),
    N_("April"),
    N_("May"),
    N_("June"),
    N_("July"),
    N_("August"),
    N_("September"),
    N_("October"),
    N_("November"),
    N_("December"),
)


@dataclass(frozen=True)
class Found:
    """One line of the history: a session, or a message in one that a search found."""

    session_id: str
    title: str
    updated_utc: str
    pinned: bool = False
    archived: bool = False
    snippet: str = ""
    matches: tuple[tuple[int, int], ...] = ()
    message_id: str | None = None


class History:
    """Reads the list of sessions, and changes one that is not open.

    page and search say a storage error on screen and return None, and purge_own lets a later start do what it cannot;
    all others raise StorageError.
    """

    def __init__(self, store: Store, post: Post, kept_caches: Path) -> None:
        self._store = store
        self._post = post
        self._kept_caches = kept_caches
        self._deleted: list[str] = []
        self._purged = False
        self._told = ""

    async def page(self, after: str | None = None, *, limit: int = PAGE, archived: bool = False) -> list[Found] | None:
        """The next so many sessions, newest first. limit: ALL for the rest."""
        try:
            page = await self._store.call(sessions.list_sessions, limit=limit, after=after, archived=archived)
        except StorageError as error:
            self._tell_unread(error)
            return None
        self._told = ""
        return [_found(session) for session in page]

    def _tell_unread(self, error: StorageError) -> None:
        """Say once what keeps the list from being read; it is tried again with every change."""
        told = reason(error)
        if told != self._told:
            self._post(Trouble(told))
        self._told = told

    async def search(self, text: str) -> list[Found] | None:
        """Sessions whose title or messages have these words; what is found in one session is together."""
        # The search module comes with the full-text index; both load after the first paint.
        from storage.search import search

        try:
            hits = await self._store.read(search, text, limit=PAGE)
        except StorageError as error:
            self._tell_unread(error)
            return None
        self._told = ""
        in_sessions: dict[str, list[Found]] = {}
        for hit in hits:
            found = Found(
                hit.session_id,
                hit.title,
                hit.created_utc,
                snippet=hit.snippet if hit.message_id else "",
                matches=tuple(hit.matches),
                message_id=hit.message_id,
            )
            in_sessions.setdefault(hit.session_id, []).append(found)
        return list(chain.from_iterable(in_sessions.values()))

    async def recover(self) -> str | None:
        """Mark answers that a crash cut short; the last session, when it ends with an answer that was cut short."""
        # Where the database can only be read, the store does it as soon as that changes.
        if not self._store.is_read_only:
            await self._store.call(answers.recover_interrupted)
        session = await self._store.call(sessions.last_session)
        path = await self._store.call(tree.path, session.id) if session is not None else []
        return path[-1].message.session_id if path and path[-1].message.state == "interrupted" else None

    async def last(self) -> str | None:
        """The session that changed last."""
        session = await self._store.call(sessions.last_session)
        return session.id if session else None

    async def delete(self, session_id: str) -> None:
        """Delete a session; it can be brought back until the app ends, or for UNDO_S where it goes on."""
        await self._store.call(deletion.delete_session, session_id)
        self._deleted.append(session_id)
        self._purged = False

    async def restore_last(self) -> str | None:
        """Bring the session back that was deleted last; None when there is none."""
        while self._deleted:
            session_id = self._deleted.pop()
            try:
                await self._store.call(deletion.restore_session, session_id)
            except NoSuchSessionError:
                # Another app has forgotten it meanwhile.
                continue
            except StorageError:
                # It is still there to be brought back.
                self._deleted.append(session_id)
                raise
            return session_id
        return None

    async def rename(self, session_id: str, title: str) -> Session:
        """Give a session the user's own title."""
        return await self._store.call(sessions.rename_session, session_id, title)

    async def pin(self, session_id: str) -> None:
        """Keep a session at the head of the list, or let it go again."""
        session = await self._store.call(sessions.get_session, session_id)
        await self._store.call(sessions.set_pinned, session_id, not session.pinned)

    async def archive(self, session_id: str) -> bool:
        """Put a session out of sight, or back; returns whether it is archived now."""
        session = await self._store.call(sessions.get_session, session_id)
        await self._store.call(sessions.set_archived, session_id, not session.archived)
        return not session.archived

    async def purge(self) -> None:
        """Do a little of forgetting what was deleted UNDO_S ago; called when idle, again and again."""
        if self._purged:
            return
        gone = await self._store.call(deletion.deleted_sessions, older_than_s=UNDO_S)
        done = await self._store.call(deletion.purge_deleted, older_than_s=UNDO_S, budget_s=PURGE_BUDGET_S)
        self._forget(gone)
        # As long as something can still be brought back, there will be something to forget; so there may be in memory.
        left = await self._store.call(deletion.deleted_sessions)
        self._purged = done and not left and not self._store.is_sheltering

    async def purge_own(self) -> None:
        """Forget what was deleted here, at the app's end, but for what was brought back elsewhere."""
        own, self._deleted = self._deleted, []
        if own:
            # What cannot be removed now is, as deleted, removed by a later start.
            with suppress(StorageError):
                await self._store.call(deletion.purge_deleted, own)
            self._forget(own)

    def _forget(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            with suppress(OSError):
                forget(self._kept_caches, session_id)


def _found(session: Session) -> Found:
    return Found(session.id, session.title, session.updated_utc, pinned=session.pinned, archived=session.archived)


def day_words(
    updated_utc: str, today: date | None = None, to_local: Callable[[datetime], datetime] | None = None
) -> str:
    """The day of a stored time as a heading: Today, Yesterday, a weekday, a date."""
    moment = datetime.fromisoformat(updated_utc)
    try:
        local = to_local(moment) if to_local else moment.astimezone()
    except OverflowError:
        # In the year 1 or 9999, a day here may be one that no calendar has.
        local = moment
    day = local.date()
    today = today or date.today()
    if day == today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    if today - timedelta(days=7) < day < today:
        return _(_WEEKDAYS[day.weekday()])
    return _("{day} {month} {year}", day=str(day.day), month=_(_MONTHS[day.month - 1]), year=str(day.year))
