"""A session that is left just when something in it ends or changes: that belongs to it, and not to the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.protocol import Failed, PromptProgress
from storage import answers, sessions, tree
from storage.errors import StorageError
from tests.tui.conftest import PATIENCE_S
from tests.tui.test_engine_trouble import COUNTING, engine_pids
from tui.paths import user_paths
from tui.services.conversation import Conversation
from tui.services.workspace import Workspace
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer
    from tests.tui.conftest import Stage
    from tui.services.engine_events import AnswerEvent


@dataclass
class SlowDisk:
    """The end of an answer is being stored from `begun` until `ready`."""

    begun: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk, finish = SlowDisk(), answers.finish_answer

    def finish_slowly(*arguments: Any, **more: Any) -> Any:
        disk.begun.set()
        assert disk.ready.wait(PATIENCE_S)
        return finish(*arguments, **more)

    monkeypatch.setattr(answers, "finish_answer", finish_slowly)
    yield disk
    disk.ready.set()


async def test_a_new_session_while_an_answer_is_stored_stays_new(stage: Stage, slow_disk: SlowDisk) -> None:
    async with stage.ready() as play:
        await play.say("question")
        await play.until(slow_disk.begun.is_set)
        leaving = asyncio.create_task(play.opening.new())
        await play.pilot.pause()
        slow_disk.ready.set()
        await leaving
        await play.pilot.pause()
        assert (play.open_session.session, play.open_session.path) == (None, [])
        await play.ask("another")
        assert [item.message.content for item in play.open_session.path][:1] == ["another"]


@pytest.mark.parametrize(
    ("script", "shown", "way_on"),
    [({"hold_after": 3}, "number2", "ctrl+g there goes on"), ({"hold_prompt": True}, "4 of 12", "ctrl+r there writes")],
)
async def test_an_answer_that_is_stopped_by_leaving_is_told_of(
    stage: Stage, script: dict[str, Any], shown: str, way_on: str
) -> None:
    stage.set_script(answers=[COUNTING], **script)
    Path(f"{stage.script}.chunk").touch()
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown(shown)
        await play.press("ctrl+n")
        await play.until_told(f"The answer was stopped. {way_on}")
        play.app.clear_notifications()
        await play.press("x", "ctrl+n")
        await play.until(
            lambda: not play.app.screen.query_one(PromptBox).text and not play.app.screen.parts.switching.n_under_way
        )
        assert not play.app._notifications


async def test_an_answer_that_is_stopped_by_deleting_its_session_cannot_go_on(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press("f2", "d")
        await play.until_told("Session deleted.")
        assert [note.message[:15] for note in play.app._notifications] == ["Session deleted"]


async def test_an_answer_that_is_being_stored_is_not_over(stage: Stage, slow_disk: SlowDisk) -> None:
    async with stage.ready() as play:
        await play.say("question")
        await play.until(slow_disk.begun.is_set)
        assert play.writing.is_busy
        assert not await play.conversation.send("too soon")
        slow_disk.ready.set()
        await play.answered()


async def test_an_answer_that_ends_in_a_branch_that_is_not_shown_is_over_too(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("question")
        first = play.open_session.path[-1].message.id
        stage.set_script(answers=[COUNTING], hold_after=3)
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.conversation.answer_again()
        await play.until_shown("number2")
        # As another app would: this one does not while an answer is written.
        await play.app.workspace.store.call(tree.switch_to, first)
        await play.press("escape")
        await play.until(lambda: not play.writing.is_busy)
        assert play.open_session.path[-1].message.id == first
        await play.until_shown("Paris is the capital of France.")
        await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)
        assert await play.conversation.send("still there?")
        await play.until_shown("number2")


async def test_an_answer_that_fails_unseen_while_its_prompt_is_read_leaves_no_word_of_it(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("question")
        first = play.open_session.path[-1].message.id
        stage.set_script(hold_prompt=True)
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.conversation.answer_again()
        await play.until_shown("4 of 12 tokens")
        await play.app.workspace.store.call(tree.switch_to, first)
        failed = Failed(request_id=play.writing.answer.request_id, kind="", message="Out of order.")
        await play.app.workspace.engine.on_answer(failed)
        await play.until(lambda: not play.writing.is_busy)
        await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)


@pytest.mark.parametrize("change", [Conversation.rename, Conversation.set_template])
async def test_a_change_of_a_session_that_is_left_at_once_does_not_bring_it_back(stage: Stage, change: Any) -> None:
    async with stage.ready() as play:
        await play.ask("question")
        session = play.open_session.session
        assert session is not None
        await asyncio.gather(change(play.conversation, "chatml"), play.opening.new())
        assert (play.open_session.session, play.open_session.path) == (None, [])
        stored = await play.app.workspace.store.call(sessions.get_session, session.id)
        assert "chatml" in (stored.title, stored.template)


async def test_an_event_that_cannot_be_taken_in_does_not_silence_the_engine(stage: Stage) -> None:
    async with stage.ready() as play:
        engine = play.app.workspace.engine
        take = engine.on_answer

        async def take_badly(event: AnswerEvent) -> None:
            if isinstance(event, PromptProgress):
                raise RuntimeError("out of order")
            await take(event)

        engine.on_answer = take_badly
        assert await play.ask("question") == "Paris is the capital of France."
        await play.until_told("This should not have happened: RuntimeError: out of order.")
    assert "in take_badly" in user_paths().app_log.read_text()


async def test_an_error_that_nobody_foresaw_in_the_background_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.ready() as play:

        async def look_badly() -> bool:
            raise RuntimeError("out of order")

        monkeypatch.setattr(play.app.workspace.store, "changed_elsewhere", look_badly)
        await play.until_told("This should not have happened: RuntimeError: out of order.")
    assert "in look_badly" in user_paths().app_log.read_text()


async def test_a_servers_token_that_cannot_be_one_does_no_harm(stage: Stage, scripted_server: ScriptedServer) -> None:
    token = {"token": "Paris.", "logprob": -0.1, "id": 2**31, "top_logprobs": []}
    choice = {"index": 0, "delta": {"content": "Paris."}, "logprobs": {"content": [token]}, "finish_reason": "stop"}
    (stage.home / "settings.toml").write_text(f'[servers.cluster]\nbase_url = "{scripted_server.url}"\n')
    scripted_server.plays = [scripted_server.stream({"choices": [choice]})]
    async with stage.ready(server="cluster", model=None) as play:
        assert await play.ask("Capital?") == "Paris."
        assert play.open_session.path[-1].message.state == "complete"


async def test_the_end_of_the_app_reaches_everything_whatever_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    app = stage.app()
    async with stage.play(app) as play:
        workspace: Workspace = app.workspace
        await play.until(lambda: workspace.engine.is_ready and workspace.is_open)

        async def fail() -> None:
            raise RuntimeError("out of order")

        with monkeypatch.context() as patch:
            patch.setattr(workspace.housekeeping, "stop", fail)
            patch.setattr(workspace.opening, "close", fail)
            with pytest.raises(RuntimeError, match="out of order"):
                await workspace._close()
        assert engine_pids() == []
        with pytest.raises(StorageError, match="is closed"):
            await workspace.store.call(sessions.last_session)
        await workspace.housekeeping.stop()
