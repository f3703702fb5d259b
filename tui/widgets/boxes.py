"""Boxes to write in: what they do at once with keys of their own, and with characters that Textual takes for none."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.document import _wrapped_document
from textual.message import Message
from textual.widgets import Input, TextArea
from textual.widgets.input import Selection

from tui.text import safe_text
from tui.widgets.characters import column_at, end_after, end_of, start_before, start_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.widget import Widget
else:
    # Textual takes styles from a class's first base that is a widget.
    Widget = object

# Clicks, and keys that go up and down, would land within characters of several code points.
setattr(_wrapped_document, "cell_width_to_column_index", column_at)  # noqa: B010 - Textual does not export it

_UNPRINTED_TEXT = ("Zs", "Cf")
"""Categories of characters that Python does not call printable, and keyboards write: spaces, joiners, soft hyphens."""

_TAB = 8
"""Cells from one tab stop to the next in a line."""

_WITHIN = ("cursor_", "delete_")
"""What actions are called that change nothing but a box's text and the place in it."""


@dataclass
class Returned(Message):
    """A key or a paste that a box has got, and that is for whoever has the focus now. To be posted to the app."""

    event: events.Key | events.Paste


@dataclass
class AfterKeys(Message):
    """What is to be done once all keys have acted that came before. To be posted to the app."""

    do: Callable[[], object]


class BoxKeys(Widget):
    """Obeys the box's own keys, and writes what is text. Goes before the widget among a class's bases.

    Textual would have such a key go up to the app, through the queue of a screen that may be busy drawing an answer.
    """

    async def _on_key(self, event: events.Key) -> None:
        """Obey a key that is no text, and write what the box would leave out."""
        is_written = is_text(event)
        if is_written and event.is_printable:
            return
        bound = self.screen.active_bindings.get(event.key)
        if is_written and bound is None:
            _done(event)
            await self._write(event.character or "")
        elif bound is not None and bound.node is self and await self.app.run_action(bound.binding.action, self):
            _done(event)
        elif event.key.startswith("alt+"):
            # It comes with its letter, which would be inserted.
            event.prevent_default()

    def keeps(self, event: events.Key) -> bool:
        """Whether a key writes here, erases or moves the cursor, and does nothing else."""
        if is_text(event):
            return True
        bound = self.screen.active_bindings.get(event.key)
        return bound is not None and bound.node is self and bound.binding.action.startswith(_WITHIN)

    async def _write(self, character: str) -> None:
        """Write a character as if it had been pasted: one that turns the order of others becomes visible."""
        pasted = events.Paste(safe_text(character))
        pasted.stop()
        await self.on_event(pasted)


def _done(event: events.Key) -> None:
    event.stop()
    event.prevent_default()


def is_text(event: events.Key) -> bool:
    """Whether a key writes a character, and is no alt with one."""
    character = event.character
    if character is None or event.key.startswith("alt+"):
        return False
    return event.is_printable or (len(character) == 1 and unicodedata.category(character) in _UNPRINTED_TEXT)


class LineBox(BoxKeys, Input):
    """One line to write in."""

    def action_cursor_left(self, select: bool = False) -> None:
        """Go to the beginning of the character before."""
        if not (select or self.selection.is_empty):
            super().action_cursor_left()
        else:
            self._go(start_before(self.value, self.cursor_position), select)

    def action_cursor_right(self, select: bool = False) -> None:
        """Go to the end of the character behind."""
        if not (select or self.selection.is_empty):
            super().action_cursor_right()
        else:
            self._go(end_after(self.value, self.cursor_position), select)

    def _cell_offset_to_index(self, offset: int) -> int:
        """Where the character begins that is clicked. Textual has no public way."""
        return column_at(self.value, offset + self.scroll_offset.x, _TAB)

    def _go(self, at: int, select: bool) -> None:
        self.selection = Selection(self.selection.start if select else at, at)

    def action_delete_left(self) -> None:
        """Erase the character before, or what is selected."""
        self._erase(start_before(self.value, self.cursor_position), self.cursor_position)

    def action_delete_right(self) -> None:
        """Erase the character behind, or what is selected."""
        self._erase(self.cursor_position, end_after(self.value, self.cursor_position))

    def _erase(self, start: int, end: int) -> None:
        if self.selection.is_empty:
            self.delete(start, end)
        else:
            self.delete_selection()


class TextBox(BoxKeys, TextArea):
    """Several lines to write in."""

    def get_cursor_left_location(self) -> tuple[int, int]:
        """The beginning of the character before the cursor, or the end of the line before."""
        row, column = self.cursor_location
        if not column:
            return super().get_cursor_left_location()
        return row, start_before(self.document.get_line(row), column)

    def get_cursor_right_location(self) -> tuple[int, int]:
        """The end of the character behind the cursor, or the beginning of the line behind."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        return (row, end_after(line, column)) if column < len(line) else super().get_cursor_right_location()

    def get_cursor_word_left_location(self) -> tuple[int, int]:
        """The word's beginning, or the end of what is before it: a letter's marks are no word of their own."""
        row, column = super().get_cursor_word_left_location()
        return row, start_of(self.document.get_line(row), column)

    def get_cursor_word_right_location(self) -> tuple[int, int]:
        """The word's end, or the beginning of what is behind it."""
        row, column = super().get_cursor_word_right_location()
        return row, end_of(self.document.get_line(row), column)
