"""Help: every key that does something here, and what."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.language import N_, _
from tui.screens.dialog import Dialog
from tui.widgets.key_table import KeyTable

_HERE, _EVERYWHERE, _MOVING = N_("In this pane"), N_("Everywhere"), N_("Moving and editing")
_INTRODUCTION = N_("""\
Everything works from the keyboard. Tab goes from pane to pane, ctrl+p opens the command palette with every command.\
""")


class HelpScreen(Dialog[None]):
    """Reads the keys from the screen below, so that it tells what is, also after keys were changed."""

    DIALOG_TITLE: ClassVar[str] = "Help"

    def __init__(self, below: Screen[object]) -> None:
        super().__init__()
        self._below = below

    def contents(self) -> list[Widget]:
        """One line a key, grouped by the part that it belongs to."""
        parts: list[Content] = [Content(_(_INTRODUCTION))]
        focused = self._below.focused
        about = getattr(focused, "HELP", None) if focused is not None else None
        if about:
            parts += [Content(""), Content.styled(_("Here"), "bold"), Content(_(str(about)))]
        groups: dict[str, dict[str, list[str]]] = {_HERE: {}, _EVERYWHERE: {}, _MOVING: {}}
        for active in self._below.active_bindings.values():
            binding = active.binding
            text = binding.tooltip or binding.description
            if text and not binding.system:
                group = _EVERYWHERE if active.node in (self._below, self.app) else _HERE if binding.tooltip else _MOVING
                groups.setdefault(group, {}).setdefault(text, []).append(self.app.get_key_display(binding))
        table = KeyTable({_(group): lines for group, lines in groups.items()})
        return [VerticalScroll(Static(Content("\n").join(parts)), table, classes="scroll")]
