"""A branch of messages, and the part of it around the reader that is mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from storage.records import PathMessage

PAGE = 24
"""Messages that are shown at once at most when a session opens."""

STEP = 6
"""Messages that scrolling brings at a time: few, so that it does not stand still for them."""

MOST = 60
"""So many stay mounted: of a long session, what is far from the reader goes, and is brought back."""


class Excerpt:
    """The messages from `first` up to `end` of a branch, whose newest may still grow."""

    def __init__(self) -> None:
        self.branch: list[PathMessage] = []
        self.first = self.end = 0
        # The answer whose text comes piece by piece: the database is behind or ahead of what was handed on of it.
        self._growing: str | None = None

    @property
    def messages(self) -> list[PathMessage]:
        """Those that are to be mounted, oldest first."""
        return self.branch[self.first : self.end]

    @property
    def n_later(self) -> int:
        """How many follow."""
        return len(self.branch) - self.end

    def find(self, message_id: str | None) -> PathMessage | None:
        """A message of the branch, mounted or not."""
        return next((item for item in reversed(self.branch) if item.message.id == message_id), None)

    def version_of(self, item: PathMessage) -> str | None:
        """The version of a message that is in the branch: itself, or another one; None where there is none."""
        versions = [other.message.id for other in self.branch if other.message.parent_id == item.message.parent_id]
        return versions[0] if versions else None

    def show(self, branch: list[PathMessage], *, from_start: bool, at: str | None) -> int | None:
        """Go over to a branch; returns where the message `at` is in it.

        from_start: another session, of which its last PAGE messages are shown, or those around `at`.
        """
        was_at_end = not self.n_later
        self.branch = [self._as_grown(item) for item in branch]
        place = next((n for n, item in enumerate(branch) if item.message.id == at), None)
        if from_start:
            self.end = len(branch) if place is None else min(place + PAGE // 2, len(branch))
            self.first = max(self.end - PAGE, 0)
        elif was_at_end:
            self.end = len(branch)
        self.end = min(self.end, len(branch))
        self.first = min(self.first, max(self.end - 1, 0))
        return place

    def go_to_end(self) -> bool:
        """Have the last PAGE messages; False where the end is there already."""
        if not self.n_later:
            return False
        self.end = len(self.branch)
        self.first = max(self.end - PAGE, 0)
        return True

    def go_to_beginning(self) -> bool:
        """Have the first PAGE messages; False where the beginning is there already."""
        if not self.first:
            return False
        self.first, self.end = 0, min(PAGE, len(self.branch))
        return True

    def go_up(self) -> list[PathMessage]:
        """Have STEP more on top, which are returned; below, those beyond MOST are no longer shown."""
        before, self.first = self.first, max(self.first - STEP, 0)
        # What is being written grows where it is.
        if self.branch[-1].message.state != "writing":
            self.end = min(self.end, self.first + MOST)
        return self.branch[self.first : before]

    def go_down(self) -> list[PathMessage]:
        """Have STEP more at the bottom, which are returned; on top, those beyond MOST are no longer shown."""
        before, self.end = self.end, min(self.end + STEP, len(self.branch))
        self.first = max(self.first, self.end - MOST)
        return self.branch[before : self.end]

    def grow(self, message_id: str, text: str) -> PathMessage | None:
        """More of an answer came; None where it is not of this branch."""
        item = self.find(message_id)
        if item is None:
            return None
        self._growing = message_id
        grown = _with_text(item, item.message.content + text)
        self._replace(grown)
        return grown

    def settle(self, item: PathMessage) -> None:
        """An answer is over."""
        self._growing = None
        self._replace(item)

    def _replace(self, item: PathMessage) -> None:
        for at in reversed(range(len(self.branch))):
            if self.branch[at].message.id == item.message.id:
                self.branch[at] = item
                return

    def _as_grown(self, item: PathMessage) -> PathMessage:
        """A message from the database; of an answer that grows here, with the text that came here."""
        if item.message.id != self._growing or item.message.state != "writing":
            return item
        shown = self.find(item.message.id) or item
        return _with_text(item, shown.message.content)


def _with_text(item: PathMessage, text: str) -> PathMessage:
    """The message of an answer that is being written, with its text so far."""
    message = msgspec.structs.replace(item.message, content=text, state="writing")
    return msgspec.structs.replace(item, message=message)
