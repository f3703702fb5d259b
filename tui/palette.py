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
    for title, explanation, action in _WITHOUT_KEY:
        yield SystemCommand(title, explanation, partial(screen.run_action, action))


_WITHOUT_KEY = (
    ("Answer this message again", "The one under the chat's cursor", "again_here"),
    ("Delete this message", "The one under the chat's cursor, and what follows it", "delete_message"),
    ("Rename the chosen session", "The one under the history's cursor; r there", "rename_session"),
    ("Pin the chosen session, or no longer", "The one under the history's cursor; p there", "pin_session"),
    ("Archive the chosen session, or take it back", "The one under the history's cursor; a there", "archive_session"),
    ("Delete the chosen session", "The one under the history's cursor; d there", "delete_session"),
    ("Export the session as Markdown", "To a file in your home: /export FILE chooses another", "export('md')"),
    ("Export the session as JSON", "With all branches and figures; can be imported again", "export('json')"),
    ("Show archived sessions, or the others again", "In the history; v there", "show_archived"),
    ("Bring the deleted session back", "The one that was deleted last", "restore_session"),
)
