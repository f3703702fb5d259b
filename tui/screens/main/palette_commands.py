"""The main screen's actions as commands of the palette: all that keys do, there and in the focused pane, by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from textual.app import SystemCommand
from textual.screen import Screen

from tui.language import N_, _
from tui.screens.key_commands import explain, key_commands
from tui.screens.main.keys import MAIN_KEYS


def main_commands(screen: Screen[None]) -> Iterable[SystemCommand]:
    """One command for each key of the main screen and the focused pane that does something now, and a few without."""
    for binding in MAIN_KEYS:
        if _does_something(screen, binding.action):
            title = _(binding.tooltip or binding.description)
            yield SystemCommand(title, explain(screen, binding), partial(screen.run_action, binding.action))
    yield from key_commands(screen, of=(screen.focused,))
    for title, explanation, action in WITHOUT_KEY:
        if _does_something(screen, action):
            yield SystemCommand(_(title), _(explanation), partial(screen.run_action, action))


def _does_something(screen: Screen[None], action: str) -> bool:
    return bool(screen.check_action(action.partition("(")[0].removeprefix("app."), ()))


WITHOUT_KEY = (
    (N_("Answer this message again"), N_("The one under the chat's cursor"), "again_here"),
    (N_("Delete this message"), N_("The one under the chat's cursor, and what follows it"), "delete_message"),
    (N_("Rename the chosen session"), N_("The one under the history's cursor; r there"), "rename_session"),
    (N_("Pin the chosen session, or no longer"), N_("The one under the history's cursor; p there"), "pin_session"),
    (
        N_("Archive the chosen session, or take it back"),
        N_("The one under the history's cursor; a there"),
        "archive_session",
    ),
    (N_("Delete the chosen session"), N_("The one under the history's cursor; d there"), "delete_session"),
    (N_("Export the session as Markdown"), N_("To a file in your home: /export FILE chooses another"), "export('md')"),
    (N_("Export the session as JSON"), N_("With all branches and figures; can be imported again"), "export('json')"),
    (
        N_("Change the settings"),
        N_("Language, colours, keys of the prompt box, threads and more: /settings"),
        "settings",
    ),
    (N_("Show archived sessions, or the others again"), N_("In the history; v there"), "show_archived"),
    (N_("Bring the deleted session back"), N_("The one that was deleted last"), "restore_session"),
)
"""With a key in one pane alone, or with a slash command."""
