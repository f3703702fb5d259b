"""What is at which address, with an engine that says what the test has it say."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from engine.errors import EngineError, EngineGoneError
from engine.interface import Engine
from engine.protocol import AnyCommand, Detokenize, Failed, Generate, ModelCard, Sampling, Tokenize, Tokenized
from engine.server.application import MAX_IDS, MAX_TEXT_BYTES, SMALL_TEXT_BYTES, application
from engine.server.requests import Defaults
from tests.engine.server.silent_engine import SilentEngine, finished

PATIENCE_S = 20.0

CARD = ModelCard(
    name="tiny",
    path="",
    format="gguf",
    architecture="llama",
    quantization="F16",
    parameters=1,
    size_bytes=1,
    context=8,
    max_context=8,
    layers=1,
    vocab=4,
    template="",
    template_source="",
    weights_bytes=1,
    kv_bytes_per_token=1,
    threads=1,
)


DEFAULTS = Defaults(recommended=Sampling(temperature=0.2, repeat_penalty=1.1), usual=Sampling())


class FailingEngine(Engine):
    """An engine that fails at every command, or has gone."""

    def __init__(self, *, alive: bool) -> None:
        super().__init__()
        self._alive = alive

    @property
    def pid(self) -> int:
        return 0

    @property
    def alive(self) -> bool:
        return self._alive

    async def send(self, command: AnyCommand) -> None:
        if not self._alive:
            raise self._gone()
        assert isinstance(command, Detokenize)
        answers = self._requests[command.request_id]
        assert answers is not None
        answers.put_nowait(
            Failed(
                request_id=command.request_id, kind=EngineError.__name__, message="Token 9 does not exist.", hint="No."
            )
        )

    async def close(self) -> None:
        pass

    def _gone(self) -> EngineGoneError:
        return EngineGoneError("It has gone.")


@pytest.mark.parametrize(
    ("alive", "status", "kind"), [(True, 400, "invalid_request_error"), (False, 503, "server_error")]
)
async def test_tokens_that_do_not_exist_are_the_client_s_mistake(alive: bool, status: int, kind: str) -> None:
    app = application(FailingEngine(alive=alive), CARD, DEFAULTS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/detokenize", json={"tokens": [9]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": "x" * (MAX_TEXT_BYTES + 1)}, "content"),
        ("/detokenize", {"tokens": [1] * (MAX_IDS + 1)}, "tokens"),
    ],
)
async def test_what_is_too_much_for_one_line_is_refused(path: str, body: dict[str, object], param: str) -> None:
    app = application(FailingEngine(alive=False), CARD, DEFAULTS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, param)


async def test_clients_are_told_what_is_recommended_and_it_holds_where_they_choose_nothing() -> None:
    engine = SilentEngine()
    chat = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3}
    transport = httpx.ASGITransport(application(engine, CARD, DEFAULTS))
    async with (
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        [model] = (await client.get("/v1/models")).json()["data"]
        answer = asyncio.create_task(client.post("/v1/chat/completions", json=chat))
        command = await engine.commands.get()
        engine.say(finished(command.request_id))
        await answer
    assert msgspec.convert(model["recommended_sampling"], Sampling) == DEFAULTS.recommended
    assert isinstance(command, Generate)
    assert command.sampling == msgspec.structs.replace(DEFAULTS.recommended, max_new_tokens=3)


async def test_a_large_question_waits_its_turn_and_a_small_one_does_not() -> None:
    engine = SilentEngine()
    chat = {"messages": [{"role": "user", "content": "x"}]}
    transport = httpx.ASGITransport(application(engine, CARD, DEFAULTS))
    async with (
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        answer = asyncio.create_task(client.post("/v1/chat/completions", json=chat))
        generate = await engine.commands.get()
        large = asyncio.create_task(client.post("/tokenize", json={"content": "x" * (SMALL_TEXT_BYTES + 1)}))
        small = asyncio.create_task(client.post("/tokenize", json={"content": "x", "with_pieces": True}))
        command = await engine.commands.get()
        assert isinstance(command, Tokenize)
        assert (command.text, command.with_pieces) == ("x", True)
        engine.say(Tokenized(request_id=command.request_id, ids=[1], pieces=["x"]))
        assert (await small).json() == {"tokens": [{"id": 1, "piece": "x"}]}
        engine.say(finished(generate.request_id))
        assert (await answer).status_code == 200
        command = await engine.commands.get()
        engine.say(Tokenized(request_id=command.request_id, ids=[2]))
        assert (await large).json() == {"tokens": [2]}


def _chat_scope(**headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize(
    ("headers", "status"), [({"content_length": "99999999999"}, 413), ({"content_length": "50"}, 408), ({}, 408)]
)
async def test_a_request_of_which_no_more_comes_is_not_waited_for(
    headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.application.BODY_PIECE_S", 0.01)
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        return coming.pop() if coming else await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(PATIENCE_S):
        await application(SilentEngine(), CARD, DEFAULTS)(_chat_scope(**headers), receive, send)
    assert sent[0]["status"] == status
    is_at_once = status == 413
    assert bool(coming) == is_at_once
    assert (dict(sent[0]["headers"]).get(b"connection") == b"close") != is_at_once


async def test_a_method_that_an_address_does_not_take_is_named_with_those_that_it_does() -> None:
    transport = httpx.ASGITransport(application(SilentEngine(), CARD, DEFAULTS))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/v1/chat/completions")
        nowhere = await client.get("/v1/chat")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["error"]["message"] == "/v1/chat/completions takes POST, not GET."
    assert nowhere.status_code == 404
