"""The app's end of the engine: commands in, a queue of typed events out. Imports neither NumPy nor Numba."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from engine import errors
from engine.child import EngineProcess, Limits
from engine.protocol import (
    PROTOCOL_VERSION,
    AnyCommand,
    AnyEvent,
    Detokenize,
    Detokenized,
    EngineDied,
    EngineStats,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    LoadProgress,
    ModelCard,
    ModelReady,
    Stop,
    Tokenize,
    Tokenized,
    Unload,
    Unloaded,
    command_encoder,
)

ENGINE_COMMAND = (sys.executable, "-P", "-m", "engine")
"""-P: a folder named `engine` where the user happens to be is not run by mistake."""

MAX_UNREAD_STATS = 1000
"""A client that does not read `events` gets no more of the pulse than this, so that a queue cannot grow for weeks."""

_ENDS_REQUEST = (ModelReady, Finished, Tokenized, Detokenized, Unloaded, Failed)
_numbers = count(1)
_E = TypeVar("_E", bound=AnyEvent)


def error_from(failed: Failed) -> errors.EngineError:
    """The exception that a Failed event stands for."""
    kind = getattr(errors, failed.kind, None)
    if isinstance(kind, type) and issubclass(kind, errors.EngineError) and "__init__" not in vars(kind):
        return kind(failed.message, failed.hint)
    return errors.EngineError(failed.message, failed.hint)


class EngineClient:
    """One engine process; make it with `start`, or as ``async with await EngineClient.start(...)``.

    events: all that the engine says, but for the answers to `ask`, `load` and the other requests below, which go to
    their caller alone. HeartbeatMissed tells of a silence, EngineDied (the last event) of an end nobody asked for.
    """

    def __init__(self) -> None:
        self.events: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self.hello: Hello | None = None
        self._process: EngineProcess
        self._greeted = asyncio.Event()
        self._requests: dict[str, asyncio.Queue[AnyEvent | None] | None] = {}

    @classmethod
    async def start(cls, command: Sequence[str] | None = None, *, log_path: Path, limits: Limits | None = None) -> Self:
        """Start the engine and wait for its greeting; EngineStartError when none comes, or one in another version.

        log_path: takes the process's stderr, behind what is in it. command: another program that speaks the protocol.
        """
        self = cls()
        limits = limits or Limits()
        self._process = await EngineProcess.start(command or ENGINE_COMMAND, log_path, limits, self._deliver)
        try:
            await self._greeting(limits.hello_s)
        except BaseException:
            await self._process.kill()
            raise
        return self

    async def _greeting(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._greeted.wait()
        except TimeoutError:
            raise self._start_error(f"The engine did not greet within {limit_s:g} s.") from None
        if self.hello is None:
            raise self._start_error(f"The engine did not start. {self._process.gone.message}")
        if self.hello.protocol_version != PROTOCOL_VERSION:
            raise errors.EngineStartError(
                f"The engine speaks version {self.hello.protocol_version} of the protocol between its parts, the app"
                f" version {PROTOCOL_VERSION}.",
                "Install llm-tui again: its parts are of different ages.",
            )

    def _start_error(self, message: str) -> errors.EngineStartError:
        last_words = self._process.last_words()
        said = f" It last said: {last_words}" if last_words else ""
        return errors.EngineStartError(message + said, f"Its log has the details: {self._process.log_path}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process lives and takes commands."""
        return self._process.running

    @property
    def bad_lines(self) -> int:
        """How many of the engine's lines were no events."""
        return self._process.bad_lines

    async def send(self, command: AnyCommand) -> None:
        """Give the engine a command; EngineGoneError if there is no engine any more."""
        await self._process.write(command_encoder.encode(command) + b"\n")

    async def close(self) -> None:
        """End the engine, whatever it does; takes at most the limits' close, terminate and kill. May be repeated."""
        await self._process.end()
        self._release_requests()

    async def ask(self, command: Generate) -> AsyncGenerator[AnyEvent, None]:
        """Yield the events of one answer up to Finished or Failed; leaving the loop early stops the answer.

        The command gets a request_id if it has none. EngineGoneError if the engine ends before the answer does.
        """
        async with contextlib.aclosing(self._request(command)) as events:
            async for event in events:
                yield event

    async def load(self, command: Load, on_progress: Callable[[LoadProgress], None] | None = None) -> ModelCard:
        """Open a model and wait until it is ready; raises what the engine says against it. Cancelling stops it."""

        def progress(event: AnyEvent) -> None:
            if isinstance(event, LoadProgress) and on_progress is not None:
                on_progress(event)

        return (await self._one(command, ModelReady, progress)).card

    async def tokenize(self, text: str, *, add_bos: bool = True, parse_special: bool = True) -> Tokenized:
        """The open model's tokens of a text; answered between two tokens of an answer that is being written."""
        return await self._one(Tokenize(text=text, add_bos=add_bos, parse_special=parse_special), Tokenized)

    async def detokenize(self, ids: list[int]) -> str:
        """The text of the open model's tokens; answered like `tokenize`."""
        return (await self._one(Detokenize(ids=ids), Detokenized)).text

    async def unload(self) -> None:
        """Close the model and give its memory back; an answer that is being written ends first."""
        await self._one(Unload(), Unloaded)

    async def _one(self, command: AnyCommand, kind: type[_E], on_other: Callable[[AnyEvent], None] | None = None) -> _E:
        """Send a command and wait for the one event that answers it."""
        async with contextlib.aclosing(self._request(command)) as events:
            async for event in events:
                if isinstance(event, kind):
                    return event
                if isinstance(event, Failed):
                    raise error_from(event)
                if on_other is not None:
                    on_other(event)
        raise self._process.gone

    async def _request(self, command: AnyCommand) -> AsyncGenerator[AnyEvent, None]:
        """Send a command and yield what answers it; what comes after the caller has left is dropped."""
        if not command.request_id:
            command = msgspec.structs.replace(command, request_id=f"{os.getpid()}-{next(_numbers)}")
        name = command.request_id
        answers: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._requests[name] = answers
        ended = False
        try:
            await self.send(command)
            while not ended:
                event = await answers.get()
                if event is None:
                    raise self._process.gone
                ended = isinstance(event, _ENDS_REQUEST)
                yield event
        finally:
            while not ended and not answers.empty():
                ended = isinstance(answers.get_nowait(), _ENDS_REQUEST)
            if ended or not self.alive:
                self._requests.pop(name, None)
            else:
                self._requests[name] = None
                with contextlib.suppress(errors.EngineGoneError):
                    await self.send(Stop(request_id=name))

    def _deliver(self, event: AnyEvent) -> None:
        """Put an event where it is waited for."""
        if isinstance(event, Hello):
            self.hello = self.hello or event
            self._greeted.set()
        elif isinstance(event, EngineDied):
            self._greeted.set()
            self._release_requests()
        if event.request_id in self._requests:
            self._answer(event)
        elif not isinstance(event, EngineStats) or self.events.qsize() < MAX_UNREAD_STATS:
            self.events.put_nowait(event)

    def _answer(self, event: AnyEvent) -> None:
        answers = self._requests[event.request_id]
        if answers is not None:
            answers.put_nowait(event)
        elif isinstance(event, _ENDS_REQUEST):
            del self._requests[event.request_id]

    def _release_requests(self) -> None:
        """Tell everybody who waits for an answer that none will come."""
        for answers in self._requests.values():
            if answers is not None:
                answers.put_nowait(None)
        self._requests.clear()
