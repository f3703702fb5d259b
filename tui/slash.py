"""Commands that are typed in the prompt box: a slash, a word, and the rest of the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screens.main import MainScreen


def run_slash_command(screen: MainScreen, text: str) -> bool:
    """Carry out a command; False for everything that is a message, also one that happens to begin with a slash."""
    if "\n" in text or not text.startswith("/"):
        return False
    word, _, rest = text[1:].partition(" ")
    command = SLASH_COMMANDS.get(word)
    if command is None:
        return False
    command(screen, rest.strip())
    return True


def _system(screen: MainScreen, rest: str) -> None:
    if rest:
        screen.change_system(rest)
    else:
        screen.action_system_prompt()


def _title(screen: MainScreen, rest: str) -> None:
    if rest:
        screen.change_title(rest)
    else:
        screen.action_rename()


def _model(screen: MainScreen, rest: str) -> None:
    screen.action_choose_model()


def _new(screen: MainScreen, rest: str) -> None:
    screen.action_new_session()


SLASH_COMMANDS: dict[str, Callable[[MainScreen, str], None]] = {
    "system": _system,
    "title": _title,
    "model": _model,
    "new": _new,
}
