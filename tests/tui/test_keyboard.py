"""What keys become of what a terminal sends in one go."""

from __future__ import annotations

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from tui.keyboard import KeyParser


def keys(parser: XTermParser, sent: str) -> list[str]:
    """The keys of what was sent, those that are known without a pause behind it."""
    return [event.key for event in parser.feed(sent) if isinstance(event, events.Key)]


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("\x1be\x1b[A", ["alt+e", "up"]),
        ("\x1bexy", ["alt+e", "x", "y"]),
        ("\x1bC\x1bc", ["alt+shift+c", "alt+c"]),
        ("\x1b\u00e9", ["alt+\u00e9"]),
        ("\x1bb", ["ctrl+left"]),
        ("\x1bOP\x1b[15~\x1b[Z", ["f1", "f5", "shift+tab"]),
        ("\x1b\x1b[A", ["escape", "up"]),
    ],
)
def test_alt_with_a_character_is_one_key_whatever_follows(sent: str, wanted: list[str]) -> None:
    assert keys(KeyParser(), sent) == wanted


def test_what_may_begin_more_is_waited_for() -> None:
    parser = KeyParser()
    assert keys(parser, "\x1b[") == []
    assert keys(parser, "B") == ["down"]


def test_pasted_text_stays_text() -> None:
    (pasted,) = KeyParser().feed("\x1b[200~a \u00e9\n\x1b[201~")
    assert isinstance(pasted, events.Paste)
    assert pasted.text == "a \u00e9\n"
