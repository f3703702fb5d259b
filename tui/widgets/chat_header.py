"""The line above the chat: which session this is, and which model answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.language import _
from tui.text import fitted, human_count, safe_line

if TYPE_CHECKING:
    from engine.protocol import ModelCard


def model_words(card: ModelCard | None) -> str:
    """A model in a few words: its name, its size unless the name says it, its quantisation."""
    if card is None:
        return _("no model")
    name = safe_line(card.name, 40)
    size = human_count(card.parameters).replace(" ", "")
    parts = [name if size.casefold() in name.casefold() or not card.parameters else f"{name} {size}"]
    if card.quantization.casefold() not in name.casefold():
        parts.append(safe_line(card.quantization, 12))
    return " · ".join(parts)


class ChatHeader(Widget):
    """Title on the left, model on the right; the title gives way when both do not fit."""

    DEFAULT_CSS = """
    ChatHeader { height: 1; width: 1fr; padding: 0 1; background: $panel; color: $foreground; }
    ChatHeader.-reading { color: $text-accent; }
    ChatHeader > .chat-header--model { color: $foreground 70%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"chat-header--model"}

    session_title: reactive[str] = reactive(lambda: _("New session"))
    model: reactive[str] = reactive(lambda: _("no model"))
    is_reading: reactive[bool] = reactive(False, toggle_class="-reading")
    """Whether keys go to the messages below, which have no frame to show it."""

    def render(self) -> RenderResult:
        """Both ends of the line."""
        width = self.content_size.width
        model = self.model if cell_len(self.model) <= width else ""
        room = width - cell_len(model) - 1
        title = fitted(safe_line(self.session_title), room, least=5)
        gap = max(width - cell_len(title) - cell_len(model), 0)
        title_style = "bold underline" if self.is_reading else "bold"
        return Content.assemble((title, title_style), " " * gap, (model, ".chat-header--model"))
