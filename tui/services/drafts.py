"""What is typed and not sent: in the session that is open, and in those that could not take it when they were left."""

from __future__ import annotations

from storage import sessions
from tui.services.store import Store


class Drafts:
    """The open session's draft, and what is kept here of others by their ids, "" for one that is not stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, str] = {}
        self._apart: list[str] = []
        self._unshown: str | None = None
        self.text = ""
        self._is_unsaved = False

    def change(self, text: str) -> bool:
        """Take in what stands in the prompt box by now; False where that is nothing new."""
        text = (self._unshown or "") + text
        if text == self.text:
            return False
        self.text, self._is_unsaved = text, True
        return True

    def clear(self) -> None:
        """Have nothing left of what was sent, in the database either."""
        self.text, self._is_unsaved = self._unshown or "", True

    def take_up(self, session_id: str, stored: str, *, keep_typed: bool = False) -> None:
        """Go on with another session's draft: what was kept of it here, else what is stored.

        keep_typed: what was typed until now comes behind it, and so does what is typed until it is shown.
        """
        typed = self.text if keep_typed else ""
        kept = self._kept.pop(session_id, None)
        self.text, self._is_unsaved = (stored, False) if kept is None else (kept, True)
        self._unshown = self.text if keep_typed else None
        if typed:
            self.change(typed)

    @property
    def to_show(self) -> str:
        """What the prompt box is to show: a draft, or what comes before that which is typed there."""
        return self.text if self._unshown is None else self._unshown

    def is_shown(self) -> None:
        """The prompt box has all of it now."""
        self._unshown = None

    def lose_place(self) -> None:
        """The session whose draft this is has gone: it is stored nowhere."""
        self._is_unsaved = True

    def keep(self, session_id: str) -> None:
        """Keep what is not saved, until that session is opened again."""
        if self._is_unsaved:
            self._kept[session_id] = self.text

    def hand_over(self, session_id: str) -> None:
        """Let another session have what is not saved, as soon as it is opened."""
        if self._is_unsaved:
            self.keep(session_id)
            self.text, self._is_unsaved = "", False

    @property
    def has_apart(self) -> bool:
        """Whether something is kept that is no session's."""
        return bool(self._apart)

    def keep_apart(self, text: str) -> None:
        """Keep what is for no session that is open or was."""
        if text.strip():
            self._apart.append(text)

    def take_kept(self) -> list[str]:
        """What is kept and worth a session of its own; it is kept no more."""
        kept = [text for text in (*self._kept.values(), *self._apart) if text.strip()]
        self._kept.clear()
        self._apart.clear()
        return kept

    async def save(self, session_id: str) -> None:
        """Store the draft of the open session. Raises StorageError; it is unsaved then as before."""
        if not self._is_unsaved:
            return
        # Before the call: what is typed meanwhile is unsaved again.
        self._is_unsaved = False
        try:
            await self._store.call(sessions.set_draft, session_id, self.text)
        except BaseException:
            self._is_unsaved = True
            raise
