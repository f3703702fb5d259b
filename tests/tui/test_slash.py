"""What is a command in the prompt box, what is a message, and what is neither."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tui.language import Language, _, speak
from tui.screens.main.slash_commands import ACTIONS, SlashCommands
from tui.slash import SLASH_COMMANDS, Call, NoCommand, read_prompt, words_beginning


@pytest.mark.parametrize(
    ("typed", "message"),
    [("hello", "hello"), (" /usr/bin", "/usr/bin"), ("//usr/bin", "/usr/bin"), ("a /new", "a /new"), ("//", "/")],
)
def test_messages(typed: str, message: str) -> None:
    assert read_prompt(typed) == message


@pytest.mark.parametrize(
    ("typed", "word", "rest"),
    [
        ("/new", "new", ""),
        ("/system  Be brief.", "system", "Be brief."),
        ("/system Be\nbrief", "system", "Be\nbrief"),
        ("/system\nBe brief", "system", "Be brief"),
    ],
)
def test_commands(typed: str, word: str, rest: str) -> None:
    assert read_prompt(typed) == Call(SLASH_COMMANDS[word], rest)


def test_what_is_no_command_says_what_to_do() -> None:
    read = read_prompt("/usr/bin is a folder?")
    assert isinstance(read, NoCommand)
    assert read.sentence == "There is no command /usr/bin. A space before it, or a second slash, sends it as text."
    close = read_prompt("/modle")
    assert isinstance(close, NoCommand)
    assert "Did you mean /model?" in close.sentence


def test_commands_by_their_beginning() -> None:
    assert [command.word for command in words_beginning("/te")] == ["template"]
    assert len(words_beginning("/")) == len(SLASH_COMMANDS)
    for text in ("", "te", "//te", "/template ", "/te\n", "/zzz"):
        assert words_beginning(text) == []


def test_every_command_does_something() -> None:
    assert {*ACTIONS, *SlashCommands.RUN} == set(SLASH_COMMANDS)


@pytest.mark.parametrize("spoken", ["en", "fr"])
def test_what_a_command_does_is_read_whole_beside_both_panes(spoken: Language) -> None:
    room_in_chat = 61
    speak(spoken)
    try:
        widest = max(cell_len(f"/{word} {_(command.takes)}") for word, command in SLASH_COMMANDS.items())
        for command in SLASH_COMMANDS.values():
            assert widest + 2 + cell_len(_(command.about)) <= room_in_chat, command
    finally:
        speak("en")
