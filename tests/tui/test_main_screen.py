"""The main screen hands on what it is told."""

from __future__ import annotations

from tests.tui.conftest import Stage
from tui import messages
from tui.told import Told


async def test_whatever_the_services_tell_concerns_somebody(stage: Stage) -> None:
    told = {kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Told)} - {Told}
    async with stage.ready() as play:
        assert play.app.screen.parts.receivers.kinds == told
