"""Dialogs: closed once, whatever keys come quickly, and with nothing lost that was written in them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual.command import CommandList
from textual.widgets import Input, OptionList, TextArea

from tests.tui.test_drafts import held_session
from tui.screens.command_palette import Palette
from tui.screens.dialog import Dialog
from tui.screens.main.screen import MainScreen
from tui.widgets.message_view import TINTED
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage
    from tui.services.models import Survey


async def open_dialog(play: Play, key: str) -> Dialog[object]:
    """Press a key that opens a dialog, and wait until it takes keys."""
    await play.press(key)
    await play.until(lambda: isinstance(play.app.screen, Dialog) and play.app.screen.focused is not None)
    return play.app.screen


async def test_choosing_twice_closes_a_dialog_once(stage: Stage) -> None:
    async with stage.ready() as play:
        choices = (await open_dialog(play, "alt+p")).query_one(OptionList)
        choices.action_select()
        choices.action_select()
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert await play.ask("still there?") == "Paris is the capital of France."


async def test_models_that_are_found_while_their_list_is_closed_are_let_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.ready() as play:
        models, found = play.app.workspace.models, asyncio.Event()
        survey = models.survey

        async def late_survey() -> Survey:
            await found.wait()
            return await survey()

        monkeypatch.setattr(models, "survey", late_survey)
        picker = await open_dialog(play, "f4")
        await picker.query_one(".dialog").remove_children()
        found.set()
        await picker.workers.wait_for_complete(list(picker.workers))
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))


async def test_two_enters_in_a_line_close_a_dialog_once(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        line = (await open_dialog(play, "f10")).query_one(Input)
        await line.action_submit()
        await line.action_submit()
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert await play.ask("still there?") == "Paris is the capital of France."


async def test_choosing_twice_in_the_palette_carries_a_command_out_once(stage: Stage) -> None:
    async with stage.ready() as play:
        main = play.app.screen
        await play.press("ctrl+p", *"tint answers")
        palette = play.app.screen
        assert isinstance(palette, Palette)
        commands = palette.query_one(CommandList)
        await play.until(lambda: commands.option_count and commands.highlighted is not None)
        commands.action_select()
        commands.action_select()
        await play.until(lambda: play.app.screen is main)
        await play.until(lambda: main.has_class(TINTED))
        await play.pilot.pause()
        assert main.has_class(TINTED)


async def test_a_text_that_is_closed_is_offered_again(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        for key, before in (("f9", play.open_session.system), ("ctrl+o", "hello")):
            await open_dialog(play, key)
            await play.press("end", *"!?", "escape")
            await play.until(lambda: isinstance(play.app.screen, MainScreen))
            area = (await open_dialog(play, key)).query_one(TextArea)
            assert area.text == f"{before}!?"
            assert "did not keep it" in play.text()
            await play.press("ctrl+z")
            assert area.text == before
            await play.press("escape")
            await play.until(lambda: isinstance(play.app.screen, MainScreen))
            await open_dialog(play, key)
            assert "did not keep it" not in play.text()
            await play.press("escape")
            await play.until(lambda: isinstance(play.app.screen, MainScreen))


async def test_leaving_with_a_text_in_a_dialog_is_asked_for_twice(stage: Stage) -> None:
    async with stage.ready() as play:
        await open_dialog(play, "f9")
        await play.press(*"Be brief.", "ctrl+q")
        await play.until_told("is not kept yet")
        assert play.app.is_running
        await play.press("ctrl+q")
        await play.until(lambda: not play.app.is_running)


async def test_a_system_prompt_that_a_held_session_refuses_is_offered_again(stage: Stage) -> None:
    session_id = held_session()
    async with stage.ready(resume=session_id) as play:
        await play.until_shown("Open in another llm-tui")
        await open_dialog(play, "f9")
        await play.press(*"Be brief.", "ctrl+s")
        await play.until_told("is open in another llm-tui")
        area = (await open_dialog(play, "f9")).query_one(TextArea)
        assert area.text == "Be brief."


@pytest.mark.parametrize("keys", [("alt+p",), ("f4",), ("f1",), ("f9",), ("ctrl+p",), ("f2",), (*"/settings", "enter")])
async def test_where_there_is_no_room_nothing_breaks(stage: Stage, keys: tuple[str, ...]) -> None:
    async with stage.ready((44, 40)) as play:
        await play.ask("hello")
        await play.press(*keys)
        for size in [(12, 6), (7, 5), (6, 5), (5, 4), (3, 3), (1, 1), (80, 24)]:
            await play.pilot.resize_terminal(*size)
            await play.press("down")
        await play.press("escape", "escape")
        await play.until(lambda: isinstance(play.app.focused, PromptBox))
