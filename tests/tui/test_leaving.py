"""Leaving is no error, whatever was going on; only what could not be stored is one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from storage import answers, sessions, tree
from storage.connections import open_database
from storage.database import Database
from tests.tui.conftest import PATIENCE_S
from tests.tui.terminal import Terminal
from tui.app import _run
from tui.paths import user_paths
from tui.screens.main.screen import MainScreen
from tui.services.workspace import Workspace
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tests.tui.conftest import Stage
    from tui.app import LlmTuiApp

HANGING = """
import sys, threading
from pathlib import Path
from tests.tui.scripted_app import ENGINE
from tui.app import run
from tui.options import AppOptions
from tui.services import models

def hang(*_, **__):
    Path(f"{script}.hangs").touch()
    threading.Event().wait()

models.choose_model = hang
model, script = sys.argv[1:]
sys.exit(run(AppOptions(model=model), engine_command=[sys.executable, str(ENGINE), script]))
"""
"""A start with a model in a folder that does not answer, like that of a network that is away."""

STORING = """
import sys, time
from pathlib import Path
from storage import claims
from tests.tui.scripted_app import ENGINE
from tui.app import run
from tui.options import AppOptions

release = claims.release_session

def release_late(*arguments):
    while not Path(f"{script}.stored").exists():
        time.sleep(0.01)
    release(*arguments)

