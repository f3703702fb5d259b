"""How one answer is sent, by an engine that says nothing by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine.interface import Engine
from engine.protocol import (
    Failed,
    Generate,
    Sampling,
    Stop,
    Token,
    TokenLogprob,
)
from engine.server import event_stream
from engine.server.answering import Answering, Pieces
from engine.server.replies import reply_to
from engine.server.requests import ChatRequest, Defaults, read_request
from engine.server.waiting_line import WaitingLine
from tests.engine.server.silent_engine import SilentEngine, finished

PATIENCE_S = 20.0
SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}


class Client:
    """Asks, stays, and keeps what is sent to it."""

    def __init__(self, engine: Engine, line: WaitingLine, **fields: Any) -> None:
        body = msgspec.json.encode({"messages": [{"role": "user", "content": "x"}], **fields})
        request = read_request(body, ChatRequest)
        self.sent: list[dict[str, Any]] = []
        self._heard = asyncio.Condition()
        answering = Answering(
            engine,
            line,
            Pieces(engine),
            "me",
            request.command(Defaults(Sampling(), Sampling())),
            reply_to(request, "tiny"),
        )
        self.task = asyncio.create_task(answering(SCOPE, self._receive, self._send))

    async def _receive(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        async with self._heard:
            self.sent.append(message)
            self._heard.notify_all()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def hears(self, words: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S), self._heard:
            await self._heard.wait_for(lambda: words in self.body)

    async def ends(self) -> tuple[int, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            await self.task
        assert not self.sent[-1].get("more_body", False)
        return self.sent[0]["status"], self.body


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.001)


@pytest.mark.usefixtures("hasty")
async def test_who_waits_in_line_hears_that_the_server_lives() -> None:
    line = WaitingLine(9)
    async with line.turn("other"):
        client = Client(SilentEngine(), line, stream=True)
        await client.hears(b": still here\n\n")
        assert client.sent[0]["status"] == 200
        assert b"data:" not in client.body
        client.task.cancel()


@pytest.mark.usefixtures("hasty")
async def test_the_servers_end_ends_streams_in_order() -> None:
    engine, ended = SilentEngine(), asyncio.Event()
    client = Client(engine, WaitingLine(9, ended), stream=True)
    command = await engine.commands.get()
    assert isinstance(command, Generate)
    await client.hears(b": still here\n\n")
    ended.set()
    status, body = await client.ends()
    assert status == 200
    assert b'"code":"server_ends"' in body
    assert await engine.commands.get() == Stop(request_id=command.request_id)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_servers_end_tells_who_waits(stream: bool) -> None:
    line = WaitingLine(9, asyncio.Event())
    async with line.turn("other"):
        client = Client(SilentEngine(), line, stream=stream)
        line.ended.set()
        status, body = await client.ends()
    assert (status, msgspec.json.decode(body)["error"]["code"]) == (503, "server_ends")


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("ContextFullError", 400, "context_length_exceeded"),
        ("EngineError", 400, "refused"),
        ("TemplateError", 400, "refused"),
        ("ProtocolError", 400, "refused"),
        ("NotFiniteError", 500, "engine_failed"),
        ("MemoryError", 500, "engine_failed"),
        ("OSError", 500, "engine_failed"),
        ("ServerEndsError", 503, "server_ends"),
    ],
)
async def test_a_failure_is_the_client_s_only_where_the_request_is_at_fault(kind: str, status: int, word: str) -> None:
    engine = SilentEngine()
    client = Client(engine, WaitingLine(9))
    command = await engine.commands.get()
    engine.say(Failed(request_id=command.request_id, kind=kind, message="No."))
    told, body = await client.ends()
    error = msgspec.json.decode(body)["error"]
    assert (told, error["code"]) == (status, word)
    assert error["type"] == ("invalid_request_error" if status == 400 else "server_error")


async def test_the_engine_is_asked_for_many_tokens_at_once() -> None:
    engine = SilentEngine()
    client = Client(engine, WaitingLine(9), logprobs=True, top_logprobs=1)
    command = await engine.commands.get()
    for number in range(5):
        top = [TokenLogprob(10 + number, -0.5)]
        engine.say(Token(request_id=command.request_id, id=number, text="x", logprob=-0.5, top=top))
    engine.say(finished(command.request_id))
    _, body = await client.ends()
    tokens = msgspec.json.decode(body)["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in tokens] == ["0", "1", "2", "3", "4"]
    assert tokens[4]["top_logprobs"][0]["token"] == "14"
    assert engine.asked_for == [[0, 1, 2, 3, 4, 10, 11, 12, 13, 14]]


async def test_log_probabilities_add_up_to_the_text() -> None:
    engine = SilentEngine()
    client = Client(engine, WaitingLine(9), logprobs=True)
    command = await engine.commands.get()
    for number, instead in enumerate(("", "<think>\n", None, "\n</think>\n\n", None)):
        text = str(number) if instead is None else instead
        engine.say(Token(request_id=command.request_id, id=number, text=text, logprob=-0.5, instead=instead))
    engine.say(finished(command.request_id))
    choice = msgspec.json.decode((await client.ends())[1])["choices"][0]
    told = choice["logprobs"]["content"]
    assert bytes(b for token in told for b in token["bytes"]).decode() == choice["message"]["content"]
    assert told[0]["bytes"] == []
