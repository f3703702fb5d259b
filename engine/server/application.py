"""The HTTP interface: what is at which address, who may ask, and how errors look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from engine.errors import EngineError, EngineGoneError
from engine.interface import Engine
from engine.protocol import ModelCard
from engine.remote.keys import Key
from engine.server.answering import Answering, Pieces, error_content
from engine.server.guard import Guard
from engine.server.replies import reply_to
from engine.server.requests import (
    AnyRequest,
    ChatRequest,
    CompletionRequest,
    Defaults,
    DetokenizeRequest,
    RequestError,
    TokenizeRequest,
    read_request,
)
from engine.server.waiting_line import TooManyWaitingError, WaitingLine

MAX_BODY_BYTES = 16 << 20
"""A context of a million tokens has less."""

BODY_PIECE_S = 30.0
"""Whoever sends nothing of a request for so long, or of its end, has gone without a word; a slow line is no slower."""

MAX_TEXT_BYTES = 2 << 20
MAX_IDS = 1_000_000
"""What is tokenized or turned into text at once; a book has less, and the answer stays well below a line's limit."""

SMALL_TEXT_BYTES = 64 << 10
SMALL_IDS = 16 << 10
"""So much takes some hundredths of a second, which somebody's answer can be interrupted for; more waits its turn."""

TOLD_SAMPLERS = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n")
"""What is recommended to clients who send all settings with each request, as our own does."""

MOST_WAITING = 64
"""More requests than this are told to come back."""

_R = TypeVar("_R", bound=msgspec.Struct)


