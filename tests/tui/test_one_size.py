"""A window that changes its size while the screen is busy: the app is laid out for the last one, and goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual import events
from textual.geometry import Size

from tui.screens.main.screen import MainScreen

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

MOST = 20
"""Layouts until all is quiet again. Sizes that take turns for ever let nothing else happen, a test's end too."""


async def test_sizes_that_wait_for_a_busy_screen_do_not_take_turns_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[Size] = []
    resized = MainScreen._screen_resized

    def take_note(self: MainScreen, size: Size) -> None:
        sizes.append(size)
        assert len(sizes) < MOST
        resized(self, size)

    async with stage.ready(size=(80, 24)) as play:
        app, screen, go_on = play.app, play.app.screen, asyncio.Event()
        monkeypatch.setattr(MainScreen, "_screen_resized", take_note)
        screen.call_later(go_on.wait)
        for size in (Size(80, 5), Size(100, 30), Size(160, 24)):
            app.post_message(events.Resize(size, size))
            while app.size != size or app._resize_event is not None:
                await asyncio.sleep(0)
            # Something between two sizes, which are one otherwise.
            screen.call_later(sizes.copy)
        go_on.set()
        await play.until(lambda: screen.size == (160, 24))
    assert set(sizes) == {Size(160, 24)}
