"""What reaches the terminal, byte by byte: an emulated one shows after any activity what the app means it to show."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

import tui.app
from tui.app import LlmTuiApp
from tui.drawing.cells import cells, is_doubtful
from tui.drawing.pens import PenCase
from tui.drawing.picture import Picture
from tui.options import AppOptions
from tui.output import PatientWriter

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

WIDTH, HEIGHT = 30, 5
CHARACTERS = ["a", "b", " ", " ", "\u00e9", "e\u0301", "\u2500", "\u2588", "\u4e2d", "\u56fd", "\U0001f600", "\u2611"]
Piece = tuple[list[str], Style | None]
Row = list[tuple[str, Style | None]]
STYLES = st.sampled_from(
    [None]
    + [
        Style.parse(text)
        for text in (
            "bold", "dim italic", "underline", "reverse red", "strike", "#102030 on #405060", "#a0b0c0 on #405060",
            "bold #102030 on #405060", "on #203040", "underline on #203040", "default on default", "blue on bright_red",
        )
    ]
)  # fmt: skip
PIECES = st.lists(st.tuples(st.lists(st.sampled_from(CHARACTERS), max_size=12), STYLES), min_size=1, max_size=4)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, WIDTH), st.integers(0, HEIGHT), PIECES),
        st.tuples(st.just("send"), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)),
        st.tuples(st.just("forget")),
    ),
    max_size=25,
)
MODES = re.compile(r"\x1b\[[<>=?][0-9;]*\$?[a-z]")


class Emulator:
    """A terminal that begins with rubbish on its screen."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.Screen(width, height)
        self.screen.reset_mode(pyte.modes.DECAWM)
        self._stream = pyte.Stream(self.screen)
        self.spoil()

    def spoil(self) -> None:
        """Another program writes all over it."""
        rows = range(1, self.screen.lines + 1)
        self._stream.feed("\x1b[0;7;35m" + "".join(f"\x1b[{row}H" + "X" * self.screen.columns for row in rows))

    def feed(self, data: str) -> None:
        """Obey what the app sends."""
        self._stream.feed(MODES.sub("", data))

    def looks(self) -> list[list[tuple[object, ...]]]:
        """What can be seen in each cell."""
        return [[_look(self.screen.buffer[y][x]) for x in range(self.screen.columns)] for y in range(self.screen.lines)]


def _look(char: pyte.screens.Char) -> tuple[object, ...]:
    marks = (char.underscore, char.reverse, char.strikethrough)
    if char.data == " " and not any(marks):
        return " ", char.bg
    return unicodedata.normalize("NFC", char.data), char.fg, char.bg, char.bold, char.italics, *marks


def put(row: Row, x: int, pieces: list[Piece]) -> None:
    """Place pieces in a row of cells; the second cell of a wide character is ""."""
    if row[x][0] == "":
        row[x - 1] = (" ", row[x - 1][1])
    for characters, style in pieces:
        for character in characters:
            width = cell_len(character)
            if x + width > len(row):
                if x < len(row):
                    row[x] = (" ", style)
                return
            row[x] = (character, style)
            if width == 2:
                row[x + 1] = ("", style)
            x += width
    if x < len(row) and row[x][0] == "":
        row[x] = (" ", row[x][1])


def plainly_drawn(rows: list[Strip], width: int, console: Console) -> list[list[tuple[object, ...]]]:
    """What a terminal shows where every row is drawn as a whole, every segment with all that its style says."""
    emulator = Emulator(width, len(rows))
    for segment in (segment for row in rows for segment in row):
        if segment.style is not None:
            # Rich keeps a style's codes, whatever colours the console had for which it first made them.
            segment.style._ansi = None
    for y, row in enumerate(rows, 1):
        emulator.feed(f"\x1b[0m\x1b[{y}H" + row.render(console))
    return emulator.looks()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=ACTIONS)
def test_a_terminal_shows_the_picture(actions: list[tuple[object, ...]]) -> None:
    picture, emulator = Picture(WIDTH, HEIGHT, PenCase(ColorSystem.TRUECOLOR)), Emulator(WIDTH, HEIGHT)
    console = Console(color_system="truecolor", force_terminal=True)
    rows: list[Row] = [[(" ", None)] * WIDTH for _ in range(HEIGHT)]
    for name, *arguments in [*actions, ("send", 0, 0)]:
        if name == "put":
            x, y, pieces = arguments
            if x < WIDTH and y < HEIGHT and any(characters for characters, _ in pieces):
                put(rows[y], x, pieces)
            picture.put(x, y, [Segment("".join(characters), style) for characters, style in pieces])
        elif name == "forget":
            picture.forget()
            emulator.spoil()
        else:
            emulator.feed(picture.changes(tuple(arguments)))
            assert (emulator.screen.cursor.x, emulator.screen.cursor.y) == tuple(arguments)
            strips = [Strip([Segment(*cell) for cell in row if cell[0]]) for row in rows]
            assert emulator.looks() == plainly_drawn(strips, WIDTH, console)


def drawn(picture: Picture, x: int, y: int, text: str, style: str = "#a0b0c0 on #405060") -> str:
    picture.put(x, y, [Segment(text, Style.parse(style))])
    return picture.changes((0, 0))


