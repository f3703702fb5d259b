"""Another program stays in the database: keys act meanwhile, lists show what can be read, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from textual.widgets._toast import Toast

from storage import claims, patience, sessions, tree
from storage.connections import open_database
from storage.owners import this_owner
from tests.tui.test_boxes import press_at_once
from tests.tui.test_history_in_app import listed, make_sessions
from tui import in_order
from tui.paths import user_paths
from tui.screens.help import HelpScreen
from tui.screens.main import interaction
from tui.screens.main.screen import MainScreen
from tui.services import housekeeping
from tui.services.history import History
from tui.services.opening import Opening
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SearchBox, SessionList

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@contextmanager
def held() -> Iterator[None]:
    """Another program that writes, for as long as the block takes."""
    with closing(open_database(user_paths().database)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits for the database waits until the other program lets go of it."""
    monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 1000.0)
    monkeypatch.setattr(in_order, "DEEDS_LIMIT_S", 0.01)
    monkeypatch.setattr(in_order, "ACTING_LIMIT_S", 1000.0)


@pytest.mark.usefixtures("endless")
async def test_keys_act_and_lists_are_read_while_what_is_written_waits(stage: Stage) -> None:
    make_sessions("Lakes", "Rivers")
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("hi")
        with held():
            press_at_once(play, *"draft")
            await play.until(lambda: box.text == "draft")
            press_at_once(play, "ctrl+n")
            await play.until(lambda: play.session_lock.locked())
            press_at_once(play, "up", *"!")
            await play.until(lambda: box.text == "hi!")
            press_at_once(play, "ctrl+u", "f1")
            await play.until(lambda: isinstance(play.app.screen, HelpScreen))
            press_at_once(play, "escape", "f2", "slash", *"lakes")
            await play.until(lambda: isinstance(play.app.screen, MainScreen))
            await play.until(lambda: listed(play)[:1] == ["Lakes"])
            assert play.app.query_one(SearchBox).value == "lakes"
            press_at_once(play, "enter")
            await play.until(lambda: isinstance(play.app.focused, SessionList))
            press_at_once(play, "escape", "escape", *"typed")
            await play.until(lambda: box.text == "typed")
        await play.until(lambda: play.open_session.session is None)


@pytest.mark.usefixtures("endless")
async def test_what_is_typed_behind_a_message_that_waits_to_be_stored_stays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interaction, "WAIT_SHOWN_S", 0.0)
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("hi")
        with held():
            await play.press(*"question", "enter")
            await play.until_shown("Storing the message …")
            await play.press("enter", *" and more")
            assert box.text == "question and more"
        await play.until(lambda: len(play.open_session.path) > 2)
        await play.answered()
        assert [shown.message.content for shown in play.open_session.path if shown.message.role == "user"] == [
            "hi",
            "question",
        ]
        assert box.text == "and more"
        assert "Storing the message" not in play.text()
        assert not play.app.screen.query(Toast)


async def test_what_is_sent_while_the_session_is_being_opened_is_not_said_to_be_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interaction, "WAIT_SHOWN_S", 0.0)
    recover, may_open = History.recover, asyncio.Event()

    async def recover_late(history: History) -> str | None:
        await may_open.wait()
        return await recover(history)

    monkeypatch.setattr(History, "recover", recover_late)
    async with stage.running() as play:
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.press(*"question", "enter")
        await play.until_shown("Opening the session …")
        assert "Storing the message" not in play.text()
        may_open.set()
        await play.answered()
        assert "Opening the session" not in play.text()


async def test_a_list_that_cannot_be_read_stays_as_it_was_shown(stage: Stage) -> None:
    make_sessions("Lakes")
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Lakes"])
        with closing(open_database(user_paths().database)) as other:
            other.execute("ALTER TABLE sessions RENAME TO hidden")
            await play.until_told("could not be used")
            await play.press("f2", "end")
            assert listed(play) == ["Today", "Lakes"]
            other.execute("ALTER TABLE hidden RENAME TO sessions")
        make_sessions("Rivers")
        await play.until(lambda: listed(play) == ["Today", "Rivers", "Lakes"])


async def test_who_has_waited_in_vain_is_told_soon_the_next_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 0.01)
    async with stage.ready() as play:
        play.app.workspace.store._retry_s = 0.01
        await play.ask("hi")
        with held():
            await play.ask("more")
            await play.until_told("kept in memory")
            # Nobody gets to know of the other program before a millennium has passed, unless something was learned.
            monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 1e6)
            await play.press("f2", "p")
            await play.until_told("Close the other program")
        await play.until_told("Everything is stored again")
        session = play.open_session.session
        assert session is not None
    with closing(open_database(user_paths().database)) as db:
        contents = [shown.message.content for shown in tree.path(db, session.id)]
    assert contents[0::2] == ["hi", "more"]


async def test_a_session_that_is_only_looked_at_does_not_go_to_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_TIMEOUT_S", 0.01)
    make_sessions("Lakes", "Rivers")
    with closing(open_database(user_paths().database)) as other:
        lakes, rivers = sorted(sessions.list_sessions(other), key=lambda session: session.title)
        owner = this_owner()
        for session in (lakes, rivers):
            claims.claim_session(other, session.id, owner)
        async with stage.ready(resume=lakes.id) as play:
            assert play.claim.held_by == owner
            sessions.rename_session(other, lakes.id, "Seas")
            with held():
                await play.until(lambda: "Seas" in play.shown("ChatHeader"))
                await play.opening.open(rivers.id)
                assert play.claim.held_by == owner
                assert not play.app.workspace.store.is_sheltering
            claims.release_session(other, rivers.id, owner)
            sessions.rename_session(other, rivers.id, "Streams")
            with held():
                await play.until(lambda: "Streams" in play.shown("ChatHeader"))
                assert not play.app.workspace.store.is_sheltering
            sessions.rename_session(other, rivers.id, "Brooks")
            await play.until(lambda: play.claim.held_by is None)


async def test_what_is_tried_again_and_again_is_in_the_log_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_PERIOD_S", "BEAT_PERIOD_S"):
        monkeypatch.setattr(housekeeping, name, 0.01)
    for name in ("FIRST_TIMEOUT_S", "HELD_TIMEOUT_S"):
        monkeypatch.setattr(patience, name, 0.001)
    n_beats = 0
    beat = Opening.beat

    async def count(self: Opening) -> None:
        nonlocal n_beats
        n_beats += 1
        await beat(self)

    monkeypatch.setattr(Opening, "beat", count)
    async with stage.ready() as play:
        await play.ask("hi")
        for _ in range(2):
            with held():
                n_before = n_beats
                await play.until(lambda n_before=n_before: n_beats > n_before + 5)
            n_before = n_beats
            await play.until(lambda n_before=n_before: n_beats > n_before + 1)
        logged = user_paths().app_log.read_text()
    assert logged.count("Tried again later") == logged.count("What was tried again worked.") == 2
