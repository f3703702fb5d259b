"""What the model is told before the first message of the open session."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static, TextArea

from tui.language import _
from tui.screens.dialog import Dialog
from tui.text import safe_text


class SystemPromptScreen(Dialog[str]):
    """Returns the new system prompt; an empty one switches it off."""

    DIALOG_TITLE: ClassVar[str] = "System prompt of this session"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "keep", id="system.keep", tooltip="Keep it, from the next answer on", priority=True),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def contents(self) -> list[Widget]:
        """A box to edit."""
        explanation = _("It stands before every message and holds from the next answer on. Empty: none.")
        return [Static(Content(explanation), classes="text"), TextArea(safe_text(self._text), soft_wrap=True)]

    def action_keep(self) -> None:
        """Keep it."""
        self.dismiss(safe_text(self.query_one(TextArea).text).strip())
