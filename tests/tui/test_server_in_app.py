"""The app with somebody else's engine: the same screen, the same sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from engine.protocol import Sampling
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer
    from tests.tui.conftest import Stage

STOP: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.fixture
def server(stage: Stage, scripted_server: ScriptedServer) -> ScriptedServer:
    (stage.home / "settings.toml").write_text(f'[servers.cluster]\nbase_url = "{scripted_server.url}"\n')
    scripted_server.plays = [scripted_server.stream("Pa", "ris.", STOP)]
    return scripted_server


async def test_a_server_answers_in_the_place_of_this_machine(stage: Stage, server: ScriptedServer) -> None:
    async with stage.ready(server="cluster", model=None) as play:
        assert await play.ask("Capital?") == "Paris."
        await play.until_shown("tiny")
        message = play.open_session.path[-1].message
    assert (message.state, message.model) == ("complete", "tiny")
    assert server.asked[0].body["messages"][-1] == {"role": "user", "content": "Capital?"}


async def test_a_server_that_says_nothing_yet_is_being_asked(stage: Stage) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        (stage.home / "settings.toml").write_text(f'[servers.cluster]\nbase_url = "http://127.0.0.1:{port}/v1"\n')
        async with stage.running(server="cluster", model=None) as play:
            await play.until(lambda: play.app.screen.query_one(StatusLine).busy == "Asking the server …")
            shown = play.shown(LiveNumbers)
            assert "asking the server" in shown
            assert "%" not in shown


async def test_a_lost_connection_keeps_the_answer_and_it_goes_on(stage: Stage, server: ScriptedServer) -> None:
    server.plays = [server.stream("The capital is", then="break"), server.stream(" Paris.", STOP)]
    async with stage.ready(server="cluster", model=None) as play:
        assert await play.ask("Capital?") == "The capital is"
        assert play.open_session.path[-1].message.state == "failed"
        assert await play.conversation.go_on()
        await play.answered()
        message = play.open_session.path[-1].message
    assert (message.content, message.state) == ("The capital is Paris.", "complete")
    assert server.asked[1].body["messages"][-1] == {"role": "assistant", "content": "The capital is"}


async def test_a_moved_slider_says_that_it_holds_from_the_next_answer_on(stage: Stage, server: ScriptedServer) -> None:
    server.plays = [server.stream("One", then="stall"), server.stream("Two", STOP)]
    async with stage.ready(server="cluster", model=None) as play:
        await play.say("a")
        await play.until(lambda: play.writing.answer and play.writing.answer.content)
        play.conversation.set_sampling(Sampling(temperature=0.25))
        await play.until(lambda: any("from the next one on" in note.message for note in play.app._notifications))
        await play.writing.stop()
        await play.answered()
        assert await play.ask("b") == "Two"
    assert [request.body["temperature"] for request in server.asked] == [0.8, 0.25]


async def test_from_a_server_to_a_model_of_this_machine_and_back(stage: Stage, server: ScriptedServer) -> None:
    async with stage.ready(server="cluster", model=None) as play:
        workspace = play.app.workspace
        await workspace.load_model(stage.model)
        await play.until(lambda: workspace.engine.is_ready)
        assert workspace.engine.is_local
        await play.ask("local?")
        await workspace.use_server("cluster")
        await play.until(lambda: workspace.engine.is_ready)
        assert await play.ask("remote?") == "Paris."
    said = [message["content"] for message in server.asked[-1].body["messages"]]
    assert "local?" in said


@pytest.mark.parametrize("name", ["moon", "cluster"])
async def test_a_server_that_is_not_there_leaves_the_app_open(stage: Stage, server: ScriptedServer, name: str) -> None:
    server.pages["/v1/models"] = (401, {})
    async with stage.running(server=name, model=None) as play:
        await play.until_shown("There is no server moon" if name == "moon" else "refuses us (401)")
        assert play.app.is_running


async def test_a_server_is_chosen_beside_the_models_of_this_machine(stage: Stage, server: ScriptedServer) -> None:
    async with stage.ready() as play:
        await play.press("f4")
        await play.until_shown("cluster")
        await play.press("end", "enter")
        await play.until(lambda: not play.app.workspace.engine.is_local and play.app.workspace.engine.is_ready)
        assert await play.ask("Capital?") == "Paris."


async def test_what_a_server_cannot_do_is_greyed_out_once_it_has_shown_it(stage: Stage, server: ScriptedServer) -> None:
    server.plays = [
        server.page(400, {"error": {"message": "Unrecognized request argument supplied: top_k"}}),
        server.stream("Paris.", STOP),
    ]
    async with stage.ready(server="cluster", model=None) as play:
        assert not play.app.screen.query_one("#top-k").disabled
        assert await play.ask("Capital?") == "Paris."
        await play.until(lambda: play.app.screen.query_one("#top-k").disabled)
        assert "the server's" in play.shown("#top-k")
        assert not play.app.screen.query_one("#min-p").disabled
        await play.until(lambda: "the server's" in play.shown(LiveNumbers))
        await play.until(lambda: "This server does not" in play.shown(CandidatesPane))
        await play.app.workspace.load_model(stage.model)
        await play.until(lambda: not play.app.screen.query_one("#top-k").disabled)


async def test_a_server_that_is_back_answers_after_a_restart(stage: Stage, server: ScriptedServer) -> None:
    models = server.pages.pop("/v1/models")
    server.pages["/v1/models"] = (503, {})
    async with stage.running(server="cluster", model=None) as play:
        await play.until_shown("failed (503)")
        server.pages["/v1/models"] = models
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert await play.ask("Capital?") == "Paris."
