"""One message of the transcript: who said it, which of its siblings it is, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive, reactive
from textual.widget import Widget
from textual.widgets import Static

from storage.answer_tokens import AnswerTokens
from storage.records import PathMessage
from tui.language import N_, _, ngettext
from tui.messages import AnswerNotes
from tui.text import fitted, safe_line, safe_text
from tui.widgets.answer_body import AnswerBody
from tui.widgets.even_lines import EvenLines
from tui.widgets.tinted_text import TintedText, can_tint

TINTED = "-tinted"
"""The screen's class while answers are to be tinted."""

_BEFORE = "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"
_AFTER = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
_LEAST_NAME = 5
"""Of a name in fewer cells nobody could tell whose it is."""
_STATE_NOTES = {
    "writing": N_("writing …"),
    "stopped": N_("stopped"),
    "interrupted": N_("interrupted"),
    "failed": N_("failed"),
}


class MessageHeading(Widget):
    """The line above a message; the name gives way when both do not fit."""

    DEFAULT_CSS = """
    MessageHeading { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    MessageHeading > .heading--note { color: $foreground 65%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"heading--note"}

    name_text: reactive[str] = reactive("")
    note: reactive[str] = reactive("")

    def render(self) -> RenderResult:
        """The name on the left, the note on the right."""
        width, name = self.content_size.width, self.name_text
        room = width - cell_len(self.note) - 1
        if self.note:
            name = fitted(name, room, _LEAST_NAME)
        gap = max(width - cell_len(name) - cell_len(self.note), 0)
        return Content.assemble((name, "bold"), " " * gap, (self.note, ".heading--note"))


class MessageView(EvenLines, Vertical):
    """A message with its heading; the transcript's cursor may stand on it."""

    DEFAULT_CSS = """
    MessageView { height: auto; padding: 0 1; border-left: blank; }
    MessageView.-user MessageHeading { color: $text-accent; }
    MessageView.-assistant MessageHeading { color: $text-primary; }
    MessageView.-user > .text { margin-bottom: 1; }
    MessageView > .text { width: 1fr; }
    MessageView > .failure { height: auto; width: 1fr; margin-bottom: 1; color: $text-error; }
    MessageView.-cursor { border-left: outer $accent; background: $boost; }
    MessageView:nocolor.-cursor MessageHeading { text-style: reverse; }
    """

    # The transcript arranges us in the same pass as the answer grows: no second one for the new size.
    virtual_size = Reactive(Size(0, 0))

    @dataclass
    class TintWanted(Message):
        """This answer has come on screen, where answers are tinted."""

        view: MessageView

    def __init__(self, item: PathMessage, notes: AnswerNotes | None = None) -> None:
        super().__init__(classes=f"-{item.message.role}")
        self.item = item
        self.notes = notes or AnswerNotes()
        self._body: AnswerBody | None = None
        self._is_filled = False

    @property
    def message_id(self) -> str:
        """The message's id in the database."""
        return self.item.message.id

    def compose(self) -> ComposeResult:
        """Heading and text; a user's text is shown as it was typed, an answer as Markdown."""
        yield MessageHeading()
        if self.item.message.role == "assistant":
            self._body = AnswerBody("" if self._may_grow else self.item.message.content)
            yield self._body
        else:
            yield Static(Content(safe_text(self.item.message.content)), classes="text")

    @property
    def _may_grow(self) -> bool:
        """Whether more of an answer may come; it then grows from its beginning, or its last block would begin anew."""
        return self.item.message.state != "complete"

    async def on_mount(self) -> None:
        """Fill the heading, and show what came of an answer until now."""
        self._is_filled = True
        self._show_heading()
        await self._show_failure()
        self._want_tint()
        if self._body is None or self._body.source == safe_text(self.item.message.content):
            return
        if self._may_grow:
            await self._body.grow(self.item.message.content)
        else:
            await self._body.settle(self.item.message.content)

    async def tint(self, tokens: AnswerTokens | None) -> None:
        """Show the answer with its tokens tinted; as Markdown where nothing is known of them, or with None."""
        if self._body is None:
            return
        with self.app.batch_update():
            await self.query(TintedText).remove()
            self._body.display = tokens is None or not can_tint(tokens)
            if tokens is not None and not self._body.display:
                await self.mount(TintedText(self.item.message.content, tokens), after=self._body)

    async def show_item(self, item: PathMessage) -> None:
        """Take over what changed about the message: an answer grows by what it has more, or is over."""
        before, after = self.item.message, item.message
        self.item = item
        if not self._is_filled:
            return
        self._show_heading()
        await self._show_failure()
        if self._body is None or (after.content, after.state) == (before.content, before.state):
            return
        if after.state != "writing" or not after.content.startswith(before.content):
            await self.settle(item)
        elif more := after.content[len(before.content) :]:
            if not self._body.display:
                await self.tint(None)
            await self._body.grow(more)

    async def settle(self, item: PathMessage) -> None:
        """The answer is over."""
        self.item = item
        if not self._is_filled:
            return
        self._show_heading()
        await self._show_failure()
        if self._body is not None:
            await self._body.settle(item.message.content)
            self._want_tint()

    def _want_tint(self) -> None:
        if self._body is not None and self.screen.has_class(TINTED):
            self.post_message(self.TintWanted(self))

    async def _show_failure(self) -> None:
        """Say below an answer why it failed, until it goes on."""
        failure = self.notes.failure if self.item.message.state == "failed" else ""
        shown = self.query_children(".failure")
        if shown and not failure:
            await shown.remove()
        elif failure and not shown:
            await self.mount(Static(Content(safe_text(failure)), classes="failure"))

    def _show_heading(self) -> None:
        message = self.item.message
        heading = self.query_one(MessageHeading)
        heading.name_text = _("You") if message.role == "user" else safe_line(message.model or _("Answer"), 40)
        notes = [_(_STATE_NOTES.get(message.state, ""))]
        if left_out := self.notes.left_out:
            notes.append(ngettext("without the oldest turn", "without the oldest {n} turns", left_out))
        if self.item.sibling_count > 1:
            notes.append(f"{_BEFORE} {self.item.sibling_index + 1}/{self.item.sibling_count} {_AFTER}")
        heading.note = "  ".join(note for note in notes if note)
