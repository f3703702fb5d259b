"""What the model is told before the first message of the open session."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from tui.language import _
from tui.screens.text_dialog import TextDialog


class SystemPromptScreen(TextDialog):
    """Returns the new system prompt; an empty one switches it off."""

    DIALOG_TITLE: ClassVar[str] = "System prompt of this session"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "keep", id="system.keep", tooltip="Keep it, from the next answer on", priority=True),
    ]

    def contents(self) -> list[Widget]:
        """A box to edit."""
        return self.text_parts(_("It stands before every message and holds from the next answer on. Empty: none."))
