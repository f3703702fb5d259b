"""The box for the next message: enter sends, ctrl+j breaks the line, and pasted lines never send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from tui.text import safe_text

PASTE_GAP_S = 0.02
"""Enter sends after this pause. Terminals without bracketed paste deliver the rest of a paste sooner than that."""


class PromptBox(TextArea):
    """Grows with its text up to a third of the screen."""

    DEFAULT_CSS = """
    PromptBox {
        height: auto; min-height: 3; max-height: 34vh;
        border: round $foreground 30%;
        padding: 0 1;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    PromptBox:focus { border: round $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "send", id="prompt.send", tooltip="Send the message", key_display="enter"),
        Binding(
            "ctrl+j,alt+enter,shift+enter",
            "break_line",
            "line",
            id="prompt.line",
            tooltip="Begin a new line",
        ),
    ]
    HELP = "Enter sends; ctrl+j (or alt+enter) begins a new line. Pasting several lines never sends."

    @dataclass
    class Sent(Message):
        """The user wants this to be sent."""

        text: str

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            highlight_cursor_line=False,
            placeholder="Ask something · enter sends · ctrl+j begins a new line",
        )
        # A blinking cursor would send bytes over the line for ever.
        self.cursor_blink = False
        self._enter: Timer | None = None

    async def _on_key(self, event: events.Key) -> None:
        """A character that follows enter at once shows that the enter was pasted."""
        if self._enter is not None and (event.is_printable or event.key == "enter"):
            self._forget_enter()
            self.insert("\n")
        if event.key == "enter":
            # TextArea would break the line. Bindings run only after the keys behind this one, too late for a paste.
            event.prevent_default()
            bound = self.screen.active_bindings.get("enter")
            if bound is not None and bound.binding.id == "prompt.send":
                event.stop()
                self.action_send()

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.insert(safe_text(event.text.replace("\r\n", "\n").replace("\r", "\n")))

    def show_draft(self, text: str) -> None:
        """Put a text in place of what is there, and the cursor behind it."""
        self.text = safe_text(text)
        self.move_cursor(self.document.end)

    def action_send(self) -> None:
        """Send, unless more characters follow at once."""
        self._forget_enter()
        self._enter = self.set_timer(PASTE_GAP_S, self._send)

    def action_break_line(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def _forget_enter(self) -> None:
        if self._enter is not None:
            self._enter.stop()
            self._enter = None

    def _send(self) -> None:
        self._enter = None
        text = safe_text(self.text).strip()
        if text:
            self.post_message(self.Sent(text))