claims.release_session = release_late
model, script = sys.argv[1:]
sys.exit(run(AppOptions(model=model), engine_command=[sys.executable, str(ENGINE), script]))
"""
"""A disk that takes its time when the session is left."""


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
    assert stored_drafts() == ["draft"]


async def test_what_is_typed_then_comes_behind_the_draft_of_the_session_that_is_being_opened(
    stage: Stage, opening: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_with_draft("before, ")
    close = Workspace._close

    async def close_and_open(self: Workspace) -> None:
        opening.set()
        await close(self)

    monkeypatch.setattr(Workspace, "_close", close_and_open)
    await _left_by("after", stage, monkeypatch, continue_last=True)
    assert stored_drafts() == ["before, after"]


async def test_what_is_typed_before_a_session_is_open_is_shown_behind_its_draft(
    stage: Stage, opening: threading.Event
) -> None:
    session_with_draft("before, ")
    async with stage.running(continue_last=True) as play:
        await play.press(*"after")
        opening.set()
        await play.until(lambda: play.app.screen.query_one(PromptBox).text == "before, after")
    assert stored_drafts() == ["before, after"]


async def test_what_is_sent_before_a_session_is_open_leaves_its_draft_in_the_box(
    stage: Stage, opening: threading.Event
) -> None:
    session_with_draft("before, ")
    async with stage.running(continue_last=True) as play:
        await play.press(*"question", "enter")
        opening.set()
        await play.answered()
        assert play.open_session.path[0].message.content == "question"
        await play.until(lambda: play.app.screen.query_one(PromptBox).text == "before, ")
    assert stored_drafts() == ["before, "]


async def test_what_is_typed_before_there_are_services_is_stored(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: MainScreen) -> None:
        return

    monkeypatch.setattr(MainScreen, "_furnish", never)

    async def type_and_quit(pilot: Pilot[None]) -> None:
        await pilot.press(*"early", "ctrl+q")

    await _run_with(type_and_quit, stage.app(), monkeypatch)
    assert stored_drafts() == ["early"]


async def test_what_is_typed_for_a_session_that_is_not_open_yet_is_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, set_draft, close = threading.Event(), sessions.set_draft, Workspace._close

    def set_slowly(*arguments: Any) -> None:
        assert ready.wait(PATIENCE_S)
        set_draft(*arguments)

    async def close_then(self: Workspace) -> None:
        ready.set()
        await close(self)

    async def go_on_and_quit(pilot: Pilot[None]) -> None:
        play = stage.play_of(pilot)
        await play.until(lambda: pilot.app.screen.is_furnished)
        await play.ask("question")
        monkeypatch.setattr(sessions, "set_draft", set_slowly)
        await play.press(*"first", "ctrl+n")
        await play.press(*"second", "ctrl+q")

    monkeypatch.setattr("tui.in_order.DEEDS_LIMIT_S", 0.0)
    monkeypatch.setattr(Workspace, "_close", close_then)
    await _run_with(go_on_and_quit, stage.app(), monkeypatch)
    assert sorted(stored_drafts()) == ["first", "second"]


async def test_who_leaves_while_the_session_of_a_draft_is_being_made_finds_one_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ready, create, close = threading.Event(), threading.Event(), sessions.create_session, Workspace._close

    def create_slowly(*arguments: Any, **more: Any) -> Any:
        begun.set()
        assert ready.wait(PATIENCE_S)
        return create(*arguments, **more)

    async def close_then(self: Workspace) -> None:
        ready.set()
        await close(self)

    async def type_and_quit(pilot: Pilot[None]) -> None:
        play = stage.play_of(pilot)
        await play.until(lambda: pilot.app.screen.is_furnished and pilot.app.workspace.is_open)
        await play.press(*"typed", "ctrl+n")
        await play.until(begun.is_set)
        await play.press("ctrl+q")

    monkeypatch.setattr("tui.in_order.DEEDS_LIMIT_S", 0.0)
    monkeypatch.setattr(sessions, "create_session", create_slowly)
    monkeypatch.setattr(Workspace, "_close", close_then)
    await _run_with(type_and_quit, stage.app(), monkeypatch)
    assert stored_drafts() == ["typed"]


@pytest.mark.parametrize("is_stored", [False, True])
async def test_a_message_that_is_being_stored_while_the_app_is_left_is_no_draft(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    begun, ready, close = threading.Event(), threading.Event(), Workspace._close
    module, name = (answers, "begin_answer") if is_stored else (tree, "append_message")
    store = getattr(module, name)

    def store_slowly(*arguments: Any, **more: Any) -> Any:
        begun.set()
        assert ready.wait(PATIENCE_S)
        return store(*arguments, **more)

    async def close_then(self: Workspace) -> None:
        ready.set()
        await close(self)

    async def ask_and_quit(pilot: Pilot[None]) -> None:
        play = stage.play_of(pilot)
        await play.until(lambda: pilot.app.screen.is_furnished and pilot.app.workspace.engine.is_ready)
        monkeypatch.setattr(module, name, store_slowly)
        await play.press(*"question", "enter")
        await play.until(begun.is_set)
        await play.press("ctrl+q")

    monkeypatch.setattr(Workspace, "_close", close_then)
    await _run_with(ask_and_quit, stage.app(), monkeypatch)
    with closing(open_database(user_paths().database)) as db:
        (session,) = sessions.list_sessions(db)
        assert tree.path(db, session.id)[0].message.content == "question"
    assert stored_drafts() == [""]


@pytest.mark.usefixtures("opening")
async def test_with_nothing_typed_nobody_waits_for_the_database(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await _left_by("", stage, monkeypatch)


def test_nobody_waits_for_a_folder_that_does_not_answer(stage: Stage) -> None:
    terminal = Terminal([sys.executable, "-c", HANGING, str(stage.model), str(stage.script)], {})
    try:
        terminal.wait_shown("Ask something")
        while not Path(f"{stage.script}.hangs").exists():
            assert terminal.read()
        terminal.type("\x11")
        assert terminal.wait_for_end() == 0
    finally:
        terminal.close()


def test_what_leaving_waits_for_is_said(stage: Stage) -> None:
    terminal = Terminal([sys.executable, "-c", STORING, str(stage.model), str(stage.script)], {})
    try:
        terminal.wait_shown("ready")
        terminal.do("question\r", "Paris is")
        begun = len(terminal.output)
        terminal.type("\x11")
        terminal.wait_for("What was said is still being stored …", begun)
        # On the shell's screen, not on the app's that has gone.
        assert "\x1b[?1049l" in terminal.output[begun:].decode(errors="replace").partition("still being stored")[0]
        Path(f"{stage.script}.stored").touch()
        assert terminal.wait_for_end() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("key", "title"), [("\x0f", "Another version of this message"), ("\x1b[20~", "System prompt of this session")]
)
def test_what_is_written_in_a_dialog_is_a_draft_of_its_own_where_the_app_is_cut_off(
    stage: Stage, open_terminal: Callable[..., Terminal], key: str, title: str
) -> None:
    terminal = open_terminal()
    terminal.wait_shown("ready")
    terminal.do("question\r", "Paris is")
    terminal.wait_shown("ctrl+r again")
    terminal.do(key, title)
    # A word that the screen has nowhere else.
    terminal.do("\x1b[Fwombat", "wombat")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait_for_end() == 128 + signal.SIGTERM
    first, second = sorted(stored_drafts())
    assert (first, "wombat" in second) == ("", True)


def session_with_draft(text: str) -> None:
    """A stored session, in which something was typed and not sent."""
    with closing(open_database(user_paths().database)) as db:
        session = sessions.create_session(db, model="m", system="", settings={}, title="Stored")
        sessions.set_draft(db, session.id, text)


def stored_drafts() -> list[str]:
    """Those of all stored sessions."""
    with closing(open_database(user_paths().database)) as db:
        return [sessions.get_session(db, found.id).draft for found in sessions.list_sessions(db)]


async def _left_by(typed: str, stage: Stage, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Run the app and quit it as soon as there is a box to type in."""

    async def type_and_quit(pilot: Pilot[None]) -> None:
        await stage.play_of(pilot).until(lambda: pilot.app.screen.is_furnished)
        await pilot.press(*typed, "ctrl+q")

    await _run_with(type_and_quit, stage.app(**options), monkeypatch)


async def _run_with(
    user: Callable[[Pilot[None]], Awaitable[None]], app: LlmTuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"headless": True, "auto_pilot": user}
    monkeypatch.setattr(app, "run_async", partial(app.run_async, **options))
    await _run(app)
    assert app.return_code == 0
