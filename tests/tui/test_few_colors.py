"""Where a terminal has 256 colours or 16, it shows those of the themes as what they look like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.color import Color as ScreenColor

from tui.drawing.palette import FewColors, nearest, nearest_of_16

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal

GREYS = {16, 59, 102, 145, 188, 231, *range(232, 256)}


def number_of(color: str) -> int:
    """The number of what is shown in its place."""
    triplet = Color.parse(color).triplet
    assert triplet is not None
    return nearest(*triplet)


@pytest.mark.parametrize("color", ["#242f38", "#343f49", "#141f27", "#c5cdd3", "#98a7b2"])
def test_what_has_hardly_any_colour_is_a_grey(color: str) -> None:
    assert number_of(color) in GREYS


def test_greys_keep_their_order() -> None:
    numbers = [number_of(color) for color in ("#121212", "#1e1e1e", "#272727", "#242f38", "#4a4a4a", "#a2a2a2")]
    assert numbers == sorted(set(numbers))


def test_dark_colours_keep_their_hue() -> None:
    """The tints and the chosen line: green, red, brown, and blue that is no green."""
    assert [number_of(color) for color in ("#24452e", "#441e27", "#593e19", "#0b3a5f")] == [22, 52, 58, 24]


def test_what_the_palette_has_is_itself() -> None:
    assert [number_of(color) for color in ("#ffaf00", "#00005f", "#303030", "#ffffff")] == [214, 17, 236, 231]


def test_a_line_keeps_its_text_its_attributes_and_the_terminals_own_colours() -> None:
    own = Style.parse("bold red")
    line = [Segment("a", Style.parse("bold #ffa62b on #242f38")), Segment("b", own), Segment("c")]
    first, *rest = FewColors().apply(line, ScreenColor(0, 0, 0))
    assert first == Segment("a", Style.parse("bold color(215) on color(236)"))
    assert rest == [Segment("b", own), Segment("c")]


@pytest.mark.parametrize("multiplexer", ["", "x"])
def test_the_panels_are_grey_in_a_terminal_of_256_colours(
    stage: Stage, open_terminal: Callable[..., Terminal], multiplexer: str
) -> None:
    terminal = open_terminal(TERM="xterm-256color", COLORTERM="", TMUX=multiplexer, SSH_CONNECTION="", STY="")
    terminal.wait_for("Tiny 135M Q4_1")
    assert b"48;5;236" in terminal.output
    assert b"8;2;" not in terminal.output
    assert b"48;5;17m" not in terminal.output


@pytest.mark.parametrize("multiplexer", ["", "x"])
@pytest.mark.parametrize("kind", ["linux", "xterm", "screen"])
def test_an_accent_of_orange_is_no_red_where_there_are_16_colours(
    stage: Stage, open_terminal: Callable[..., Terminal], kind: str, multiplexer: str
) -> None:
    terminal = open_terminal(TERM=kind, COLORTERM="", TMUX=multiplexer, SSH_CONNECTION="", STY="")
    terminal.wait_for("Tiny 135M Q4_1")
    colors = {number for codes in re.findall(rb"\x1b\[([0-9;]*)m", terminal.output) for number in codes.split(b";")}
    assert b"33" in colors
    assert not colors & {b"31", b"91", b"41", b"101", b"38", b"48"}


@pytest.mark.parametrize(
    ("color", "number"),
    [("#ffa62b", 3), ("#fe640b", 3), ("#ba3c5b", 9), ("#fb4934", 9), ("#d20f39", 1), ("#ffc473", 11), ("#121212", 0)],
)
def test_of_16_colours_orange_is_yellow_and_an_error_stays_red(color: str, number: int) -> None:
    triplet = Color.parse(color).triplet
    assert triplet is not None
    assert nearest_of_16(*triplet) == number


@pytest.mark.parametrize("multiplexer", ["", "x"])
def test_a_dumb_terminal_gets_no_more_colours_than_any_has(
    stage: Stage, open_terminal: Callable[..., Terminal], multiplexer: str
) -> None:
    terminal = open_terminal(TERM="dumb", COLORTERM="", TMUX=multiplexer, SSH_CONNECTION="", STY="")
    terminal.wait_for("Tiny 135M Q4_1")
    assert b"8;2;" not in terminal.output
    assert b"8;5;" not in terminal.output


async def test_what_is_drawn_for_no_terminal_keeps_all_colours(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like pictures, whatever the terminal in which they are taken."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLORTERM", raising=False)
    async with stage.ready() as play:
        assert not any(isinstance(each, FewColors) for each in play.app.get_line_filters())
