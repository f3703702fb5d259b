"""Dialogs: closed once, whatever keys come quickly behind the one that closes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input, OptionList

from tui.screens.dialog import Dialog
from tui.screens.main import MainScreen

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


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


async def test_two_enters_in_a_line_close_a_dialog_once(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        line = (await open_dialog(play, "f10")).query_one(Input)
        await line.action_submit()
        await line.action_submit()
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert await play.ask("still there?") == "Paris is the capital of France."
