"""The keys that do something now, on the last line of the screen.

One widget, where Textual's footer has one for each key and makes them all anew at every change: an answer that begins
and ends changes them a few times, and what that costs is taken from the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import msgspec
from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.screen import Screen

_BETWEEN = "  "
_WAY_OUT = "escape"


class Key(msgspec.Struct, frozen=True):
    """A key of the line: what to press, how it is written, what it does in a word and in a sentence."""

    key: str
    shown: str
    word: str
    tooltip: str

    @property
    def width(self) -> int:
        """Cells that it takes."""
        return cell_len(f"{self.shown} {self.word}")


def _fitting(keys: Iterable[Key], room: int) -> list[Key]:
    """The first of them, as many as fit side by side."""
    keys = list(keys)
    ends = accumulate(key.width + len(_BETWEEN) for key in keys)
    return [key for key, end in zip(keys, ends, strict=True) if end - len(_BETWEEN) <= room]


class KeyLine(Widget, can_focus=False):
    """Keys from left to right, as many as fit, and always the one that leads out.

    On the right the command palette's, with which all others are found.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyLine {
        dock: bottom; height: 1; text-wrap: nowrap; color: $footer-foreground; background: $footer-background;
    }
    KeyLine > .key-line--key { color: $footer-key-foreground; text-style: bold; }
    KeyLine > .key-line--word { color: $footer-description-foreground; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--word"}

    keys: reactive[tuple[Key, ...]] = reactive(())
    palette: reactive[Key | None] = reactive(None)
    show_command_palette: reactive[bool] = reactive(True)

    def on_mount(self) -> None:
        """Follow what the focused widget and the screen bind."""
        self.screen.bindings_updated_signal.subscribe(self, self._take_bindings)

    def on_unmount(self) -> None:
        """Follow no longer."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _take_bindings(self, screen: Screen[object]) -> None:
        if not (self.is_attached and screen is self.screen and self.app.app_focus):
            return
        bindings = screen.active_bindings
        of_action: dict[str, Key] = {}
        for _, binding, enabled, tooltip in bindings.values():
            if binding.show and enabled and binding.action not in of_action:
                shown = self.app.get_key_display(binding)
                word = binding.description[:1].lower() + binding.description[1:]
                key = Key(binding.key, shown, word, tooltip or binding.description)
                of_action[binding.action] = key
        self.keys = tuple(of_action.values())
        found = bindings.get(self.app.COMMAND_PALETTE_BINDING) if self.app.ENABLE_COMMAND_PALETTE else None
        if found is not None:
            shown = self.app.get_key_display(found.binding)
            self.palette = Key(found.binding.key, shown, found.binding.description, found.binding.tooltip)

    def _shown(self) -> tuple[list[Key], Key | None]:
        """The keys that fit, and the palette's if it is wanted."""
        palette = self.palette if self.show_command_palette else None
        room = self.content_size.width - (palette.width + len(_BETWEEN) if palette else 0)
        fitting = _fitting(self.keys, room)
        way_out = next((key for key in self.keys if key.key == _WAY_OUT), None)
        if way_out is not None and way_out not in fitting:
            fitting = [*_fitting(self.keys, room - len(_BETWEEN) - way_out.width), way_out]
        return fitting, palette

    def render(self) -> RenderResult:
        """One line of text."""
        keys, palette = self._shown()
        pieces: list[str | tuple[str, str]] = []
        for key in keys:
            pieces += [(key.shown, ".key-line--key"), " ", (key.word, ".key-line--word"), _BETWEEN]
        if palette is not None:
            used = sum(key.width + len(_BETWEEN) for key in keys)
            pieces.append(" " * max(self.content_size.width - used - palette.width, 0))
            pieces += [(palette.shown, ".key-line--key"), " ", (palette.word, ".key-line--word")]
        return Content.assemble(*pieces)

    def key_at(self, x: int) -> Key | None:
        """The key that is drawn in column x."""
        keys, palette = self._shown()
        at = 0
        for key in keys:
            if at <= x < at + key.width:
                return key
            at += key.width + len(_BETWEEN)
        return palette if palette is not None and x >= self.content_size.width - palette.width else None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """A click presses the key."""
        if (key := self.key_at(event.x)) is not None:
            self.app.simulate_key(key.key)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Say what the key under the pointer does."""
        key = self.key_at(event.x)
        self.tooltip = key.tooltip if key is not None else None
