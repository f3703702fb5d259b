"""An app that says in the user's language what Textual's own says in English."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.command import CommandPalette
from textual.message import Message
from textual.screen import Screen

from engine.typed_path import typed_path
from tui.language import _
from tui.text import short_path
from tui.textual_texts import KEY_NAMES

_LEFT_OUT = ("Keys", "Maximize", "Minimize")
"""A pane of keys beside ours, and a box or a list alone on the screen: what is sent then is answered out of sight."""


class SpeakingApp(App[int]):
    """Textual's commands, palettes and notes, translated; tui/textual_texts.py has what they say."""

    @dataclass
    class Outdated(Message):
        """What a note on screen says is no longer so."""

        text: str

    def on_speaking_app_outdated(self, event: Outdated) -> None:
        """Take the last note that says so from the screen; Textual has no public way."""
        if told := [note for note in self._notifications if note.message == event.text]:
            self._unnotify(told[-1])

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Textual's own commands, in the user's words, but for those that take the screen apart."""
        for title, about, run, *discover in super().get_system_commands(screen):
            if title in _LEFT_OUT:
                continue
            wanted = self.action_screenshot_here if title == "Screenshot" else run
            yield SystemCommand(_(title), _(about), wanted, *discover)

    def get_key_display(self, binding: Binding) -> str:
        """Spell keys as they are called on the user's keyboard."""
        parts = super().get_key_display(binding).replace("⏎", "enter").split("+")
        return "+".join(_(part) if part in KEY_NAMES else part for part in parts)

    def action_command_palette(self) -> None:
        """Show every command."""
        from tui.screens.command_palette import Palette

        if self.use_command_palette and not CommandPalette.is_open(cast(App[object], self)):
            self.push_screen(Palette(id="--command-palette", placeholder=_("Search for commands…")))

    def search_themes(self) -> None:
        """Show every theme."""
        from textual.theme import ThemeProvider

        from tui.screens.command_palette import Palette

        self.push_screen(Palette(providers=[ThemeProvider], placeholder=_("Search for themes…")))

    def action_screenshot_here(self) -> None:
        """Write a picture of the screen to a file in the user's home, once the palette is gone from it."""
        self.set_timer(0.1, self._save_screenshot)

    def _save_screenshot(self) -> None:
        try:
            path = self.save_screenshot(path=str(typed_path("~")))
            self.notify(_("Written to {path}", path=short_path(path)), markup=False)
        except OSError as error:
            self.notify(_("The picture cannot be written: {error}.", error=error), severity="warning", markup=False)

    def action_help_quit(self) -> None:
        """Many press ctrl+c to leave, which copies here: say what leaves."""
        for key, active in self.active_bindings.items():
            if active.binding.action in ("quit", "app.quit"):
                self.notify(_("{key} leaves.", key=key), title=_("Do you want to leave?"), markup=False)
                return
