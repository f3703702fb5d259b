"""Leaving is no error, whatever was going on; only what could not be stored is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from storage import sessions
from storage.connections import open_database
from storage.database import Database
from tests.tui.conftest import PATIENCE_S
from tui.app import _run
from tui.paths import user_paths
from tui.screens.main.screen import MainScreen
from tui.services.workspace import Workspace

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tests.tui.conftest import Stage


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The database is being opened until this is set."""
    ready, open_ = threading.Event(), Database._open

    def open_slowly(self: Database) -> None:
        assert ready.wait(PATIENCE_S)
        open_(self)

    monkeypatch.setattr(Database, "_open", open_slowly)
    yield ready
    ready.set()


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


async def test_what_is_typed_before_the_database_is_open_is_stored(
    stage: Stage, opening: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Workspace._close

    async def close_and_open(self: Workspace) -> None:
        opening.set()
        await close(self)

    monkeypatch.setattr(Workspace, "_close", close_and_open)
    await _left_by("draft", stage, monkeypatch)
    with closing(open_database(user_paths().database)) as db:
        assert [sessions.get_session(db, found.id).draft for found in sessions.list_sessions(db)] == ["draft"]


@pytest.mark.usefixtures("opening")
async def test_with_nothing_typed_nobody_waits_for_the_database(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await _left_by("", stage, monkeypatch)


async def _left_by(typed: str, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the app and quit it as soon as there is a box to type in."""

    async def type_and_quit(pilot: Pilot[None]) -> None:
        await stage.play_of(pilot).until(lambda: pilot.app.screen.is_furnished)
        await pilot.press(*typed, "ctrl+q")

    app = stage.app()
    options: dict[str, Any] = {"headless": True, "auto_pilot": type_and_quit}
    monkeypatch.setattr(app, "run_async", partial(app.run_async, **options))
    await _run(app)
    assert app.return_code == 0
