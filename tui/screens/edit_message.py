"""Another version of a message, on a branch of its own."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import ActiveBinding, Binding, BindingType
from textual.widget import Widget
from textual.widgets import TextArea

from storage.records import Message
from tui.language import N_, _
from tui.screens.spoken_keys import shown_as
from tui.screens.text_dialog import TextDialog

_WHAT_FOLLOWS = {
    "user": N_("The new version is answered; the old one and all that follows it stay beside it; alt+left shows them."),
    "assistant": N_("The conversation goes on from your version; the model's own stays beside it; alt+left shows it."),
}


class EditMessageScreen(TextDialog):
    """Returns the new text."""

    DIALOG_TITLE: ClassVar[str] = "Another version of this message"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "send", id="edit.keep", tooltip="Make it a new branch", priority=True),
    ]

    def __init__(self, message: Message, unkept: dict[str, str]) -> None:
        super().__init__(message.content, message.id, unkept)
        self._role = message.role

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys; only a message of the user's is sent."""
        active = super().active_bindings
        if self._role != "user":
            for key, keep in active.items():
                if keep.binding.id == "edit.keep":
                    active[key] = shown_as(keep, _("keep"))
        return active

    def contents(self) -> list[Widget]:
        """A box to edit."""
        return self.text_parts(_(_WHAT_FOLLOWS.get(self._role, "")))

    def on_mount(self) -> None:
        """Most go on writing at the end."""
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
