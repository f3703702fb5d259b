"""Drawing with few bytes: only cells that changed are sent, and never more than the line has taken.

Textual sends whole lines of what may have changed. Here its frames go into a picture of the screen, and when the line
is free, what the terminal does not show yet is sent: a frame that came meanwhile costs nothing.

This, `output` and `drawing/composing` are the files that reach into how Textual draws.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from rich.color import ColorSystem
from rich.console import RenderableType
from textual import events
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual._context import visible_screen_stack
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.drawing.pens import PenCase
from tui.drawing.picture import Picture
from tui.output import PatientWriter
from tui.terminal import is_drawn_sparingly

TEARING_BYTES = 200
"""A frame with more than this is marked as one for terminals that then show it at once."""


class SparingApp(App[int]):
    """An app that sends what changed."""

    def __init__(self) -> None:
        super().__init__()
        self._is_sparing = is_drawn_sparingly(os.environ)
        self._picture: Picture | None = None
        self._pen_case: PenCase | None = None
        self._drawn_by: PatientWriter | None = None
        self._is_late = False
        self._n_keys = 0

    def action_repaint(self) -> None:
        """Draw the whole anew, whatever the terminal shows: something else may have written there."""
        if self._picture is not None:
            self._picture.forget()
        self.refresh()

    async def on_event(self, event: events.Event) -> None:
        """Show what a key does as soon as it is done, and not with the next frame."""
        await super().on_event(event)
        if isinstance(event, events.Key) and self.focused is not None:
            # Behind the key in the same queue.
            self._n_keys += 1
            self.focused.call_later(self._show_effect, self.focused, self._n_keys)

    def _show_effect(self, widget: Widget, n_keys: int) -> None:
        if n_keys < self._n_keys:
            # Of keys that come together, the last one's is shown.
            return
        if self._exit or widget.screen is not self.screen or not widget._repaint_required or widget._layout_required:
            return
        screen = self.screen
        widget._repaint_required = False
        screen._compositor.update_widgets({widget})
        visible_screen_stack.set(self._background_screens)
        # What others change together is not drawn before all of it is done; that has nothing to do with this.
        batches, self._batch_count = self._batch_count, 0
        try:
            self._display(screen, screen._compositor.render_partial_update())
        finally:
            self._batch_count = batches

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        writer = self._patient_writer()
        if writer is None or not isinstance(renderable, LayoutUpdate | ChopsUpdate):
            super()._display(screen, renderable)
            return
        try:
            if not self._batch_count and self._running and not self._closed:
                self._take(renderable)
                self._send()
        finally:
            self.post_display_hook()

    def _patient_writer(self) -> PatientWriter | None:
        """The way to the terminal, where it is one on which we can draw in our own way."""
        driver = self._driver
        if not self._is_sparing or not isinstance(driver, LinuxDriver) or driver.is_inline:
            return None
        writer = driver._writer_thread
        return writer if isinstance(writer, PatientWriter) else None

    def _take(self, update: LayoutUpdate | ChopsUpdate) -> None:
        """Put a frame, or a part of one, into the picture."""
        if isinstance(update, LayoutUpdate):
            picture = self._picture_of(*update.region.size)
            for y, line in enumerate(update.strips, update.region.y):
                picture.put(update.region.x, y, (segment for strip in line for segment in strip))
        elif self._picture is not None:
            for x, y, strip in _pieces(update):
                self._picture.put(x, y, strip)

    def _picture_of(self, width: int, height: int) -> Picture:
        picture = self._picture
        if picture is None or (picture.width, picture.height) != (width, height):
            # A terminal of another size may have moved what it shows.
            if self._pen_case is None:
                self._pen_case = PenCase(self.console._color_system or ColorSystem.TRUECOLOR)
            picture = self._picture = Picture(width, height, self._pen_case)
        return picture

    def _send(self) -> None:
        """Send what the terminal does not show, now or as soon as it has taken what was sent before."""
        self._is_late = False
        writer, picture = self._patient_writer(), self._picture
        if writer is None or picture is None or not self._running or self._closed:
            return
        if writer is not self._drawn_by:
            # The terminal was given to another program meanwhile.
            self._drawn_by = writer
            picture.forget()
        if not writer.is_idle(self._send_later):
            return
        data = picture.changes(self.screen.outer_size.clamp_offset(self.cursor_position))
        if self._sync_available and len(data) > TEARING_BYTES:
            data = f"{SYNC_START}{data}{SYNC_END}"
        if data:
            writer.write(data)

    def _send_later(self) -> None:
        """Called by the writer, on its thread."""
        loop = self._loop
        if loop is not None and not self._is_late:
            self._is_late = True
            loop.call_soon_threadsafe(self._send)


def _pieces(update: ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """What a partial update draws: column, row and what goes there."""
    for y, left, right in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is not None and x < right and end > left:
                yield x, y, strip
