"""The main screen hands on what it is told, and its parts say what they cannot do."""

from __future__ import annotations

import asyncio

import pytest

from tests.tui.conftest import Stage
from tui import messages
from tui.screens.main.keys import MAIN_KEYS
from tui.screens.main.palette_commands import WITHOUT_KEY, main_commands
from tui.screens.main.receivers import Receivers
from tui.screens.main.screen import MainScreen
from tui.told import Told
from tui.widgets.transcript import Transcript


async def test_whatever_the_services_tell_concerns_somebody(stage: Stage) -> None:
    told = {kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Told)} - {Told}
    async with stage.ready() as play:
        assert play.app.screen.parts.receivers.kinds == told


async def test_whom_it_concerns_gets_it_one_after_the_other() -> None:
    got: list[str] = []

    async def take_time(event: messages.TitleChanged) -> None:
        await asyncio.sleep(0)
        got.append(f"first {event.title}")

    receivers = Receivers()
    receivers.set(messages.TitleChanged, take_time, lambda event: got.append(f"then {event.title}"))
    await receivers.take(messages.TitleChanged("Rivers"))
    assert got == ["first Rivers", "then Rivers"]


async def test_what_cannot_be_done_any_more_is_said(stage: Stage) -> None:
    async with stage.ready() as play:
        parts = play.app.screen.parts
        parts.interaction.do(parts.this_session.export("md"))
        await play.until_told("There is nothing to export yet")


async def test_before_the_screen_is_furnished_nothing_that_needs_its_parts_is_done_or_offered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def furnish_never(self: MainScreen) -> None:
        return

    monkeypatch.setattr(MainScreen, "_furnish", furnish_never)
    keys = [binding.action for binding in MAIN_KEYS]
    here = [binding.action.removeprefix("screen.") for binding in Transcript.BINDINGS if "screen." in binding.action]
    async with stage.app().run_test() as pilot:
        screen = pilot.app.screen_stack[0]
        for action in [*keys, *here, *(action for _, _, action in WITHOUT_KEY)]:
            if not action.startswith("app."):
                assert not await pilot.app.run_action(action, screen), action
        offered = {command.title for command in main_commands(screen)}
        assert not offered & {title for title, _, _ in WITHOUT_KEY}
        assert "Keys and what they do" in offered
