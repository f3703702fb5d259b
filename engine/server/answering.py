"""Has the engine write the answer to one request and sends it, whole or in pieces, while the client is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import msgspec
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from engine.errors import EngineError, EngineGoneError
from engine.interface import Engine
from engine.protocol import AnyEvent, Failed, Finished, Generate, PromptProgress, Token
from engine.server.replies import Json, Reply, TokenLogprobs
from engine.server.requests import RequestError
from engine.server.turns import TooManyWaitingError, Turns

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 10.0
"""A stream says so often that it lives, so that no proxy cuts it off while a long prompt is read."""

BUSY_RETRY_S = 5

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

_STATUSES = {"ContextFullError": (400, "context_length_exceeded"), "EngineGoneError": (503, "engine_gone")}


class Pieces:
    """What single tokens stand for; the engine is asked for each once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pieces: dict[int, bytes] = {}

    async def logprobs(self, token: Token) -> TokenLogprobs:
        """A token and its leading candidates, with what each stands for."""
        leaders = [leader for leader in token.top if math.isfinite(leader.logprob)]
        ids = {token.id, *(leader.id for leader in leaders)}
        if missing := sorted(ids - self._pieces.keys()):
            self._pieces.update(zip(missing, await self._engine.token_bytes(missing), strict=True))
        top = [(self._pieces[leader.id], leader.logprob) for leader in leaders]
        return TokenLogprobs(self._pieces[token.id], token.logprob, top)


class Answering:
    """One request's answer as an ASGI response."""

    def __init__(self, engine: Engine, turns: Turns, pieces: Pieces, caller: str, command: Generate, reply: Reply):
        self._engine = engine
        self._turns = turns
        self._pieces = pieces
        self._caller = caller
        self._command = command
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; when the client leaves first, stop the engine."""
        await _while_connected(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        try:
            async with contextlib.aclosing(self._events()) as events:
                if self._reply.request.streamed:
                    first = await anext(events)
                    begun = True
                    await self._stream(first, events, send)
                else:
                    await JSONResponse(await self._whole(events))(scope, receive, send)
        except (RequestError, EngineError, TooManyWaitingError) as error:
            status, content, headers = error_content(error)
            if begun:
                await _send_piece(send, _event(content), more=False)
            else:
                await JSONResponse(content, status, headers)(scope, receive, send)

    async def _events(self) -> AsyncGenerator[AnyEvent, None]:
        """The engine's events. It does not wait for a client who reads slowly: others want their turn."""
        events: asyncio.Queue[AnyEvent | None] = asyncio.Queue()

        async def collect() -> None:
            try:
                async with (
                    self._turns.turn(self._caller),
                    contextlib.aclosing(self._engine.ask(self._command)) as asked,
                ):
                    async for event in asked:
                        events.put_nowait(event)
            finally:
                events.put_nowait(None)

        collecting = asyncio.create_task(collect(), name=f"answer {self._caller}")
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, Failed):
                    raise _failure(event)
                yield event
            await collecting
        finally:
            collecting.cancel()
            await asyncio.wait([collecting])

    async def _whole(self, events: AsyncGenerator[AnyEvent, None]) -> Json:
        texts: list[str] = []
        tokens: list[TokenLogprobs] = []
        async for event in events:
            match event:
                case Token():
                    texts.append(event.text)
                    tokens += await self._logprobs(event)
                case Finished():
                    return self._reply.whole("".join([*texts, event.text_tail]), tokens, event)
                case _:
                    pass
        raise EngineGoneError("The engine ended the answer without saying so.")

    async def _stream(self, first: AnyEvent, events: AsyncGenerator[AnyEvent, None], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        keeping_alive = asyncio.create_task(_keep_alive(send), name="keep alive")
        try:
            if (beginning := self._reply.beginning()) is not None:
                await _send_piece(send, _event(beginning))
            await self._send_event(first, send)
            async for event in events:
                await self._send_event(event, send)
        finally:
            keeping_alive.cancel()
        await _send_piece(send, b"data: [DONE]\n\n", more=False)

    async def _send_event(self, event: AnyEvent, send: Send) -> None:
        reply = self._reply
        pieces: list[Json] = []
        match event:
            case Token():
                tokens = await self._logprobs(event)
                if event.text or tokens:
                    pieces.append(reply.piece(event.text, tokens))
            case PromptProgress() if reply.request.return_progress:
                pieces.append(reply.progress(event))
            case Finished():
                if event.text_tail:
                    pieces.append(reply.piece(event.text_tail, []))
                pieces.append(reply.end(event))
                if reply.request.with_usage:
                    pieces.append(reply.usage(event))
            case _:
                pass
        for piece in pieces:
            await _send_piece(send, _event(piece))

    async def _logprobs(self, token: Token) -> list[TokenLogprobs]:
        if self._reply.request.n_logprobs is None:
            return []
        return [await self._pieces.logprobs(token)]


def error_content(error: RequestError | EngineError | TooManyWaitingError) -> tuple[int, Json, dict[str, str]]:
    """An error as the interface has it: status, content, headers."""
    if isinstance(error, RequestError):
        status, message, code, param = error.status, error.message, error.code, error.param
    elif isinstance(error, TooManyWaitingError):
        status, code, param = 429, "too_many_waiting", None
        message = "Too many requests wait for the engine already."
    else:
        status, code = _STATUSES.get(type(error).__name__, (500, "engine_failed"))
        message, param = str(error), None
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"Retry-After": str(BUSY_RETRY_S)} if status == 429 else {}
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers


def _failure(failed: Failed) -> RequestError:
    status, code = _STATUSES.get(failed.kind, (400, "refused"))
    return RequestError(status, f"{failed.message} {failed.hint}".strip(), code)


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; give it up when the client has gone."""
    working = asyncio.create_task(work, name="answer a request")
    leaving = asyncio.create_task(_gone(receive), name="watch a client")
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait([working, leaving])
    if not working.cancelled():
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _keep_alive(send: Send) -> None:
    while True:
        await asyncio.sleep(KEEP_ALIVE_S)
        await _send_piece(send, b": still here\n\n")


def _event(content: Json) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


async def _send_piece(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
