"""Boxes to write in, and lists with keys of their own, where keys act in the order in which they were pressed."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.widgets import Input, TextArea

from tui.text import safe_text

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    # Textual takes styles from a class's first base that is a widget.
    Widget = object

_UNPRINTED_TEXT = ("Zs", "Cf")
"""Categories of characters that Python does not call printable, and keyboards write: spaces, joiners, soft hyphens."""


class KeysInOrder(Widget):
    """Does at once what a key is bound to in the widget. Goes before the widget among a class's bases.

    Textual hands such a key on to the app, which finds its binding only after the keys behind it came to the widget
    where several come together: in a slow connection, in tmux, in a paste without marks.
    """

    writes: ClassVar[bool] = True
    """Whether the widget is a box to write in, where characters are text and no keys."""

    async def _on_key(self, event: events.Key) -> None:
        """Obey a key that is no text, and write what the box would leave out."""
        focused = self.screen.focused
        if focused is not None and focused is not self:
            # It came behind one that moved the focus.
            _done(event)
            focused._forward_event(event.copy())
            return
        is_written = self.writes and is_text(event)
        if is_written and event.is_printable:
            return
        bound = self.screen.active_bindings.get(event.key)
        if is_written and bound is None:
            _done(event)
            await self._write(event.character or "")
        elif bound is not None and bound.node is self and await self.app.run_action(bound.binding.action, self):
            _done(event)
        elif self.writes and event.key.startswith("alt+"):
            # It comes with its letter, which would be inserted.
            event.prevent_default()

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


class LineBox(KeysInOrder, Input):
    """One line to write in."""


class TextBox(KeysInOrder, TextArea):
    """Several lines to write in."""
