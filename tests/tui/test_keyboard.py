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


def pastes(parts: list[str]) -> list[str]:
    """The texts of what was pasted in several reads; nothing else came of them."""
    parser = KeyParser()
    found = [event for part in parts for event in parser.feed(part)]
    assert all(isinstance(event, events.Paste) for event in found), found
    return [event.text for event in found]


CODES = "one\nAAA\x1b[31mred\x1b[0m \x1b[A\x1b\x1b[I\x1b[200~ BBB\x1b["
PASTE = f"\x1b[200~{CODES}\x1b[201~"


def test_codes_in_pasted_text_are_text() -> None:
    assert pastes([PASTE]) == [CODES]
    assert pastes([PASTE + PASTE]) == [CODES, CODES]


@pytest.mark.parametrize("cut", range(1, len(PASTE)))
def test_a_paste_may_come_in_two_reads(cut: int) -> None:
    assert pastes([PASTE[:cut], PASTE[cut:]]) == [CODES]


def test_keys_around_a_paste_stay_keys() -> None:
    parser = KeyParser()
    found = list(parser.feed(f"a\x1b[A{PASTE}\x1b[Bb\x1bc"))
    assert [event.key for event in found if isinstance(event, events.Key)] == ["a", "up", "down", "b", "alt+c"]
    assert isinstance(found[2], events.Paste)


def test_a_paste_without_an_end_ends_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.keyboard.PASTE_STALL_S", 0.0)
    parser = KeyParser()
    assert list(parser.feed("\x1b[200~cut \x1b[2")) == []
    (pasted,) = parser.tick()
    assert isinstance(pasted, events.Paste)
    assert pasted.text == "cut \x1b[2"
    assert keys(parser, "x\x1b[A") == ["x", "up"]


def test_input_may_end_within_a_paste() -> None:
    parser = KeyParser()
    assert list(parser.feed("\x1b[200~cut")) == []
    assert list(parser.feed("")) == []
