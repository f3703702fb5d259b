"""Boxes to write in, where keys act in the order in which they were pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.widgets import Input, TextArea

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    # Textual takes styles from a class's first base that is a widget.
    Widget = object


class KeysInOrder(Widget):
    """Does at once what a key is bound to in the box. Goes before the widget among a class's bases.

    Textual hands such a key on to the app, which finds its binding only after the letters behind it were inserted
    where several keys come together: in a slow connection, in tmux, in a paste without marks.
    """

    async def _on_key(self, event: events.Key) -> None:
        """Obey a key that is no text."""
        is_alt = event.key.startswith("alt+")
        if event.is_printable and not is_alt:
            return
        bound = self.screen.active_bindings.get(event.key)
        if bound is not None and bound.node is self and await self.app.run_action(bound.binding.action, self):
            event.stop()
            event.prevent_default()
        elif is_alt:
            # It comes with its letter, which would be inserted.
            event.prevent_default()


class LineBox(KeysInOrder, Input):
    """One line to write in."""


class TextBox(KeysInOrder, TextArea):
    """Several lines to write in."""
