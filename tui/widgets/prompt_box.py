"""The box for the next message: enter sends, ctrl+j breaks the line, and pasted lines never send.

It says what the user wants of a key and knows nothing of sessions, commands or files: the screen answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from tui.language import _
from tui.text import safe_text
from tui.widgets.boxes import AfterKeys, Returned, TextBox, is_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tui.widgets.completion_menu import CompletionMenu

PASTE_GAP_S = 0.02
"""Enter sends after this pause. Terminals without bracketed paste deliver the rest of a paste sooner than that."""

TAKEN_LIMIT_S = 2.0
"""Keys that come with an enter wait so long for what it sent: storing it takes milliseconds, unless the disk hangs."""


class PromptBox(TextBox):
    """Grows with its text up to a third of the screen."""

    DEFAULT_CSS = """
    PromptBox {
        height: auto; min-height: 3; max-height: 34vh;
        border: round $foreground 30%;
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
        Binding("tab", "complete", id="prompt.complete", tooltip="Take the chosen completion", show=False),
        Binding("escape", "close_menu", id="prompt.close_menu", tooltip="Close the completions", show=False),
    ]
    HELP = (
        "Enter sends; ctrl+j (or alt+enter) begins a new line. Pasting several lines never sends. Up on the first line"
        " and down on the last one bring back what was asked before. A slash begins a command, tab completes it;"
        " two slashes, or a space before it, send it as text. alt+e opens your editor."
    )

    @dataclass(eq=False, repr=False)
    class Sent(Message):
        """The user wants this to be sent or carried out; spaces before it stay, since one makes a slash a text."""

        text: str
        taken: asyncio.Event = field(default_factory=asyncio.Event)
        """Set by the screen once the text is stored, carried out or refused, and the box is as that leaves it."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            highlight_cursor_line=False,
            placeholder=_("Ask something · / for commands"),
        )
        # A blinking cursor would send bytes over the line for ever.
        self.cursor_blink = False
        self._enter: Timer | None = None
        self._line_key_s = -PASTE_GAP_S
        self.menu: CompletionMenu | None = None
        self.recall: Callable[[bool], Awaitable[None]] | None = None
        """Brings back what was asked before what is shown (True) or after it; keys behind this one wait for it."""
        self.offer: Callable[[str], Awaitable[None]] | None = None
        """Has the menu show how this text may go on."""

    def keeps(self, event: events.Key) -> bool:
        """An enter that waits is sent by the key behind it, which then is for whatever that opens."""
        return (is_text(event) or self._enter is None) and super().keeps(event)

    async def _on_key(self, event: events.Key) -> None:
        """A character or line that follows enter at once shows that the enter was pasted; other keys follow it."""
        # The two make one line break: in pasted text from Windows, whichever of them sends.
        ends_line = event.key == "ctrl+j" and event.time - self._line_key_s < PASTE_GAP_S
        if event.key == "enter":
            self._line_key_s = event.time
        if self._enter is not None and (is_text(event) or event.key in ("enter", "ctrl+j", "tab")):
            self._forget_enter()
            self.insert("\n\t" if event.key == "tab" else "\n")
            if event.key == "tab":
                event.stop()
                event.prevent_default()
        else:
            await self._hand_over()
            if self.app.focused is not self:
                self.app.post_message(Returned(event.copy()))
                ends_line = True
        if ends_line:
            event.stop()
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        """Marked as a paste, it is no part of what an enter before it sends."""
        await self._hand_over()
        if self.app.focused is not self:
            event.stop()
            event.prevent_default()
            self.app.post_message(Returned(events.Paste(event.text)))

    def show_draft(self, text: str) -> None:
        """Put a text in place of what is there, and the cursor behind it."""
        self.text = safe_text(text)
        self.move_cursor(self.document.end)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave tab to others where no command is written, and escape while no completions are shown."""
        is_open = self.menu is not None and self.menu.is_open
        if action == "complete":
            return is_open or self.text.startswith("/")
        return is_open if action == "close_menu" else super().check_action(action, parameters)

    async def action_complete(self) -> None:
        """Take the completion under the menu's cursor, once those of this text are there; without any, as no key."""
        if self.offer is not None:
            await self.offer(self.text)
        if not self._take_chosen():
            raise SkipAction

    def _take_chosen(self) -> bool:
        chosen = self.menu.chosen if self.menu is not None else None
        if chosen is not None:
            self.show_draft(chosen.text)
        return chosen is not None

    def action_close_menu(self) -> None:
        """Close the completions until more is typed."""
        if self.menu is not None:
            self.menu.show([])

    async def action_cursor_up(self, select: bool = False) -> None:  # type: ignore[override]
        """A line up; in the completions, and from the first line to what was asked before."""
        if self.menu is not None and self.menu.is_open:
            self.menu.move(-1)
        elif not select and self.navigator.is_first_wrapped_line(self.cursor_location):
            await self._recall(older=True)
        else:
            super().action_cursor_up(select)

    async def action_cursor_down(self, select: bool = False) -> None:  # type: ignore[override]
        """A line down; in the completions, and from the last line to what was asked after."""
        if self.menu is not None and self.menu.is_open:
            self.menu.move(1)
        elif not select and self.navigator.is_last_wrapped_line(self.cursor_location):
            await self._recall(older=False)
        else:
            super().action_cursor_down(select)

    async def _recall(self, older: bool) -> None:
        if self.recall is not None:
            await self.recall(older)

    def action_send(self) -> None:
        """Send, unless more characters follow at once; a command that is only begun is completed."""
        self._forget_enter()
        if self.menu is not None and self.menu.is_wanted(self.text):
            self._take_chosen()
            return
        self._enter = self.set_timer(PASTE_GAP_S, self._pause_ended)

    def action_break_line(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def _forget_enter(self) -> None:
        if self._enter is not None:
            self._enter.stop()
            self._enter = None

    def _pause_ended(self) -> None:
        enter = self._enter
        # On a busy machine, a character that came at once may still wait for its turn.
        self.app.post_message(AfterKeys(lambda: self._send() if self._enter is enter else None))

    def _send(self) -> Sent | None:
        self._enter = None
        text = safe_text(self.text).rstrip()
        if not text:
            return None
        sent = self.Sent(text)
        # In this box's own queue it would be behind keys that have come.
        self.screen.post_message(sent)
        return sent

    async def _hand_over(self) -> None:
        """Send what waits, and go on once that has acted on the box: what comes next was meant for it as it is then."""
        if self._enter is None:
            return
        self._forget_enter()
        sent = self._send()
        if sent is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(sent.taken.wait(), TAKEN_LIMIT_S)