def test_only_what_changed_is_sent() -> None:
    picture = Picture(WIDTH, HEIGHT, PenCase(ColorSystem.TRUECOLOR))
    drawn(picture, 0, 2, "the quick brown fox")
    assert drawn(picture, 0, 2, "the quick brown fox") == ""
    assert drawn(picture, 0, 2, "the quick green fox") == "\x1b[3;11H\x1b[48;2;64;80;96mgree\x1b[1H"
    assert drawn(picture, 0, 2, "The quick green fOx") == "\x1b[3HT\x1b[16CO\x1b[1H"
    assert drawn(picture, 19, 2, "es", "bold #a0b0c0 on #405060") == "\x1b[3;20H\x1b[1mes\x1b[1H"
    assert drawn(picture, 0, 2, " ", "#ffffff on #405060") == "\x1b[3H \x1b[1H"


def test_characters_whose_width_terminals_disagree_about() -> None:
    assert [
        text
        for text in ("a", "\u00e9", "e\u0301", "\u2588", "\u4e2d", "\U0001f600", "\u263a\ufe0f")
        if is_doubtful(text)
    ] == [
        "\U0001f600",
        "\u263a\ufe0f",
    ]
    texts, _ = cells([Segment("a\u4e2d"), Segment("\u0301b\u200b")], PenCase(ColorSystem.TRUECOLOR))
    assert texts == ["a", "\u4e2d\u0301", "", "b\u200b"]


class Line:
    """A line to an emulated terminal that can be held up; what PatientWriter is to the app."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.is_stalled = False
        self._when_idle: Callable[[], None] | None = None

    def is_idle(self, when_idle: Callable[[], None]) -> bool:
        self._when_idle = when_idle if self.is_stalled else None
        return not self.is_stalled

    def write(self, data: str) -> None:
        self.emulator.feed(data)

    def flow(self) -> None:
        """Be no longer held up."""
        self.is_stalled = False
        if self._when_idle is not None:
            self._when_idle()


class EmulatedApp(LlmTuiApp):
    """The app on such a line."""

    CSS_PATH: ClassVar = [Path(tui.app.__file__).parent / path for path in LlmTuiApp.CSS_PATH]
    line: Line

    def _patient_writer(self) -> Line:
        return self.line


ANSWER = (
    "# A title\n\nSome *words* and \u4e2d\u56fd \U0001f600 text. " * 12
    + "\n\n```python\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)
KEYS = [*"ab/", "enter", "ctrl+j", "f1", "escape", "ctrl+p", "up", "down", "pageup", "end", "f2", "f3", "tab", "ctrl+l"]
SIZES = [(100, 30), (80, 24), (120, 40), (60, 15), (200, 50)]


@pytest.mark.parametrize("seed", range(4))
async def test_the_terminal_shows_what_the_app_means(stage: Stage, seed: int) -> None:
    stage.set_script(answers=[ANSWER], token_delay_s=0.001)
    chance = Random(seed)
    app = EmulatedApp(AppOptions(model=str(stage.model)), engine_command=stage.app()._engine_command)
    line = app.line = Line(Emulator(*SIZES[0]))
    async with stage.play(app, SIZES[0]) as play:
        await play.until(lambda: app.workspace.engine.is_ready and app.workspace.is_open)
        await play.say("go")
        for _ in range(25):
            match chance.randrange(8):
                case 0:
                    width, height = chance.choice(SIZES)
                    line.emulator.screen.resize(height, width)
                    await play.pilot.resize_terminal(width, height)
                case 1:
                    line.is_stalled = True
                case 2:
                    line.flow()
                case _:
                    await play.press(chance.choice(KEYS))
        line.flow()
        await play.answered()
        await play.until(lambda: not app.screen._dirty_widgets and not app.screen._layout_required)

        def differences() -> list[tuple[object, ...]]:
            strips = app.screen._compositor.render_strips()
            meant = plainly_drawn(strips, app.size.width, app.console)
            rows = enumerate(zip(line.emulator.looks(), meant, strict=True))
            cells = ((y, x, *pair) for y, row in rows for x, pair in enumerate(zip(*row, strict=True)))
            return [(y, x, shown, wanted) for y, x, shown, wanted in cells if shown != wanted]

        with suppress(AssertionError):
            await play.until(lambda: not differences())
        assert differences()[:3] == []


async def test_a_repaint_mends_what_others_wrote(stage: Stage) -> None:
    app = EmulatedApp(AppOptions(model=str(stage.model)), engine_command=stage.app()._engine_command)
    line = app.line = Line(Emulator(80, 24))
    async with stage.play(app, (80, 24)) as play:
        await play.until(lambda: app.workspace.engine.is_ready and app.workspace.is_open)
        line.emulator.spoil()
        await play.press("ctrl+l")
        await play.until(lambda: not any("XX" in row for row in line.emulator.screen.display))
        assert line.emulator.looks() == plainly_drawn(app.screen._compositor.render_strips(), 80, app.console)


def test_a_writer_tells_when_the_terminal_has_taken_all() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as file:
        writer = PatientWriter(file)
        told = threading.Event()
        assert writer.is_idle(told.set)
        writer.write("a" * 200_000)
        assert not writer.is_idle(told.set)
        writer.start()
        n_read = 0
        while n_read < 200_000:
            # The system itself holds some of it for the terminal.
            assert n_read > 50_000 or not told.is_set()
            n_read += len(os.read(ours, 4096))
        assert told.wait(20)
        assert writer.is_idle(told.set)
        writer.stop()
        assert os.read(ours, 100) == b"\x1b[0m"
    os.close(ours)
