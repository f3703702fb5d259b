"""The files that go with the next message, in a line above the prompt box."""

from __future__ import annotations

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui.language import _
from tui.messages import EngineChanged
from tui.screens.main.interaction import Interaction
from tui.services.attachments import Attachments
from tui.widgets.prompt_box import PromptBox


class AttachedFiles:
    """Taken by their names, and shown; the line is there from the first of them on."""

    def __init__(self, attachments: Attachments, chat: Vertical, prompt: PromptBox, interaction: Interaction) -> None:
        self._attachments = attachments
        self._chat = chat
        self._prompt = prompt
        self._interaction = interaction
        self._line: Static | None = None

    async def attach(self, name: str) -> None:
        """Let a text file go with the next message. Raises AttachError."""
        await self._attachments.add(name)
        self._show_soon()

    def detach(self, name: str) -> None:
        """Take a file back, or all."""
        if not self._attachments.remove(name):
            self._interaction.tell(_("No such file is attached."), "warning")
        self._show_soon()

    def message(self, text: str) -> str:
        """The message with its files."""
        return self._attachments.message(text)

    def message_sent(self) -> None:
        """They went with a message: none are left."""
        self._attachments.remove("")
        self._show_soon()

    async def model_changed(self, event: EngineChanged) -> None:
        """Another model makes other tokens of them."""
        if event.phase == "ready" and self._attachments.files:
            await self._attachments.count()
            self._show_soon()

    def _show_soon(self) -> None:
        self._interaction.run(self._show, "attachments", exclusive=True)

    async def _show(self) -> None:
        words = self._attachments.words
        if self._line is None:
            if not words:
                return
            self._line = Static("", id="attached", markup=False)
            await self._chat.mount(self._line, before=self._prompt)
        self._line.update(Content(words))
        self._line.styles.padding = (0, 2)
        self._line.display = bool(words)
