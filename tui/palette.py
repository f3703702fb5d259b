"""The main screen's actions as commands of the palette: all that keys do, found by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from textual.app import SystemCommand

from tui.screens.main import MainScreen
from tui.screens.main_keys import MAIN_KEYS


def main_commands(screen: MainScreen) -> Iterable[SystemCommand]:
    """One command for each binding of the main screen that can be used now, and those without a key."""
    for binding in MAIN_KEYS:
        if screen.check_action(binding.action.partition("(")[0].removeprefix("app."), ()):
            title = binding.tooltip or binding.description
            yield SystemCommand(
                title, f"Key: {screen.app.get_key_display(binding)}", partial(screen.run_action, binding.action)
            )
    yield SystemCommand(
        "Bring the deleted session back", "The one that was deleted last", screen.action_restore_session
    )
