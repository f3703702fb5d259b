"""The engine's last words, and where the rest of them is."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.language import _
from tui.screens.dialog import Dialog
from tui.text import safe_text


class EngineLogScreen(Dialog[None]):
    """Shows the end of the engine's log."""

    DIALOG_TITLE: ClassVar[str] = "The engine's last words"

    def __init__(self, log_tail: list[str], log_path: Path) -> None:
        super().__init__()
        self._log_tail = log_tail
        self._log_path = log_path

    def contents(self) -> list[Widget]:
        """The lines, and the file."""
        lines = safe_text("\n".join(self._log_tail)) or _("Nothing.")
        return [
            VerticalScroll(Static(Content(lines)), classes="scroll"),
            Static(Content.assemble(_("All of it: "), (safe_text(str(self._log_path)), "bold")), classes="text"),
        ]
