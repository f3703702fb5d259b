"""Another title for the open session."""

from __future__ import annotations

from typing import ClassVar

from textual.widget import Widget
from textual.widgets import Input

from tui.language import _
from tui.screens.dialog import Dialog
from tui.text import safe_line
from tui.widgets.boxes import LineBox


class RenameScreen(Dialog[str]):
    """Returns the new title."""

    DIALOG_TITLE: ClassVar[str] = "Title of this session"
    ENTER: ClassVar[str] = "keep"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title_before = title

    def contents(self) -> list[Widget]:
        """One line to edit."""
        return [LineBox(safe_line(self._title_before), placeholder=_("enter keeps it"), compact=True)]

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep it."""
        self.dismiss(safe_line(event.value) or None)
