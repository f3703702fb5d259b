"""Another version of a message, on a branch of its own."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static, TextArea

from storage.records import Message
from tui.language import N_, _
from tui.screens.dialog import Dialog
from tui.text import safe_text

_WHAT_FOLLOWS = {
    "user": N_("The new version is answered; the old one and all that follows it stay beside it; alt+left shows them."),
    "assistant": N_("The conversation goes on from your version; the model's own stays beside it; alt+left shows it."),
}


class EditMessageScreen(Dialog[str]):
    """Returns the new text."""

    DIALOG_TITLE: ClassVar[str] = "Another version of this message"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "send", id="edit.keep", tooltip="Make it a new branch", priority=True),
    ]

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._message = message

    def contents(self) -> list[Widget]:
        """A box to edit."""
        area = TextArea(safe_text(self._message.content), soft_wrap=True)
        area.move_cursor(area.document.end)
        return [Static(Content(_(_WHAT_FOLLOWS.get(self._message.role, ""))), classes="text"), area]

    def action_keep(self) -> None:
        """Make it a new branch, unless nothing is left of it."""
        self.dismiss(safe_text(self.query_one(TextArea).text).strip() or None)
