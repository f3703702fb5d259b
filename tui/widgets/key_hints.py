"""What stands in an empty chat: a few keys to begin with, and what they do."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tui.language import N_, _

HINTED = {
    "pane.engine": N_("temperature and other sliders"),
    "pane.candidates": N_("what else the model might say"),
    "pane.history": N_("sessions, and search in them"),
    "model.choose": N_("models here, or to be fetched"),
    "app.help": N_("all keys"),
}
"""Bindings by their ids, whatever keys the user has given them, and what these lead to."""

_BETWEEN = "  "


class KeyHints(Widget):
    """A line for each key, as the screen's bindings tell it."""

    DEFAULT_CSS = """
    KeyHints {
        height: auto; width: 1fr; padding: 0 1 0 2; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis;
    }
    KeyHints > .key-hints--key { color: $text-accent; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-hints--key"}
    ALLOW_SELECT = False

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """A line a key."""
        return len(HINTED)

    def render(self) -> RenderResult:
        """Keys in a column, and what they do beside them."""
        bindings = [active.binding for active in self.screen.active_bindings.values()]
        # A binding may have several keys: the first is the one to name.
        keys = {binding.id: self.app.get_key_display(binding) for binding in reversed(bindings) if binding.id in HINTED}
        width = max(map(cell_len, keys.values()), default=0)
        lines = [
            Content.assemble((keys[name].ljust(width), ".key-hints--key"), _BETWEEN, _(told))
            for name, told in HINTED.items()
            if name in keys
        ]
        return Content("\n").join(lines)
