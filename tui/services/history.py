"""The stored sessions: pages of them, what a search finds, and what can be done to one that is not open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from storage import answers, deletion, sessions, tree
from storage.errors import StorageError
from storage.records import Session
from tui.messages import Trouble
from tui.services.engine_session import Post
from tui.services.store import Store

PAGE = 60


@dataclass(frozen=True)
class Found:
    """One line of the history: a session, or a message in one that a search found."""

    session_id: str
    title: str
    updated_utc: str
    pinned: bool = False
    snippet: str = ""
    message_id: str | None = None


class History:
    """Reads the list of sessions; every method says a storage error on screen and returns what there is."""

    def __init__(self, store: Store, post: Post) -> None:
        self._store = store
        self._post = post
        self._deleted: list[str] = []

    async def page(self, after: str | None = None) -> list[Found]:
        """The next page of sessions, newest first."""
        try:
            page = await self._store.call(sessions.list_sessions, limit=PAGE, after=after)
        except StorageError as error:
            self._post(Trouble(str(error)))
            return []
        return [_found(session) for session in page]

    async def search(self, text: str) -> list[Found]:
        """Sessions whose title or messages have these words."""
        # The search module comes with the full-text index; both load after the first paint.
        from storage.search import search

        try:
            hits = await self._store.read(search, text, limit=PAGE)
        except StorageError as error:
            self._post(Trouble(str(error)))
            return []
        return [
            Found(hit.session_id, hit.title, hit.created_utc, snippet=hit.snippet, message_id=hit.message_id)
            for hit in hits
        ]

    async def recover(self) -> str | None:
        """Mark answers that a crash cut short; the last session, when it ends with an answer that was cut short."""
        await self._store.call(answers.recover_interrupted)
        session = await self._store.call(sessions.last_session)
        path = await self._store.call(tree.path, session.id) if session is not None else []
        return path[-1].message.session_id if path and path[-1].message.state == "interrupted" else None

    async def last(self) -> str | None:
        """The session that changed last."""
        session = await self._store.call(sessions.last_session)
        return session.id if session else None

    async def delete(self, session_id: str) -> None:
        """Delete a session; it can be brought back until the app ends."""
        await self._store.call(deletion.delete_session, session_id)
        self._deleted.append(session_id)

    async def restore_last(self) -> str | None:
        """Bring the session back that was deleted last; None when there is none."""
        if not self._deleted:
            return None
        session_id = self._deleted.pop()
        await self._store.call(deletion.restore_session, session_id)
        return session_id


def _found(session: Session) -> Found:
    return Found(session.id, session.title, session.updated_utc, pinned=session.pinned)


def day_words(
    updated_utc: str, today: date | None = None, to_local: Callable[[datetime], datetime] | None = None
) -> str:
    """The day of a stored time as a heading: Today, Yesterday, a weekday, a date."""
    moment = datetime.fromisoformat(updated_utc)
    local = to_local(moment) if to_local else moment.astimezone()
    day = local.date()
    today = today or date.today()
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if today - timedelta(days=7) < day < today:
        return f"{day:%A}"
    return f"{day:%-d %B %Y}"
