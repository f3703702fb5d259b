"""Has the engine write the answer to one request and sends it, whole or in pieces, while the client is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from engine.errors import (
    ContextFullError,
    EngineError,
    EngineGoneError,
    ProtocolError,
    ServerEndsError,
    TemplateError,
)
from engine.interface import Engine
from engine.protocol import AnyEvent, Failed, Finished, Generate, PromptProgress, Token
from engine.server.event_stream import EventStream
from engine.server.replies import Json, Reply, TokenLogprobs
from engine.server.requests import RequestError
from engine.server.waiting_line import TooManyWaitingError, WaitingLine

log = logging.getLogger(__name__)

BUSY_RETRY_S = 5

_STATUSES = {
    ContextFullError.__name__: (400, "context_length_exceeded"),
    EngineGoneError.__name__: (503, "engine_gone"),
    ServerEndsError.__name__: (503, "server_ends"),
}

_ENGINE_FAILED = (500, "engine_failed")

_REQUEST_REFUSED = dict.fromkeys(
    (kind.__name__ for kind in (EngineError, ProtocolError, TemplateError)), (400, "refused")
)
"""What the engine says against a request; any other failure is its own, and the same request may work later."""

_SERVER_ENDS = Failed(kind=ServerEndsError.__name__, message="This server is being ended.", hint="Ask again later.")


class Pieces:
    """What single tokens stand for; the engine is asked for each once, and for many together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pieces: dict[int, bytes] = {}
        self._unknown: set[int] = set()

    def expect(self, token: Token) -> None:
        """A token whose log-probabilities will be asked for."""
        self._unknown |= {token.id, *(leader.id for leader in token.top)} - self._pieces.keys()

    async def logprobs(self, token: Token) -> TokenLogprobs:
        """A token with what it adds to the text, and its leading candidates with what each stands for."""
        leaders = [leader for leader in token.top if math.isfinite(leader.logprob)]
        if not {token.id, *(leader.id for leader in leaders)} <= self._pieces.keys():
            self.expect(token)
            missing = sorted(self._unknown)
            self._pieces.update(zip(missing, await self._engine.token_bytes(missing), strict=True))
            self._unknown -= self._pieces.keys()
        top = [(self._pieces[leader.id], leader.logprob) for leader in leaders]
        piece = self._pieces[token.id] if token.instead is None else token.instead.encode()
        return TokenLogprobs(piece, token.logprob, top)


class Answering:
    """One request's answer as an ASGI response."""

    def __init__(self, engine: Engine, line: WaitingLine, pieces: Pieces, caller: str, command: Generate, reply: Reply):
        self._engine = engine
        self._line = line
        self._pieces = pieces
        self._caller = caller
        self._command = command
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; when the client leaves first, stop the engine."""
        await _while_connected(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = EventStream(send)
        try:
            async with contextlib.aclosing(self._events()) as events:
                if self._reply.request.streamed:
                    await self._stream(events, stream)
                else:
                    await JSONResponse(await self._whole(events))(scope, receive, send)
        except (RequestError, EngineError, TooManyWaitingError) as error:
            status, content, headers = error_content(error)
            if stream.begun:
                await stream.error(content)
            else:
                await JSONResponse(content, status, headers)(scope, receive, send)

    async def _events(self) -> AsyncGenerator[AnyEvent, None]:
        """The engine's events. It does not wait for a client who reads slowly: others want their turn."""
        events: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        wants_pieces = self._reply.request.n_logprobs is not None

        async def collect() -> None:
            try:
                async with (
                    self._line.turn(self._caller),
                    contextlib.aclosing(self._engine.ask(self._command)) as asked,
                ):
                    async for event in asked:
                        if wants_pieces and isinstance(event, Token):
                            self._pieces.expect(event)
                        events.put_nowait(event)
            finally:
                events.put_nowait(None)

        async def watch_the_end() -> None:
            await self._line.ended.wait()
            # An engine that has died has its own last words.
            if self._engine.alive:
                events.put_nowait(_SERVER_ENDS)

        collecting = asyncio.create_task(collect(), name=f"answer {self._caller}")
        watching = asyncio.create_task(watch_the_end(), name="watch the server's end")
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, Failed):
                    raise _failure(event)
                yield event
            await collecting
        finally:
            for task in (collecting, watching):
                task.cancel()
            await asyncio.wait([collecting, watching])

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

    async def _stream(self, events: AsyncGenerator[AnyEvent, None], stream: EventStream) -> None:
        beginning = self._reply.beginning()
        async with stream.kept_alive():
            async for event in events:
                if beginning is not None:
                    await stream.event(beginning)
                    beginning = None
                for piece in await self._told(event):
                    await stream.event(piece)
        await stream.done()

    async def _told(self, event: AnyEvent) -> list[Json]:
        """How a stream tells an event."""
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
        return pieces

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
        status, code = _STATUSES.get(type(error).__name__, _ENGINE_FAILED)
        message, param = str(error), None
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"Retry-After": str(BUSY_RETRY_S)} if status == 429 else {}
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers


def _failure(failed: Failed) -> RequestError:
    status, code = (_STATUSES | _REQUEST_REFUSED).get(failed.kind, _ENGINE_FAILED)
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
