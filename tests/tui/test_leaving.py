"""Leaving is no error, whatever was going on; only what could not be stored is one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tui.app import _run
from tui.paths import user_paths
from tui.screens.main.screen import MainScreen
from tui.services.workspace import Workspace

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tests.tui.conftest import Stage


async def test_what_misses_something_while_the_app_leaves_is_no_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def furnish(self: MainScreen) -> None:
        self.app.exit(return_code=143)
        self.query_one("#gone")

    monkeypatch.setattr(MainScreen, "_furnish", furnish)
    app = stage.app()
    await app.run_async(headless=True)
    assert app.return_code == 143
    assert "NoMatches" in user_paths().app_log.read_text()


async def test_what_goes_wrong_before_is_an_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def furnish(self: MainScreen) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(MainScreen, "_furnish", furnish)
    app = stage.app()
    await app.run_async(headless=True)
    assert app.return_code == 1


async def test_what_goes_wrong_in_storing_is_told_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave_badly(self: Workspace) -> None:
        raise RuntimeError("out of order")

    async def quit_(pilot: Pilot[None]) -> None:
        await stage.play_of(pilot).until(lambda: pilot.app.screen.is_furnished)
        await pilot.press("ctrl+q")

    monkeypatch.setattr(Workspace, "_leave", leave_badly)
    app = stage.app()
    monkeypatch.setattr(app, "run_async", partial(app.run_async, headless=True, auto_pilot=quit_))
    with pytest.raises(RuntimeError, match="out of order"):
        await _run(app)
