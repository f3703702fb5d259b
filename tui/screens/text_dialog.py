"""What the dialogs share in which a longer text is written: nothing that was written is lost without a word."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static, TextArea

from tui.language import _
from tui.screens.dialog import Dialog
from tui.text import safe_text
from tui.widgets.boxes import TextBox


class TextDialog(Dialog[str]):
    """Returns the text. Closed with another one than it began with, it offers that again the next time.

    about: what the text belongs to. unkept: where such texts are until then, each by what it belongs to.
    """

    def __init__(self, text: str, about: str, unkept: dict[str, str]) -> None:
        super().__init__()
        self._text = safe_text(text)
        self._about = about
        self._unkept = unkept
        self._warned_of = ""

    def text_parts(self, explanation: str) -> list[Widget]:
        """What the text is for, and the box to write it in."""
        parts: list[Widget] = [Static(Content(explanation), classes="text"), TextBox(self._text, soft_wrap=True)]
        if self._about in self._unkept:
            again = _("You wrote this here and did not keep it; ctrl+z takes it back.")
            parts.insert(1, Static(Content(again), classes="text"))
        return parts

    def on_mount(self) -> None:
        """Offer again what was written and not kept."""
        area = self.query_one(TextArea)
        self._text = area.text
        if (written := self._unkept.pop(self._about, None)) is not None:
            area.replace(written, area.document.start, area.document.end)

    @property
    def written(self) -> str:
        """What stands in the box."""
        return safe_text(self.query_one(TextArea).text).strip()

    def action_keep(self) -> None:
        """Return what is written."""
        self.dismiss(self.written)

    def action_close(self) -> None:
        """Close, and change nothing."""
        if self._is_changed:
            self._unkept[self._about] = self.query_one(TextArea).text
        super().action_close()

    @property
    def _is_changed(self) -> bool:
        return self.query_one(TextArea).text != self._text

    @property
    def unkept(self) -> str:
        """What is written and not kept yet, "" for nothing."""
        return self.written if self.query(TextArea) and self._is_changed else ""

    def warns_of_loss(self) -> bool:
        """Whether a text would be lost if the app was left now, which is said; False once it was said."""
        if not self._is_changed or self.written == self._warned_of:
            return False
        self._warned_of = self.written
        self.notify(_("This text is not kept yet: ctrl+s keeps it, ctrl+q again leaves without it."), markup=False)
        return True
