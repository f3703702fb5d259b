"""Textual's command palette, in the user's language, whose commands are carried out once."""

from __future__ import annotations

import asyncio

from rich.align import Align
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import ActiveBinding
from textual.command import CommandInput, CommandList, CommandPalette
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.language import _
from tui.screens.spoken_keys import in_own_words
from tui.widgets.boxes import BoxKeys


class PaletteBox(BoxKeys, CommandInput):
    """The line to search in."""


class Palette(CommandPalette):
    """The palette with its own few words translated."""

    # Textual's style sheet names the class, and looks for it by the name alone.
    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys, in the user's words."""
        return in_own_words(super().active_bindings)

    def compose(self) -> ComposeResult:
        """Textual's own with a box in which keys keep their order."""
        for part in super().compose():
            is_box = isinstance(part, CommandInput)
            yield PaletteBox(placeholder=self._placeholder, select_on_focus=False) if is_box else part

    def on_mount(self) -> None:
        """No cursor blinks: it would send bytes over the line for ever."""
        self.query_one(Input).cursor_blink = False

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    async def _choose_once(self, event: Input.Submitted | OptionList.OptionSelected) -> None:
        """Let enter choose from what was found for the text before it, and hide what comes behind a choice.

        Textual would take a line of the list before, and carry a command out again.
        """
        if isinstance(event, Input.Submitted) and self.is_active:
            gathering = [worker for worker in self.workers if worker.group == self._GATHER_COMMANDS_GROUP]
            await asyncio.gather(*(worker.wait() for worker in gathering), return_exceptions=True)
        if not self.is_active:
            event.stop()
            event.prevent_default()

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close, once, as dialogs do."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def _start_no_matches_countdown(self, search_value: str) -> None:
        """Say after a moment that nothing was found; Textual's own does so in English."""
        self._stop_no_matches_countdown()

        def show() -> None:
            if search_value:
                said = Align.center(Text(_("No matches found"), style="not bold"))
                self.query_one(CommandList).add_option(Option(said, disabled=True, id=self._NO_MATCHES))
            self._list_visible = bool(search_value)

        self._no_matches_timer = self.set_timer(self._NO_MATCHES_COUNTDOWN, show)
