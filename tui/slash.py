"""What is typed in the prompt box: a message, or a command that begins with a slash.

Two slashes, or a space before it, make a message of a text that begins with one.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from tui.language import _


@dataclass(frozen=True)
class SlashCommand:
    """A command: what it takes, and what it does in a few words."""

    word: str
    takes: str
    about: str


SLASH_COMMANDS = {
    command.word: command
    for command in (
        SlashCommand("attach", "FILE", "a text file goes with the next message"),
        SlashCommand("detach", "[FILE]", "take attached files back"),
        SlashCommand("edit", "", "write in your editor ($VISUAL, $EDITOR)"),
        SlashCommand("export", "[FILE]", "write the session to a .md or .json file"),
        SlashCommand("fork", "", "a copy of the session, to go on otherwise"),
        SlashCommand("help", "", "keys and what they do"),
        SlashCommand("model", "[NAME]", "open another model"),
        SlashCommand("new", "", "begin a session"),
        SlashCommand("preset", "[NAME]", "precise, creative, default or your own"),
        SlashCommand("quit", "", "leave; everything is stored"),
        SlashCommand("retry", "", "write another answer"),
        SlashCommand("settings", "", "change the settings"),
        SlashCommand("system", "[TEXT]", "what the model is told first"),
        SlashCommand("template", "[NAME]", "the chat format; auto is the model's own"),
        SlashCommand("tint", "", "tint answers by how likely each token was"),
        SlashCommand("title", "[TEXT]", "give the session another title"),
    )
}


@dataclass(frozen=True)
class Call:
    """A command with what was typed behind it."""

    command: SlashCommand
    rest: str


@dataclass(frozen=True)
class NoCommand:
    """A slash that no command follows; the sentence says so, and what to do."""

    sentence: str


def read_prompt(text: str) -> str | Call | NoCommand:
    """The message to send, or the command to carry out."""
    if not text.startswith("/"):
        return text.strip()
    if text.startswith("//"):
        return text[1:].strip()
    word, rest = [*re.split(r"\s", text[1:], maxsplit=1), ""][:2]
    command = SLASH_COMMANDS.get(word)
    if command is None:
        return NoCommand(_no_command(word))
    return Call(command, rest.strip())


def as_typed(message: str) -> str:
    """What to type so that read_prompt makes a message of it again."""
    return f"/{message}" if message.startswith("/") else message


def _no_command(word: str) -> str:
    close = difflib.get_close_matches(word, SLASH_COMMANDS, n=1)
    meant = _("Did you mean /{word}? ", word=close[0]) if close else ""
    shown = word if len(word) <= 30 else f"{word[:29]}…"
    return _(
        "There is no command /{shown}. {meant}A space before it, or a second slash, sends it as text.",
        shown=shown,
        meant=meant,
    )


def words_beginning(text: str) -> list[SlashCommand]:
    """The commands that a text which is one unfinished word may become."""
    if not text.startswith("/") or any(space in text for space in " \n"):
        return []
    return [command for word, command in SLASH_COMMANDS.items() if word.startswith(text[1:])]