class Service:
    """One engine with one model behind the interface."""

    def __init__(self, engine: Engine, card: ModelCard, defaults: Defaults, ended: asyncio.Event | None) -> None:
        self._engine = engine
        self._card = card
        self._defaults = defaults
        self._line = WaitingLine(MOST_WAITING, ended)
        self._pieces = Pieces(engine)
        self._created = int(time.time())

    async def chat(self, request: Request) -> ASGIApp:
        """Answer a chat."""
        return self._answer(request, await _read(request, ChatRequest))

    async def complete(self, request: Request) -> ASGIApp:
        """Go on with a text."""
        return self._answer(request, await _read(request, CompletionRequest))

    def _answer(self, request: Request, asked: AnyRequest) -> ASGIApp:
        caller = _caller(request, asked.user)
        command = asked.command(self._defaults)
        return Answering(self._engine, self._line, self._pieces, caller, command, reply_to(asked, self._card.name))

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[None]:
        async with self._line.turn(_caller(request)):
            if await request.is_disconnected():
                raise ClientDisconnect
            yield

    async def models(self, request: Request) -> Response:
        """List the model."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """Describe the model."""
        if request.path_params["name"] != self._card.name:
            raise RequestError(404, f"The model here is {self._card.name}.", "model_not_found", "model")
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        card = self._card
        return {
            "id": card.name,
            "object": "model",
            "created": self._created,
            "owned_by": "llm-tui",
            "max_model_len": card.context,
            "meta": {
                "n_params": card.parameters,
                "size": card.size_bytes,
                "n_ctx": card.context,
                "n_ctx_train": card.max_context,
                "n_vocab": card.vocab,
                "ftype": card.quantization,
            },
            "recommended_sampling": {field: getattr(self._defaults.recommended, field) for field in TOLD_SAMPLERS},
        }

    async def health(self, request: Request) -> Response:
        """Say whether requests would be answered."""
        if self._engine.alive:
            return JSONResponse({"status": "ok", "waiting": self._line.n_waiting})
        return JSONResponse({"status": "the engine has ended"}, 503)

    async def tokenize(self, request: Request) -> Response:
        """Turn a text into tokens."""
        asked = await _read(request, TokenizeRequest)
        text = asked.content if asked.content is not None else asked.prompt or ""
        n_bytes = len(text.encode())
        if n_bytes > MAX_TEXT_BYTES:
            raise RequestError(413, f"A text to tokenize may have {MAX_TEXT_BYTES >> 20} MB.", "too_large", "content")
        async with self._turn(request) if n_bytes > SMALL_TEXT_BYTES else nullcontext():
            told = await self._engine.tokenize(
                text, add_bos=asked.add_special, parse_special=asked.parse_special, with_pieces=asked.with_pieces
            )
        if not asked.with_pieces:
            return _json({"tokens": told.ids})
        pairs = zip(told.ids, told.pieces, strict=True)
        return _json({"tokens": [{"id": token_id, "piece": piece} for token_id, piece in pairs]})

    async def detokenize(self, request: Request) -> Response:
        """Turn tokens into their text."""
        asked = await _read(request, DetokenizeRequest)
        if len(asked.tokens) > MAX_IDS:
            raise RequestError(413, f"There may be {MAX_IDS} tokens at once.", "too_large", "tokens")
        try:
            async with self._turn(request) if len(asked.tokens) > SMALL_IDS else nullcontext():
                return _json({"content": await self._engine.detokenize(asked.tokens)})
        except EngineGoneError:
            raise
        except EngineError as error:
            raise RequestError(400, str(error), "refused", "tokens") from None

    async def description(self, request: Request) -> Response:
        """Describe the interface as OpenAPI, so that clients see which parameters there are."""
        kinds = {
            "/v1/chat/completions": ChatRequest,
            "/v1/completions": CompletionRequest,
            "/tokenize": TokenizeRequest,
            "/detokenize": DetokenizeRequest,
        }
        schemas, components = msgspec.json.schema_components(kinds.values(), ref_template="#/components/schemas/{name}")
        paths = {
            path: {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": schema}}},
                    "responses": {"200": {"description": "The answer."}},
                }
            }
            for path, schema in zip(kinds, schemas, strict=True)
        }
        info = {"title": "llm-tui", "version": "1"}
        return JSONResponse({"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}})


def application(
    engine: Engine, card: ModelCard, defaults: Defaults, key: Key | None = None, ended: asyncio.Event | None = None
) -> ASGIApp:
    """The interface as an ASGI application.

    key: what clients have to send; without one, only this machine may ask. ended: answers under way end when it is set.
    """
    service = Service(engine, card, defaults, ended)
    posts: dict[str, Callable[[Request], Awaitable[Any]]] = {
        "/chat/completions": service.chat,
        "/completions": service.complete,
    }
    routes = [Route(f"/v1{path}", endpoint, methods=["POST"]) for path, endpoint in posts.items()]
    routes += [
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/health", service.health),
        Route("/openapi.json", service.description),
        Route("/tokenize", service.tokenize, methods=["POST"]),
        Route("/detokenize", service.detokenize, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        RequestError: _told,
        EngineError: _told,
        TooManyWaitingError: _told,
        ClientDisconnect: _nobody,
        404: _no_address,
        405: _no_method,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), key)


async def _read(request: Request, kind: type[_R]) -> _R:
    # What is too long is not waited for; whoever says nothing, or no number, is counted.
    if request.headers.get("content-length", "").isdecimal():
        _check_size(int(request.headers["content-length"]))
    body = bytearray()
    pieces = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(BODY_PIECE_S):
                body += await anext(pieces)
            _check_size(len(body))
    except StopAsyncIteration:
        return read_request(bytes(body), kind)
    except TimeoutError:
        raise RequestError(408, "The rest of the request did not come.", "timeout") from None


def _check_size(n_bytes: int) -> None:
    if n_bytes > MAX_BODY_BYTES:
        raise RequestError(413, f"A request may have {MAX_BODY_BYTES >> 20} MB.", "too_large")


def _caller(request: Request, user: str | None = None) -> str:
    """Who asks, as far as it can be told: callers take turns."""
    return f"{request.client.host if request.client else ''} {user or ''}"


def _json(content: Any) -> Response:
    """An answer that may be long: other answers are sent on the same event loop."""
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError | EngineError | TooManyWaitingError)
    status, content, headers = error_content(error)
    if status == 408:
        # Where more is still being sent, as after 413, closing now could take the answer away from who sends it.
        headers["Connection"] = "close"
    return JSONResponse(content, status, headers)


async def _nobody(request: Request, error: Exception) -> Response:
    """The client has gone; what is answered reaches nobody."""
    return Response(status_code=499)


async def _no_address(request: Request, error: Exception) -> Response:
    there = "/v1/chat/completions, /v1/completions, /v1/models, /health"
    message = f"There is no {request.method} {request.url.path} here. There are: {there}."
    return await _told(request, RequestError(404, message, "not_found"))


async def _no_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException) and error.headers is not None
    allowed = error.headers["Allow"]
    message = f"{request.url.path} takes {allowed}, not {request.method}."
    answer = await _told(request, RequestError(405, message, "method_not_allowed"))
    answer.headers["Allow"] = allowed
    return answer
