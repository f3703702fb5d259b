"""Another engine or model while something is under way: one at a time, and what was under way comes to an end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.protocol import ChatPrompt, Finished, Generate, Load, Token
from tests.tui.conftest import PATIENCE_S, SCRIPTED_ENGINE
from tests.tui.test_engine_trouble import COUNTING, engine_pids
from tui.services.engine_session import EngineSession

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer
    from tests.tui.conftest import Stage

MIDWAY = {"answers": [COUNTING], "hold_after": 3}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def session(stage: Stage) -> AsyncIterator[EngineSession]:
    """An engine without an app, which nobody has started yet."""
    engine = EngineSession(
        lambda _: None, stage.home / "engine.log", [sys.executable, str(SCRIPTED_ENGINE), str(stage.script)]
    )
    try:
        yield engine
    finally:
        await engine.close()


# An answer that is under way


async def test_a_restart_ends_the_answer_and_keeps_what_came_of_it(stage: Stage) -> None:
    stage.set_script(**MIDWAY)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        stage.set_script(answers=[COUNTING])
        await play.app.workspace.engine.restart()
        assert not play.writing.is_busy
        message = play.open_session.path[-1].message
        assert (message.content, message.state) == ("number0 number1 number2", "interrupted")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert await play.conversation.go_on()
        await play.answered()
        message = play.open_session.path[-1].message
        assert (message.content, message.state) == (COUNTING, "complete")
        await play.ask("again")


async def test_going_to_a_server_ends_the_answer(stage: Stage, scripted_server: ScriptedServer) -> None:
    stop: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    scripted_server.plays = [scripted_server.stream("Paris.", stop)]
    with (stage.home / "settings.toml").open("a") as settings:
        settings.write(f'[servers.cluster]\nbase_url = "{scripted_server.url}"\n')
    stage.set_script(**MIDWAY)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.app.workspace.use_server("cluster")
        await play.answered()
        assert play.open_session.path[-1].message.state == "interrupted"
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert await play.ask("Capital?") == "Paris."


async def test_what_is_sent_during_a_restart_waits_for_the_model(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage.ready() as play:
        engine = play.app.workspace.engine
        sent, close = asyncio.Event(), engine._client.close

        async def close_late() -> None:
            await sent.wait()
            await close()

        monkeypatch.setattr(engine._client, "close", close_late)
        restarting = asyncio.create_task(engine.restart())
        await play.conversation.send("hello")
        sent.set()
        await restarting
        await play.answered()
        assert play.open_session.path[-1].message.state == "complete"


async def test_a_question_beside_the_conversation_ends_with_the_engine(stage: Stage) -> None:
    stage.set_script(**MIDWAY)
    async with session(stage) as engine:
        await engine.start()
        await engine.load(Load(path="tiny.gguf"))
        await until(lambda: engine.is_ready)
        asking = asyncio.create_task(engine.aside.ask(ChatPrompt(messages=[]), 9, ""))
        await until(lambda: stage.heard(Generate))
        await engine.restart()
        async with asyncio.timeout(PATIENCE_S):
            assert await asking is None


async def test_what_comes_late_of_an_earlier_run_is_not_taken_for_the_next_ones(stage: Stage) -> None:
    stage.set_script(**MIDWAY)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press("escape")
        await play.answered()
        assert await play.conversation.go_on()
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        earlier = stage.heard(Generate)[0].request_id
        hear = play.app.workspace.engine.on_answer
        await hear(Token(request_id=earlier, id=9, text=" late", logprob=-0.1))
        await hear(
            Finished(
                request_id=earlier,
                reason="stop",
                text_tail=" late",
                prompt_tokens=1,
                reused_tokens=0,
                generated_tokens=1,
                prompt_ms=1,
                generate_ms=1,
                first_token_ms=1,
                seed=1,
            )
        )
        assert play.writing.is_busy
        await play.press("escape")
        await play.answered()
        message = play.open_session.path[-1].message
        assert (message.content, message.state) == ("number0 number1 number2", "stopped")


# Models


async def test_the_end_of_a_load_that_was_called_off_is_not_the_next_ones(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stage.set_script(gate=str(gate))
    async with session(stage) as engine:
        await engine.start()
        await engine.load(Load(path="first.gguf"))
        await until(lambda: len(stage.heard(Load)) == 1)
        await engine.load(Load(path="second.gguf"))
        await until(lambda: len(stage.heard(Load)) == 2)
        gate.touch()
        await until(lambda: engine.is_ready)
        assert engine.card is not None
        assert engine.card.name == "second"
        await engine.restart()
        await until(lambda: engine.is_ready)
        assert [load.path for load in stage.heard(Load)] == ["first.gguf", "second.gguf", "second.gguf"]


async def test_a_model_chosen_while_the_engine_starts_is_opened(stage: Stage) -> None:
    async with session(stage) as engine:
        await asyncio.gather(engine.start(), engine.load(Load(path="tiny.gguf")))
        await until(lambda: engine.is_ready)


# Processes


async def test_two_restarts_at_once_leave_one_process(stage: Stage) -> None:
    async with session(stage) as engine:
        await engine.start()
        await engine.load(Load(path="tiny.gguf"))
        await asyncio.gather(engine.restart(), engine.restart())
        assert len(engine_pids()) == 1
        await until(lambda: engine.is_ready)
    assert engine_pids() == []


async def test_an_engine_that_starts_while_the_app_ends_is_ended_too(stage: Stage) -> None:
    async with session(stage) as engine:
        starting = asyncio.create_task(engine.start())
        await until(engine_pids)
        await engine.close()
        assert engine_pids() == []
        await asyncio.wait([starting])
        await engine.restart()
        assert engine_pids() == []
