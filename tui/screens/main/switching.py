"""The way to another session. What is typed on it belongs to that one, as soon as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from storage.errors import StorageError
from tui.language import _
from tui.screens.main.interaction import Interaction
from tui.services.opening import Opening
from tui.services.saving import Saving
from tui.widgets.prompt_box import PromptBox


class Switching:
    """Goes to another session, and knows whose draft the text of the prompt box is.

    go_back: to the prompt box, out of a pane that lies over the chat.
    """

    def __init__(
        self,
        prompt: PromptBox,
        opening: Opening,
        saving: Saving,
        go_back: Callable[[], None],
        interaction: Interaction,
    ) -> None:
        self._prompt = prompt
        self._opening = opening
        self._saving = saving
        self._go_back = go_back
        self._interaction = interaction
        self._draft = ""
        self.n_under_way = 0
        """How many times the user went to another session that is not shown yet."""

    def keep_draft(self) -> None:
        """Let the session have what stands in the prompt box, unless that is meant for the next one."""
        if not self.n_under_way:
            self._saving.take_draft(self._prompt.text)

    def show_before(self, draft: str) -> None:
        """Put the draft of a session that nobody went to before what is typed in it."""
        self._saving.draft_is_shown()
        # On the way to yet another one, what stands in the box is for that.
        if draft and not self.n_under_way:
            self._prompt.show_draft(draft + self._prompt.text)
        self.keep_draft()

    def begin(self) -> None:
        """Go to a new session."""
        self._set_out(self._opening.new())

    def open(self, session_id: str, message_id: str | None) -> None:
        """Go to a stored one, to one of its messages where that is named."""
        self._set_out(self._opening.open(session_id, at=message_id))

    def fork(self, message_id: str) -> None:
        """Go to a copy of the open one that ends with this message."""
        self._set_out(self._fork(message_id))

    async def _fork(self, message_id: str) -> None:
        await self._opening.fork(message_id)
        self._interaction.tell(_("This is a copy, a session of its own; the other one stays as it is."))

    def _set_out(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let another session be shown: what is typed from now on belongs to that one."""
        if not self.n_under_way:
            self.keep_draft()
            self._draft = self._prompt.text
            self._prompt.clear()
        self.n_under_way += 1
        self._interaction.do(self._go(deed))
        self._go_back()

    async def _go(self, deed: Coroutine[Any, Any, object]) -> None:
        try:
            await deed
        except StorageError:
            self.arrive(None)
            raise

    def arrive(self, draft: str | None) -> None:
        """Put a session's draft before what was typed since the user went there; None: the session is the same.

        Where the user has gone on meanwhile, the draft waits: it is for the session that is shown in the end.
        """
        typed = self._prompt.text if self.n_under_way else ""
        if draft is not None:
            self._draft = draft
        self.n_under_way = max(self.n_under_way - 1, 0)
        if self.n_under_way:
            return
        if self._draft or not typed:
            self._prompt.show_draft(self._draft + typed)
        self.keep_draft()
