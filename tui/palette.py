"""The main screen's actions as commands of the palette: all that keys do, there and in the focused pane, by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from textual.app import SystemCommand
from textual.binding import Binding

from tui.screens.main import MainScreen
from tui.screens.main_keys import MAIN_KEYS


def main_commands(screen: MainScreen) -> Iterable[SystemCommand]:
    """One command for each key of the main screen and the focused pane that does something now, and a few without."""
    for binding in MAIN_KEYS:
        if screen.check_action(binding.action.partition("(")[0].removeprefix("app."), ()):
            title = binding.tooltip or binding.description
            yield SystemCommand(title, _explain(screen, binding), partial(screen.run_action, binding.action))
    yield from _of_pane(screen)
    for title, explanation, action in WITHOUT_KEY:
        yield SystemCommand(title, explanation, partial(screen.run_action, action))


def _of_pane(screen: MainScreen) -> Iterable[SystemCommand]:
    app, told = screen.app, set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if active.node is screen.focused and binding.id and active.enabled and binding.id not in told:
            told.add(binding.id)
            run = partial(app.run_action, binding.action, active.node)
            yield SystemCommand(binding.tooltip, _explain(screen, binding), run)


def _explain(screen: MainScreen, binding: Binding) -> str:
    """The key, and the name under which the settings may give it another."""
    return f"Key: {screen.app.get_key_display(binding)} · in the settings: {binding.id}"


WITHOUT_KEY = (
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
"""With a key in one pane alone, or with a slash command."""
