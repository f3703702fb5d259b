"""The prompt box: enter sends, ctrl+j breaks the line, a paste never sends, and it grows to a third of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual import events

from tests.tui.test_boxes import press_at_once
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_ctrl_j_and_alt_enter_break_the_line(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("a", "ctrl+j", "b", "alt+enter", "c", "enter")
        await play.answered()
        assert play.open_session.path[0].message.content == "a\nb\nc"


async def test_a_pasted_text_of_many_lines_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        play.app.post_message(events.Paste("one\r\ntwo\n\x1b[31mthree\n"))
        await play.until(lambda: box.text)
        assert box.text == "one\ntwo\n␛[31mthree\n"
        assert play.open_session.path == []


@pytest.mark.parametrize("pane", ["f2", "f3", "alt+c", "shift+tab"])
@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_what_is_pasted_beside_all_boxes_comes_into_this_one(
    stage: Stage, size: tuple[int, int], pane: str
) -> None:
    async with stage.ready(size) as play:
        await play.ask("hello")
        await play.press(*"So: ", pane)
        box = play.app.query_one(PromptBox)
        assert play.app.focused is not box
        play.app.post_message(events.Paste("one\ntwo"))
        press_at_once(play, *" and three")
        await play.until(lambda: box.text.endswith("three"))
        assert box.text == "So: one\ntwo and three"
        assert play.app.focused is box
        assert not play.app.screen.query_one("#engine").display or size[0] > 100


async def test_what_is_pasted_over_a_dialog_without_a_box_goes_nowhere(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("alt+p")
        play.app.post_message(events.Paste("one"))
        await play.press("escape", "!")
        box = play.app.query_one(PromptBox)
        await play.until(lambda: "!" in box.text)
        assert box.text == "!"


async def test_a_paste_that_comes_as_keys_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        for key, character in (("a", "a"), ("enter", "\r"), ("enter", "\r"), ("b", "b")):
            play.app.post_message(events.Key(key, character))
        await play.until(lambda: "b" in box.text)
        assert box.text == "a\n\nb"
        assert play.open_session.path == []


@pytest.mark.parametrize("enter_sends", [True, False])
async def test_a_line_break_of_windows_is_one_in_a_paste_that_comes_as_keys(stage: Stage, enter_sends: bool) -> None:
    settings = f"[chat]\nmodel_titles = false\nenter_sends = {str(enter_sends).lower()}\n"
    (stage.home / "settings.toml").write_text(settings)
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, "a", "enter", "ctrl+j", "b", "enter", "ctrl+j", "enter", "ctrl+j", "c")
        await play.until(lambda: box.text.endswith("c"))
        assert box.text == "a\nb\n\nc"
        assert play.open_session.path == []


async def test_a_tab_at_the_beginning_of_a_line_is_pasted_too(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, "a", "enter", "tab", "b")
        await play.until(lambda: box.text == "a\n\tb")
        assert play.app.focused is box
        assert play.open_session.path == []


@pytest.mark.parametrize("keys", [("backspace", "backspace", "d"), ("ctrl+u", "d"), ("left", "left", "d"), ("up",)])
async def test_a_key_that_is_no_text_acts_behind_the_enter_before_it(stage: Stage, keys: tuple[str, ...]) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, *"abc", "enter", *keys)
        await play.answered()
        assert play.open_session.path[0].message.content == "abc"
        await play.until(lambda: box.text == ("abc" if keys == ("up",) else "d"))


async def test_what_is_pasted_behind_an_enter_is_not_sent_with_it(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, *"abc", "enter")
        play.app.post_message(events.Paste("def\nghi"))
        await play.answered()
        assert play.open_session.path[0].message.content == "abc"
        assert box.text == "def\nghi"


async def test_a_command_is_carried_out_before_the_key_behind_it_acts(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("hi")
        press_at_once(play, *"/title Mine", "enter", "backspace", "d")
        await play.until(lambda: play.open_session.session.title == "Mine")
        await play.until(lambda: box.text == "d")


async def test_nothing_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("space", "enter", "x", "enter")
        await play.answered()
        assert len(play.open_session.path) == 2
        assert play.open_session.path[0].message.content == "x"


async def test_it_grows_to_a_third_of_the_screen(stage: Stage) -> None:
    async with stage.ready(size=(80, 24)) as play:
        box = play.app.query_one(PromptBox)
        assert box.outer_size.height == 3
        await play.press("a", "ctrl+j", "b")
        await play.until(lambda: box.outer_size.height == 4)
        await play.press(*["ctrl+j"] * 30)
        await play.until(lambda: box.outer_size.height == 8)


async def test_enter_and_ctrl_j_can_be_swapped(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text("[chat]\nmodel_titles = false\nenter_sends = false\n")
    async with stage.ready() as play:
        await play.press("a", "enter", "b")
        assert play.app.query_one(PromptBox).text == "a\nb"
        assert "ctrl+j send" in play.text()
        await play.press("ctrl+j")
        await play.answered()
        assert play.open_session.path[0].message.content == "a\nb"


async def test_up_on_the_first_line_brings_back_what_was_asked_and_down_what_was_typed(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("first")
        await play.press("ctrl+n")
        await play.until(lambda: not play.open_session.path)
        await play.press("t", "w", "o", "ctrl+j", "l", "i", "n", "e", "s", "enter")
        await play.answered()
        await play.press(*"draft", "up")
        await play.until(lambda: box.text == "two\nlines")
        await play.press("up")
        assert box.text == "two\nlines"
        await play.press("up")
        await play.until(lambda: box.text == "first")
        await play.press("up")
        assert box.text == "first"
        await play.press("down")
        await play.until(lambda: box.text == "two\nlines")
        await play.press("down")
        await play.until(lambda: box.text == "draft")


async def test_a_prompt_brought_back_and_changed_is_where_down_comes_back_to(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("one")
        await play.press("up")
        await play.until(lambda: box.text == "one")
        await play.press("!", "up")
        await play.until(lambda: box.text == "one")
        await play.press("down")
        await play.until(lambda: box.text == "one!")


async def test_letters_right_behind_up_are_written_behind_what_comes_back(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("one")
        await play.ask("two")
        press_at_once(play, "up", "up", *" more")
        await play.until(lambda: box.text == "one more")
        press_at_once(play, "up", "down", "backspace", "enter", "up")
        await play.until(lambda: len(play.open_session.path) == 6)
        assert play.open_session.path[4].message.content == "one mor"
        await play.until(lambda: box.text == "one mor")
