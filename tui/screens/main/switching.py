"""What is typed on the way to another session: it belongs to that one, as soon as it is shown."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from storage.errors import StorageError
from tui.screens.main.interaction import Interaction
from tui.services.conversation import Conversation
from tui.widgets.prompt_box import PromptBox


class Switching:
    """The text of the prompt box, and whose draft it is."""

    def __init__(self, prompt: PromptBox, conversation: Conversation, interaction: Interaction) -> None:
        self._prompt = prompt
        self._conversation = conversation
        self._interaction = interaction
        self._draft = ""
        self.n_under_way = 0
        """How many times the user went to another session that is not shown yet."""

    def keep_draft(self) -> None:
        """Let the session have what stands in the prompt box, unless that is meant for the next one."""
        if not self.n_under_way:
            self._conversation.set_draft(self._prompt.text)

    def go(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let another session be shown: what is typed from now on belongs to that one."""
        if not self.n_under_way:
            self.keep_draft()
            self._draft = self._prompt.text
            self._prompt.clear()
        self.n_under_way += 1
        self._interaction.do(self._go(deed))

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
