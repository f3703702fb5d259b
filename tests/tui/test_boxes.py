"""Keys that arrive together act in the order in which they were pressed, in every box to write in."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from textual import events
from textual.keys import _character_to_key, key_to_character
from textual.widgets import Input, TextArea

from tui.screens.main.screen import MainScreen
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SearchBox

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Play, Stage
    from tests.tui.terminal import Terminal


def press_at_once(play: Play, *keys: str) -> None:
    """Press keys as they come from one read of the terminal."""
    for key in keys:
        play.app.post_message(events.Key(key, key_to_character(key)))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ((*"abc", "backspace", "d"), "abd"),
        ((*"hi", "backspace", "backspace", *"bye"), "bye"),
        ((*"abc", "left", "left", "X"), "aXbc"),
        ((*"one", "ctrl+j", *"two", "ctrl+j", "ctrl+j", *"three"), "one\ntwo\n\nthree"),
        ((*"one two", "ctrl+w", *"three"), "one three"),
        ((*"bc", "ctrl+a", "a"), "abc"),
        ((*"ac", "left", "b", "end", "d"), "abcd"),
    ],
)
async def test_in_the_prompt_box(stage: Stage, keys: tuple[str, ...], text: str) -> None:
    async with stage.ready() as play:
        press_at_once(play, *keys)
        box = play.app.query_one(PromptBox)
        await play.until(lambda: box.text == text)


async def test_lines_that_come_as_ctrl_j_do_not_send_where_it_sends(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text("[chat]\nmodel_titles = false\nenter_sends = false\n")
    async with stage.ready() as play:
        press_at_once(play, "a", "ctrl+j", "ctrl+j", "b", "ctrl+j", "c")
        box = play.app.query_one(PromptBox)
        await play.until(lambda: box.text == "a\n\nb\nc")
        assert play.open_session.path == []


async def test_in_the_search_box(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f2", "slash")
        box = play.app.screen.query_one(SearchBox)
        press_at_once(play, *"sea", "backspace", *"cret")
        await play.until(lambda: box.value == "secret")


@pytest.mark.parametrize("opened_by", [("f10",), ("f4",), ("ctrl+p",), ("f9",), ("ctrl+o",)])
async def test_in_a_dialog(stage: Stage, opened_by: tuple[str, ...]) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press(*opened_by)
        await play.until(lambda: not isinstance(play.app.screen, MainScreen) and play.app.screen.focused is not None)
        box = play.app.screen.query("TextArea, Input").first()
        box.focus()
        press_at_once(play, "ctrl+e", "ctrl+u", *"abc", "backspace", "d", "home", "X", "end", "Y")
        await play.until(lambda: text_of(box) == "XabdY")


SPACES_AND_JOINERS = "\u00a0\u202f\u3000\u200c\u200d\u00ad"
TURNING = "\u202e\u2066"


@pytest.mark.parametrize("opened_by", [(), ("f2", "slash"), ("f9",), ("f10",), ("ctrl+p",)])
async def test_characters_that_are_not_printable_are_typed_as_they_are_pasted(
    stage: Stage, opened_by: tuple[str, ...]
) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press(*opened_by)
        main = not opened_by or opened_by[0] == "f2"
        await play.until(lambda: isinstance(play.app.screen, MainScreen) == main and play.app.focused is not None)
        box = play.app.focused
        press_at_once(play, "ctrl+e", "ctrl+u")
        for character in f"a{SPACES_AND_JOINERS}b{TURNING}c":
            play.app.post_message(events.Key(_character_to_key(character), character))
        await play.until(lambda: text_of(box).endswith("c"))
        assert text_of(box) == f"a{SPACES_AND_JOINERS}b\ufffd\ufffdc"
        # The palette would still search while the app is taken down around it.
        await play.until(lambda: all(worker.is_finished for worker in play.app.screen.workers))


def text_of(box: object) -> str:
    """What stands in a box of either kind."""
    return box.value if isinstance(box, Input) else box.text if isinstance(box, TextArea) else ""


async def test_a_text_is_kept_with_all_that_was_typed_before(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f9")
        await play.until(lambda: not isinstance(play.app.screen, MainScreen) and play.app.screen.focused is not None)
        press_at_once(play, "end", "ctrl+u", *"Be brief.", "ctrl+s")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert play.open_session.system == "Be brief."


async def test_alt_with_a_letter_is_no_text_in_a_dialog(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f9")
        await play.until(lambda: not isinstance(play.app.screen, MainScreen) and play.app.screen.focused is not None)
        play.app.post_message(events.Key("alt+x", "x"))
        press_at_once(play, "y")
        area = play.app.screen.query_one(TextArea)
        await play.until(lambda: area.text.startswith("y"))
        assert area.text == f"y{play.open_session.system}"


def test_in_one_read_of_a_terminal(stage: Stage, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal()
    terminal.wait_for("ready")
    terminal.do("abc\x7fd\x1b[D\x1b[DX", "aXbd")
    terminal.do("\x05\nline two\nline three", "aXbd", "line two", "line three")


SEEN = ["か\u309a", "が", "e\u0301", "👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "x", "字"]
"""Each one character on screen, most of several code points."""


@pytest.mark.parametrize("opened", [("f2", "slash"), ()], ids=["search", "prompt"])
async def test_the_cursor_goes_over_whole_characters(stage: Stage, opened: tuple[str, ...]) -> None:
    async with stage.ready() as play:
        await play.press(*opened)
        play.app.post_message(events.Paste("".join(SEEN)))
        box = play.app.screen.query_one(SearchBox if opened else PromptBox)
        await play.until(lambda: _written(box) == "".join(SEEN))
        for n in range(len(SEEN) - 1, -1, -1):
            await play.press("left")
            assert _before_cursor(box) == "".join(SEEN[:n])
        await play.press("delete", "right", "right", "backspace")
        assert _written(box) == "".join([SEEN[1], *SEEN[3:]])
        await play.press("shift+right", "shift+right", "backspace")
        assert _written(box) == "".join([SEEN[1], *SEEN[5:]])
        assert _before_cursor(box) == SEEN[1]


async def test_clicks_and_the_lines_above_and_below_lead_to_whole_characters(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.screen.query_one(PromptBox)
        seen = "".join(SEEN)
        play.app.post_message(events.Paste(f"{seen}\n{'.' * 20}\n{seen}"))
        await play.until(lambda: box.text.count("\n") == 2)
        at, begin = 0, len("│ ")
        for n, character in enumerate(SEEN):
            for cell in range(at, at + cell_len(character)):
                await play.pilot.click(box, offset=(begin + cell, 1))
                assert box.cursor_location == (0, len("".join(SEEN[:n]))), (cell, character)
                box.cursor_location = (1, cell)
                await play.press("up")
                assert box.cursor_location == (0, len("".join(SEEN[:n]))), (cell, character)
                box.cursor_location = (1, cell)
                await play.press("down")
                assert box.cursor_location == (2, len("".join(SEEN[:n]))), (cell, character)
            at += cell_len(character)
        await play.pilot.click(box, offset=(begin + at, 1))
        assert box.cursor_location == (0, len(seen))


async def test_a_click_into_a_line_leads_to_a_whole_character(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f2", "slash")
        box = play.app.screen.query_one(SearchBox)
        play.app.post_message(events.Paste("".join(SEEN)))
        await play.until(lambda: box.value == "".join(SEEN))
        left = box.content_region.x - box.region.x
        at = 0
        for n, character in enumerate(SEEN):
            for cell in range(at, at + cell_len(character)):
                await play.pilot.click(box, offset=(left + cell, 0))
                assert box.cursor_position == len("".join(SEEN[:n])), (cell, character)
            at += cell_len(character)
        await play.pilot.click(box, offset=(left + at + 1, 0))
        assert box.cursor_position == len(box.value)


async def test_a_letters_marks_are_no_word_of_their_own(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.screen.query_one(PromptBox)
        text = "cafe\u0301 noir"
        play.app.post_message(events.Paste(text))
        await play.until(lambda: box.text == text)
        stops = {0, len("cafe\u0301"), len("cafe\u0301 "), len(text)} | {len("caf")}
        for key in ("ctrl+left", "ctrl+right"):
            for _ in range(5):
                await play.press(key)
                assert box.cursor_location[1] in stops
        assert box.cursor_location[1] == len(text)
        await play.press("ctrl+w", "ctrl+w", "ctrl+w")
        assert unicodedata.normalize("NFC", box.text) == box.text


def _written(box: Input | TextArea) -> str:
    return box.text if isinstance(box, TextArea) else box.value


def _before_cursor(box: Input | TextArea) -> str:
    return _written(box)[: box.cursor_location[1] if isinstance(box, TextArea) else box.cursor_position]
