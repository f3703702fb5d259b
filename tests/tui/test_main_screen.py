"""The main screen hands on what it is told, and its parts say what they cannot do."""

from __future__ import annotations

import asyncio

from tests.tui.conftest import Stage
from tui import messages
from tui.screens.main.receivers import Receivers
from tui.told import Told


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
