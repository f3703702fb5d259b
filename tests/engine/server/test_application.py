"""What is at which address, with an engine that says what the test has it say."""

from __future__ import annotations

import httpx
import pytest

from engine.errors import EngineError, EngineGoneError
from engine.interface import Engine
from engine.protocol import AnyCommand, Detokenize, Failed, ModelCard, Sampling
from engine.server.application import MAX_IDS, MAX_TEXT_BYTES, application

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
    app = application(FailingEngine(alive=alive), CARD, Sampling())
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
    app = application(FailingEngine(alive=False), CARD, Sampling())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, param)
