"""The command palette and the keys: what one of them has, the other has too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input

from tests.tui.test_boxes import press_at_once
from tui.screens.command_palette import Palette
from tui.screens.main.keys import MAIN_KEYS
from tui.screens.main.palette_commands import WITHOUT_KEY, main_commands
from tui.screens.main.screen import MainScreen
from tui.screens.system_prompt import SystemPromptScreen
from tui.slash import SLASH_COMMANDS
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SessionList
from tui.widgets.slider import Slider
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.widget import Widget

    from tests.tui.conftest import Stage

PANES = (PromptBox, Transcript, SessionList, Slider, CandidatesPane)


@pytest.mark.parametrize("pane", PANES)
async def test_every_key_that_does_something_is_a_command(stage: Stage, pane: type[Widget]) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        screen = play.app.screen
        assert isinstance(screen, MainScreen)
        screen.query(pane).first().focus()
        await play.until(lambda: isinstance(play.app.focused, pane))
        commands = {command.title for command in main_commands(screen)}
        active = [binding for _, binding, enabled, _ in screen.active_bindings.values() if enabled and binding.id]
        ours = {binding.tooltip for binding in active if not binding.system}
        ours -= {binding.tooltip for binding in play.app.BINDINGS}
        assert len(ours) > len(MAIN_KEYS) // 2
        assert ours <= commands


async def test_every_command_has_a_key_or_is_typed(stage: Stage) -> None:
    bindings = [binding for place in (MainScreen, *PANES) for binding in place.BINDINGS]
    tooltips = {binding.tooltip for binding in bindings}
    actions = {binding.action.removeprefix("screen.") for binding in bindings}
    without = {title: action for title, _, action in WITHOUT_KEY}
    async with stage.ready() as play:
        await play.ask("hello")
        assert isinstance(play.app.screen, MainScreen)
        for command in main_commands(play.app.screen):
            if command.title in without:
                action = without[command.title]
                assert action in actions or action.partition("(")[0] in SLASH_COMMANDS, command
            else:
                assert command.title in tooltips, command


async def test_a_command_of_the_focused_pane_works_from_the_palette(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f3")
        await play.until(lambda: isinstance(play.app.focused, Slider))
        await play.press("ctrl+p", *"the lowest value")
        await play.until_shown("The lowest value")
        await play.press("enter")
        await play.until(lambda: play.open_session.sampling.temperature == 0)


async def test_the_cursor_of_the_palette_does_not_blink(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("ctrl+p")
        await play.until(lambda: isinstance(play.app.screen, Palette))
        assert not play.app.screen.query_one(Input).cursor_blink


async def test_an_enter_right_behind_the_search_chooses_from_what_it_finds(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("ctrl+p")
        await play.until_shown("Answer this message again")
        press_at_once(play, *"the lowest value", *["backspace"] * 16, *"what the model is told", "enter", *"xy")
        await play.until(lambda: isinstance(play.app.screen, SystemPromptScreen))
        assert len(play.open_session.path) == 2


@pytest.mark.parametrize("key", ["f1", "f2", "f3", "f4", "f9", "f10", "alt+p"])
async def test_no_command_takes_the_screen_apart(stage: Stage, key: str) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press(key)
        titles = {command.title for command in play.app.get_system_commands(play.app.screen)}
        assert titles >= {"Quit", "Theme", "Screenshot"}
        assert not titles & {"Keys", "Maximize", "Minimize"}


async def test_over_a_dialog_there_is_what_can_be_done_in_it(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("f9")
        await play.until(lambda: isinstance(play.app.screen, SystemPromptScreen))
        titles = {command.title for command in play.app.get_system_commands(play.app.screen)}
        assert titles >= {"Keep it, from the next answer on", "Close, and change nothing", "Quit", "Theme"}
        assert not titles & {binding.tooltip for binding in MAIN_KEYS}, "what is below has to wait"
        await play.press(*"Be brief. ", "ctrl+p", *"keep it")
        await play.until_shown("Keep it, from the next answer on")
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.until(lambda: "Be brief." in play.open_session.system)
