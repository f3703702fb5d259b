"""The prompt box: enter sends, ctrl+j breaks the line, a paste never sends, and it grows to a third of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events

from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_ctrl_j_and_alt_enter_break_the_line(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("a", "ctrl+j", "b", "alt+enter", "c", "enter")
        await play.answered()
        assert play.conversation.path[0].message.content == "a\nb\nc"


async def test_a_pasted_text_of_many_lines_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        play.app.post_message(events.Paste("one\r\ntwo\n\x1b[31mthree\n"))
        await play.until(lambda: box.text)
        assert box.text == "one\ntwo\n␛[31mthree\n"
        assert play.conversation.path == []


async def test_a_paste_that_comes_as_keys_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        for key, character in (("a", "a"), ("enter", "\r"), ("enter", "\r"), ("b", "b")):
            play.app.post_message(events.Key(key, character))
        await play.until(lambda: "b" in box.text)
        assert box.text == "a\n\nb"
        assert play.conversation.path == []


async def test_nothing_is_not_sent(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("space", "enter", "x", "enter")
        await play.answered()
        assert len(play.conversation.path) == 2
        assert play.conversation.path[0].message.content == "x"


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
        assert play.conversation.path[0].message.content == "a\nb"


async def test_up_on_the_first_line_brings_back_what_was_asked_and_down_what_was_typed(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("first")
        await play.press("ctrl+n")
        await play.until(lambda: not play.conversation.path)
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
