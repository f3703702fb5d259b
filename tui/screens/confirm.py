"""A question before something is deleted for good."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.dialog import Dialog


class ConfirmScreen(Dialog[bool]):
    """Returns True when the user wants it."""

    DIALOG_TITLE: ClassVar[str] = "Delete for good"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "confirm", "delete", id="confirm.yes", tooltip="Delete it"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def contents(self) -> list[Widget]:
        """The question."""
        return [Static(Content(self._question), classes="text")]

    def action_confirm(self) -> None:
        """Delete it."""
        self.dismiss(True)
