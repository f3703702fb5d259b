"""The app's end of an engine that is a server: the same commands and events as a process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Self, assert_never

import msgspec

from engine.errors import EngineError, EngineGoneError, ServerError
from engine.interface import Engine
from engine.protocol import (
    PROTOCOL_VERSION,
    AnyCommand,
    AnyEvent,
    ChatPrompt,
    Detokenize,
    Detokenized,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Look,
    ModelReady,
    Notice,
    Request,
    Score,
    Shutdown,
    Stop,
    Tokenize,
    Tokenized,
    Tune,
)
from engine.remote.answer import RemoteAnswer
from engine.remote.bodies import Dialect
from engine.remote.config import ServerConfig
from engine.remote.discovery import discover, tokenize_body
from engine.remote.pulse import RemotePulse
from engine.remote.retries import Backoff
from engine.remote.transport import Transport
from engine.remote.writing import OpenModel, Writing

log = logging.getLogger(__name__)

SERVER_SEED_BITS = 31
"""Seeds that are picked fit a signed 32-bit number: all that some servers take."""

CLOSE_S = 3.0
"""Connections are given so long to close."""

_REFUSALS: dict[type[Score | Look], EngineError] = {
    Score: EngineError("Servers do not measure perplexity.", "Measure a model of this machine."),
    Look: EngineError(
        "Servers tell what is likely only while they write.", "Open a model of this machine to see it later too."
    ),
}

CANNOT_TUNE = "A server takes no new settings for an answer that it is writing: they hold from the next one on."


class RemoteClient(Engine):
    """One server; make it with `start`. It is first spoken to by Load, whose path is the model's name or ""."""

    def __init__(self, config: ServerConfig, backoff: Backoff) -> None:
        super().__init__()
        self._config = config
        self._backoff = backoff
        self._transport = Transport(config)
        self._open: OpenModel | None = None
        self._turn = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._waiting: dict[str, Generate] = {}
        self._told_of_tune: set[str] = set()
        self._pulse = RemotePulse(self._transport, self._deliver)
        self._closed = False

    @classmethod
    async def start(cls, config: ServerConfig, *, backoff: Backoff | None = None) -> Self:
        """Read the key and prepare connections; ServerError if the key or the certificates are not to be had."""
        self = cls(config, backoff or Backoff())
        self.hello = Hello(protocol_version=PROTOCOL_VERSION, engine_version="", pid=0, cpu=config.host)
        return self

    @property
    def pid(self) -> int:
        """No process of this machine computes: 0."""
        return 0

    @property
    def alive(self) -> bool:
        """Whether commands are taken. A server that is away is no reason against it: it may come back."""
        return not self._closed

    async def send(self, command: AnyCommand) -> None:
        """Begin to carry a command out; EngineGoneError once this is closed."""
        if self._closed:
            raise self._gone()
        match command:
            case Stop():
                self._stop(command.request_id)
            case Tune():
                self._tune(command)
            case Shutdown():
                await self.close()
            case Load():
                await self._end_tasks()
                self._begin(command, self._load(command))
            case Generate():
                self._waiting[command.request_id] = command
                self._begin(command, self._generate(command.request_id))
            case Tokenize():
                self._begin(command, self._tokenize(command))
            case Score() | Look():
                self._fail(command.request_id, _REFUSALS[type(command)])
            case Detokenize():
                self._begin(command, self._detokenize(command))
            case _:
                assert_never(command)

    async def close(self) -> None:
        """Stop everything and close all connections. May be repeated."""
        self._closed = True
        await self._end_tasks()
        await self._pulse.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._transport.close()
        self._release_requests()

    def _gone(self) -> EngineGoneError:
        return EngineGoneError(f"The connection to {self._config.host} was closed.", "Open it again.")

    def _begin(self, command: Request, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"server {command.request_id}")
        self._tasks[task] = command.request_id
        task.add_done_callback(partial(self._ended, command))

    def _ended(self, command: Request, task: asyncio.Task[None]) -> None:
        """Whatever a task ends with, its command is answered."""
        name = self._tasks.pop(task)
        self._waiting.pop(name, None)
        self._told_of_tune.discard(name)
        if task.cancelled():
            self._deliver(_stopped(command))
        elif isinstance(error := task.exception(), EngineError):
            self._fail(name, error)
        elif error is not None:
            log.error("A command to a server failed.", exc_info=error)
            self._fail(name, EngineError(f"This failed in a way nobody foresaw: {type(error).__name__}."))

    def _fail(self, name: str, error: EngineError) -> None:
        kind = "ServerError" if isinstance(error, ServerError) else type(error).__name__
        message = self._transport.hide_key(error.message)
        self._deliver(Failed(request_id=name, kind=kind, message=message, hint=error.hint))

    def _stop(self, name: str) -> None:
        for task, command_name in self._tasks.items():
            if command_name == name:
                task.cancel()

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _tune(self, command: Tune) -> None:
        name = command.request_id
        if name in self._waiting:
            self._waiting[name] = msgspec.structs.replace(self._waiting[name], sampling=command.sampling)
        elif name in self._tasks.values() and name not in self._told_of_tune:
            self._told_of_tune.add(name)
            self._notice(name, CANNOT_TUNE)

    def _notice(self, name: str, text: str) -> None:
        self._deliver(Notice(request_id=name, text=text))

    async def _load(self, command: Load) -> None:
        began_s = time.monotonic()
        self._open = None
        self._pulse.enter("loading")
        self._deliver(
            LoadProgress(request_id=command.request_id, stage="asking", done=0, total=0, detail=self._config.host)
        )
        try:
            found = await discover(self._transport, command.path or self._config.model)
            self._open = OpenModel(found.model, found.card, Dialect(found.known))
            self._pulse.context = found.card.context
        finally:
            self._pulse.enter("ready" if self._open else "empty")
        if self._transport.has_key and not self._config.is_encrypted_or_local:
            self._notice("", f"The key and all that is said go to {self._config.host} unencrypted.")
        self._deliver(ModelReady(request_id=command.request_id, card=found.card, load_s=time.monotonic() - began_s))

    def _need_open(self) -> OpenModel:
        if self._open is None:
            raise EngineError("No model of a server is open.", "Open one first.")
        return self._open

    async def _tokenize(self, command: Tokenize) -> None:
        body = tokenize_body(
            self._need_open().model, command.text, add_bos=command.add_bos, parse_special=command.parse_special
        )
        told = await self._transport.post(f"{self._config.root_url}/tokenize", body)
        ids, pieces = _tokens(told)
        self._deliver(Tokenized(request_id=command.request_id, ids=ids, pieces=pieces))

    async def _detokenize(self, command: Detokenize) -> None:
        self._deliver(Detokenized(request_id=command.request_id, text=await self._text_of(command.ids)))

    async def _text_of(self, ids: list[int]) -> str:
        if any(token_id < 0 for token_id in ids):
            raise EngineError(
                f"{self._config.host} gave these tokens' text alone, not their numbers.",
                "Go on from the text of the answer.",
            )
        told = await self._transport.post(
            f"{self._config.root_url}/detokenize", {"model": self._need_open().model, "tokens": ids}
        )
        text = (told.get("content") or told.get("prompt")) if isinstance(told, dict) else None
        return text if isinstance(text, str) else ""

    async def _generate(self, name: str) -> None:
        """Wait for the turn, then have the answer written."""
        async with self._turn:
            command = self._waiting.pop(name)
            seed = secrets.randbits(SERVER_SEED_BITS) if command.seed is None else command.seed
            answer = RemoteAnswer(command, seed)
            try:
                text = await self._answer_text(command)
                with self._pulse.beating(answer):
                    await Writing(self._transport, self._need_open(), self._observed, self._backoff).write(answer, text)
            except asyncio.CancelledError:
                self._deliver(answer.finished("stopped"))
            except ServerError as error:
                if not answer.n_events:
                    raise
                note = f"{self._transport.hide_key(error.message)} What came until then is kept; go on from there."
                self._deliver(answer.finished("failed", note))
            else:
                self._deliver(answer.finished())

    def _observed(self, event: AnyEvent) -> None:
        self._pulse.observe(event)
        self._deliver(event)

    async def _answer_text(self, command: Generate) -> str:
        """What there is of an answer that is to go on."""
        prompt = command.prompt
        if not isinstance(prompt, ChatPrompt):
            return ""
        return prompt.answer_text or (await self._text_of(prompt.answer_ids) if prompt.answer_ids else "")


def _tokens(told: Any) -> tuple[list[int], list[str]]:
    """Token ids and texts from llama.cpp's or vLLM's answer; no texts where it has none."""
    listed = told.get("tokens") if isinstance(told, dict) else None
    tokens = [each if isinstance(each, dict) else {"id": each} for each in listed] if isinstance(listed, list) else None
    if tokens is None or not all(isinstance(token.get("id"), int) for token in tokens):
        raise ServerError("The server does not tell tokens.", "Use a model on this machine for that.")
    pieces = [token["piece"] for token in tokens if isinstance(token.get("piece"), str)]
    texts = told.get("token_strs")
    return [token["id"] for token in tokens], pieces or (list(map(str, texts)) if isinstance(texts, list) else [])


def _stopped(command: Request) -> Finished | Failed:
    """The answer to a command that was stopped before it had begun."""
    if isinstance(command, Generate):
        return RemoteAnswer(command, command.seed or 0).finished("stopped")
    return Failed(
        request_id=command.request_id, kind="EngineError", message="This was stopped on the way.", hint="Try again."
    )
