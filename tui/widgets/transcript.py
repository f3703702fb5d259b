"""What was said in the open session, newest at the bottom; it follows the end unless the reader has scrolled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tui.language import _, ngettext
from tui.text import safe_line
from tui.widgets.code_copies import CodeCopies
from tui.widgets.excerpt import Excerpt
from tui.widgets.following_scroll import FollowingScroll

if TYPE_CHECKING:
    from storage.records import PathMessage
    from tui.messages import AnswerNotes
    from tui.widgets.message_view import MessageView


class Transcript(FollowingScroll, can_focus=True):
    """The messages of one branch, each a MessageView; only those around the reader are mounted."""

    DEFAULT_CSS = """
    Transcript { scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Transcript > Static { color: $text-muted; padding: 0 1 1 2; }
    Transcript > .earlier, Transcript > .later { display: none; }
    Transcript > .held, Transcript > .waiting { color: $text-warning; display: none; }
    Transcript.-waiting > .waiting { display: block; }
    Transcript > KeyHints { display: none; }
    Transcript.-empty > KeyHints { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k,shift+up", "cursor(-1)", "Above", id="chat.cursor_up", tooltip="To the message above"),
        Binding("j,shift+down", "cursor(1)", "Below", id="chat.cursor_down", tooltip="To the message below"),
        Binding("e", "screen.edit_message", "Edit", id="chat.edit", tooltip="Write another version of this message"),
        Binding("r", "screen.again_here", "Again", id="chat.again", tooltip="Have this message answered again"),
        Binding("f", "screen.fork", "Fork", id="chat.fork", tooltip="A session of its own with all up to this message"),
        Binding(
            "d,delete", "screen.delete_message", "Delete", id="chat.delete", tooltip="Delete it and what follows it"
        ),
        Binding("y,c", "copy", "Copy", id="chat.copy", tooltip="Send the message to the terminal's clipboard"),
        Binding("b", "copy_code", "Copy code", id="chat.copy_code", tooltip="Send the message's last code block there"),
        Binding(
            "left_square_bracket",
            "screen.sibling(-1)",
            "Before",
            id="chat.sibling_before",
            tooltip="The version before this one",
            show=False,
        ),
        Binding(
            "right_square_bracket",
            "screen.sibling(1)",
            "After",
            id="chat.sibling_after",
            tooltip="The version after this one",
            show=False,
        ),
    ]
    HELP = (
        "Arrows and page keys scroll, end follows the answer. j and k go to another message, [ and ] to its versions;"
        " e edits it, r answers it again, f forks the session there, d deletes it, y copies it, b its last code block"
        " and, pressed again, the one before."
    )

    @dataclass
    class Copied(Message):
        """The reader wants a text in the clipboard; which: words for what it is, where there are several."""

        text: str
        which: str = ""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._excerpt = Excerpt()
        self._notes: dict[str, AnswerNotes] = {}
        self._code_copies = CodeCopies()
        self._is_moving = False
        self._cursor: str | None = None

    def compose(self) -> ComposeResult:
        """The system prompt on top."""
        yield Static("", classes="system", markup=False)

    async def furnish(self) -> None:
        """Make the notes that come and go, behind the first frame."""
        notes = {
            "earlier": "",
            "later": "",
            "held": "",
            "waiting": _("The answer begins as soon as the model is ready."),
        }
        from tui.widgets.key_hints import KeyHints

        await self.mount_all(Static(text, classes=name, markup=False) for name, text in notes.items())
        await self.mount(KeyHints())

    def follow(self) -> None:
        """Go to the end of the conversation and stay there, also after the reader had scrolled."""
        if self._excerpt.go_to_end():
            self.run_worker(self._show_end(), group="earlier", exclusive=True)
        super().follow()

    async def _show_end(self) -> None:
        await self._reconcile()
        self.call_after_refresh(self.anchor)

    def action_scroll_home(self) -> None:
        """Go to the beginning of the conversation, not only of what is mounted of it."""
        self.release_anchor()
        if self._excerpt.go_to_beginning():
            self.run_worker(self._show_beginning(), group="earlier", exclusive=True)
        super().action_scroll_home()

    async def _show_beginning(self) -> None:
        await self._reconcile()
        self.call_after_refresh(self.scroll_to, y=0, animate=False)

    def action_scroll_end(self) -> None:
        """Go to the end of the conversation, not only of what is mounted of it."""
        self.follow()
        super().action_scroll_end()

    @property
    def views(self) -> list[MessageView]:
        """The messages on screen, oldest first."""
        from tui.widgets.message_view import MessageView

        return list(self.query_children(MessageView))

    @property
    def cursor_item(self) -> PathMessage | None:
        """The message that the cursor stands on."""
        return self._excerpt.find(self._cursor)

    def show_system(self, text: str) -> None:
        """Say what the model is told before the first message."""
        shown = _("System: {prompt}", prompt=safe_line(text, 300)) if text else _("No system prompt.")
        self.query_one(".system", Static).update(Content(shown))

    def show_hints(self, shown: bool) -> None:
        """Name some keys where nothing was said yet."""
        self.set_class(shown, "-empty")

    def show_holder(self, holder: str) -> None:
        """Say who else writes in this session; "" where nobody does."""
        held = self.query_one(".held", Static)
        held.display = bool(holder)
        told = _(
            "Open in another llm-tui ({holder}): here it can be read, and ctrl+t forks it to go on.",
            holder=safe_line(holder),
        )
        held.update(Content(told))

    async def show_path(self, path: list[PathMessage], *, from_start: bool, at: str | None = None) -> None:
        """Show a branch; views of messages that it shares with the one before stay as they are.

        from_start: another session, which begins with its end. at: the message to begin at instead.
        """
        self.show_hints(not path)
        chosen = self.cursor_item
        if from_start:
            self._cursor = None
            self.forget_goal()
        place = self._excerpt.show(path, from_start=from_start, at=at)
        if not from_start and chosen is not None:
            self._cursor = self._excerpt.version_of(chosen)
        await self._reconcile()
        self._show_cursor()
        if place is not None:
            self._put_cursor(place - self._excerpt.first, in_middle=True)
        elif from_start:
            self.follow()

    async def _reconcile(self) -> None:
        wanted = self._excerpt.messages
        views = self.views
        same = 0
        while same < min(len(views), len(wanted)) and views[same].message_id == wanted[same].message.id:
            same += 1
        with self.app.batch_update():
            for view, item in zip(views[:same], wanted, strict=False):
                await view.show_item(item)
            if views[same:]:
                await self.remove_children(views[same:])
            # An answer may have grown meanwhile.
            if new := self._excerpt.messages[same:]:
                await self.mount_all([self._new_view(item) for item in new], before=".later")
        self._show_rest()

    def _show_rest(self) -> None:
        earlier, later = self.query_one(".earlier", Static), self.query_one(".later", Static)
        n_earlier, n_later = self._excerpt.first, self._excerpt.n_later
        earlier.display, later.display = n_earlier > 0, n_later > 0
        if n_earlier:
            told = ngettext(
                "{n} earlier message: scroll up or press home.",
                "{n} earlier messages: scroll up or press home.",
                n_earlier,
            )
            earlier.update(Content(told))
        if n_later:
            told = ngettext(
                "{n} later message: scroll down or press end.", "{n} later messages: scroll down or press end.", n_later
            )
            later.update(Content(told))

    async def show_more(self) -> None:
        """Bring earlier messages back on top, with the reader's place unmoved."""
        if not self._excerpt.first:
            return
        with self._place_kept(0):
            await self.mount_all([self._new_view(item) for item in self._excerpt.go_up()], after=".earlier")
            await self.remove_children(self.views[len(self._excerpt.messages) :])
            self._show_rest()

    async def show_later(self) -> None:
        """Bring more of what follows at the bottom, with the reader's place unmoved."""
        if not self._excerpt.n_later:
            return
        with self._place_kept(-1):
            await self.mount_all([self._new_view(item) for item in self._excerpt.go_down()], before=".later")
            await self.remove_children(self.views[: -len(self._excerpt.messages)])
            self._show_rest()

    @contextmanager
    def _place_kept(self, at: int) -> Iterator[None]:
        """Let the reader see one of the messages where it was, whatever comes and goes around it."""
        view = self.views[at]
        offset = view.virtual_region.y - self.scroll_y

        def go_back() -> None:
            self._is_moving = False
            self.scroll_to(y=view.virtual_region.y - offset, animate=False, immediate=True)

        self._is_moving = True
        try:
            with self.app.batch_update():
                yield
        except asyncio.CancelledError:
            self._is_moving = False
            raise
        self.call_after_refresh(go_back)

    async def grow(self, message_id: str, text: str) -> None:
        """More of an answer came; it is kept also while the reader is too far away for it to be mounted."""
        item = self._excerpt.grow(message_id, text)
        view = self._view(message_id)
        if item is not None and view is not None:
            await view.show_item(item)

    async def settle(self, item: PathMessage, notes: AnswerNotes) -> None:
        """An answer is over; the notes stay with it."""
        self._excerpt.settle(item)
        self._notes[item.message.id] = notes
        view = self._view(item.message.id)
        if view is not None:
            view.notes = notes
            await view.settle(item)

    def _new_view(self, item: PathMessage) -> MessageView:
        # Markdown takes 30 ms to import, so that happens after the first paint.
        from tui.widgets.message_view import MessageView

        return MessageView(item, self._notes.get(item.message.id))

    def _view(self, message_id: str) -> MessageView | None:
        return next((view for view in reversed(self.views) if view.message_id == message_id), None)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Reaching the top brings earlier messages."""
        super().watch_scroll_y(old_value, new_value)
        if self._is_moving:
            return
        if new_value <= 0 < old_value and self._excerpt.first:
            self.run_worker(self.show_more(), group="earlier", exclusive=True)
        elif new_value >= self.max_scroll_y > 0 and new_value > old_value and self._excerpt.n_later:
            self.run_worker(self.show_later(), group="earlier", exclusive=True)

    def action_cursor(self, step: int) -> None:
        """Move the cursor to another message and show it."""
        ids = [view.message_id for view in self.views]
        if ids:
            self._put_cursor(ids.index(self._cursor) + step if self._cursor in ids else len(ids) - 1)

    def _put_cursor(self, at: int, *, in_middle: bool = False) -> None:
        views = self.views
        at = min(max(at, 0), len(views) - 1)
        self._cursor = views[at].message_id
        self._show_cursor()
        self.refresh_bindings()
        # The views may not have their place yet.
        self.release_anchor()
        if in_middle:
            self.keep_in_middle(views[at])
        else:
            self.call_after_refresh(views[at].scroll_visible, animate=False)

    def _show_cursor(self) -> None:
        for view in self.views:
            view.set_class(view.message_id == self._cursor, "-cursor")

    def on_blur(self) -> None:
        """The cursor shows only where keys would move it."""
        self._cursor = None
        self._show_cursor()
        self._code_copies.forget()

    def action_copy(self) -> None:
        """Send the message under the cursor, or the last one, to the terminal's clipboard."""
        item = self.cursor_item or next(reversed(self._excerpt.branch), None)
        if item is not None:
            self.post_message(self.Copied(item.message.content))

    @property
    def _with_code(self) -> Iterable[PathMessage]:
        """Where code to copy is looked for: in the message under the cursor, else in all, the last one first."""
        here = self.cursor_item
        return [here] if here is not None else reversed(self._excerpt.branch)

    @property
    def has_code(self) -> bool:
        """Whether there is code to copy."""
        return self._code_copies.has_any(self._with_code)

    def action_copy_code(self) -> None:
        """Send a code block of the message under the cursor, or of the last one that has any: its last one first."""
        copied = self._code_copies.next_of(self._with_code)
        if copied is not None:
            self.post_message(self.Copied(*copied))
        else:
            self.app.notify(_("There is no code block to copy."), markup=False)
