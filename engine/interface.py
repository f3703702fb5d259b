"""What the app has of any engine, this machine's process or a server: commands in, a queue of typed events out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Self, TypeVar

import msgspec

from engine import errors
from engine.protocol import (
    AnyCommand,
    AnyEvent,
    Detokenize,
    Detokenized,
    Ending,
    EngineDied,
    EngineStats,
    Failed,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Look,
    Looked,
    ModelCard,
    ModelReady,
    PromptProgress,
    Request,
    Score,
    Scored,
    Stop,
    Tokenize,
    Tokenized,
)

MAX_UNREAD_STATS = 1000
"""A client that does not read `events` gets no more of the pulse than this, so that a queue cannot grow for weeks."""

_numbers = count(1)
_E = TypeVar("_E", bound=AnyEvent)


def error_from(failed: Failed) -> errors.EngineError:
    """The exception that a Failed event stands for."""
    kind = getattr(errors, failed.kind, None)
    if isinstance(kind, type) and issubclass(kind, errors.EngineError) and "__init__" not in vars(kind):
        return kind(failed.message, failed.hint)
    return errors.EngineError(failed.message, failed.hint)


def _only(kind: type[_E], tell: Callable[[_E], None] | None) -> Callable[[AnyEvent], None]:
    """What tells of events of one kind, if anybody wants to know."""

    def take(event: AnyEvent) -> None:
        if tell is not None and isinstance(event, kind):
            tell(event)

    return take


def _is_unreadable(event: AnyEvent) -> bool:
    return isinstance(event, Failed) and event.kind == errors.UnreadableAnswerError.__name__


class Engine(ABC):
    """One engine that takes commands; usable as an ``async with`` block, which closes it.

    events: all that the engine says, but for the answers to `ask`, `load` and the other requests below, which go to
    their caller alone. HeartbeatMissed tells of a silence, EngineDied (the last event) of an end nobody asked for.
    """

    def __init__(self) -> None:
        self.events: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self.hello: Hello | None = None
        self._requests: dict[str, asyncio.Queue[AnyEvent | None] | None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    @abstractmethod
    def pid(self) -> int:
        """The number of the process that computes on this machine; 0 where none does."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the engine takes commands."""

    @abstractmethod
    async def send(self, command: AnyCommand) -> None:
        """Give the engine a command; EngineGoneError if there is no engine any more."""

    @abstractmethod
    async def close(self) -> None:
        """End the engine, whatever it does; takes a bounded time. May be repeated."""

    @abstractmethod
    def _gone(self) -> errors.EngineGoneError:
        """The error for whoever still wants something of an engine that has ended."""

    async def ask(self, command: Generate) -> AsyncGenerator[AnyEvent, None]:
        """Yield the events of one answer up to Finished or Failed; leaving the loop early stops the answer.

        The command gets a request_id if it has none. EngineGoneError if the engine ends before the answer does.
        """
        async with contextlib.aclosing(self._request(command)) as events:
            async for event in events:
                yield event

    async def load(self, command: Load, on_progress: Callable[[LoadProgress], None] | None = None) -> ModelCard:
        """Open a model and wait until it is ready; raises what the engine says against it. Cancelling stops it."""
        return (await self._one(command, ModelReady, _only(LoadProgress, on_progress))).card

    async def tokenize(
        self, text: str, *, add_bos: bool = True, parse_special: bool = True, with_pieces: bool = True
    ) -> Tokenized:
        """The open model's tokens of a text; answered between two tokens of an answer that is being written."""
        command = Tokenize(text=text, add_bos=add_bos, parse_special=parse_special, with_pieces=with_pieces)
        return await self._one(command, Tokenized)

    async def detokenize(self, ids: list[int]) -> str:
        """The text of the open model's tokens; answered like `tokenize`."""
        return (await self._one(Detokenize(ids=ids), Detokenized)).text

    async def token_bytes(self, ids: list[int]) -> list[bytes]:
        """The bytes that each token stands for, perhaps half a character; answered like `tokenize`."""
        return (await self._one(Detokenize(ids=ids, with_pieces=True), Detokenized)).pieces

    async def look(self, command: Look, on_progress: Callable[[PromptProgress], None] | None = None) -> Looked:
        """What is likely at a place of a conversation; waits for an answer that is being written."""
        return await self._one(command, Looked, _only(PromptProgress, on_progress))

    async def score(
        self, text: str, window: int, on_progress: Callable[[PromptProgress], None] | None = None
    ) -> Scored:
        """How well the open model predicts a text; waits for an answer that is being written."""
        return await self._one(Score(text=text, window=window), Scored, _only(PromptProgress, on_progress))

    async def _one(self, command: Request, kind: type[_E], on_other: Callable[[AnyEvent], None] | None = None) -> _E:
        """Send a command and wait for the one event that answers it."""
        async with contextlib.aclosing(self._request(command)) as events:
            async for event in events:
                if isinstance(event, kind):
                    return event
                if isinstance(event, Failed):
                    raise error_from(event)
                if on_other is not None:
                    on_other(event)
        raise self._gone()

    async def _request(self, command: Request) -> AsyncGenerator[AnyEvent, None]:
        """Send a command and yield what answers it; what comes after the caller has left is dropped."""
        if not command.request_id:
            command = msgspec.structs.replace(command, request_id=f"{os.getpid()}-{next(_numbers)}")
        name = command.request_id
        answers: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._requests[name] = answers
        over = ended = False
        try:
            await self.send(command)
            while not over:
                event = await answers.get()
                if event is None:
                    raise self._gone()
                over = isinstance(event, Ending)
                ended = over and not _is_unreadable(event)
                yield event
        finally:
            while not ended and not answers.empty():
                ended = isinstance(answers.get_nowait(), Ending)
            if ended or not self.alive:
                self._requests.pop(name, None)
            else:
                self._requests[name] = None
                with contextlib.suppress(errors.EngineGoneError):
                    await self.send(Stop(request_id=name))

    def _deliver(self, event: AnyEvent) -> None:
        """Put an event where it is waited for."""
        if isinstance(event, EngineDied):
            self._release_requests()
        if event.request_id in self._requests:
            self._answer(event)
        elif not isinstance(event, EngineStats) or self.events.qsize() < MAX_UNREAD_STATS:
            self.events.put_nowait(event)

    def _answer(self, event: AnyEvent) -> None:
        answers = self._requests[event.request_id]
        if answers is not None:
            answers.put_nowait(event)
        elif isinstance(event, Ending):
            del self._requests[event.request_id]

    def _release_requests(self) -> None:
        """Tell everybody who waits for an answer that none will come."""
        for answers in self._requests.values():
            if answers is not None:
                answers.put_nowait(None)
        self._requests.clear()
