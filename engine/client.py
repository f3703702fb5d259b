"""The app's end of this machine's engine: starts its process and talks with it. Imports neither NumPy nor Numba."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from engine import errors
from engine.interface import Engine, error_from
from engine.process.child import EngineProcess, Limits
from engine.process.failures import failure
from engine.protocol import PROTOCOL_VERSION, AnyCommand, AnyEvent, EngineDied, Hello, Load
from engine.protocol.lines import command_encoder
from engine.typed_path import require_text

__all__ = ["ENGINE_COMMAND", "EngineClient", "error_from"]

ENGINE_COMMAND = (sys.executable, "-P", "-m", "engine")
"""-P: a folder named `engine` where the user happens to be is not run by mistake."""


class EngineClient(Engine):
    """One engine process; make it with `start`, or as ``async with await EngineClient.start(...)``."""

    def __init__(self) -> None:
        super().__init__()
        self._process: EngineProcess
        self._greeted = asyncio.Event()

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
        if isinstance(command, Load):
            try:
                require_text(command.path, command.base, command.cache_dir)
            except errors.ModelFileError as error:
                self._deliver(failure(error, command.request_id))
                return
        await self._process.write(command_encoder.encode(command) + b"\n")

    async def close(self) -> None:
        """End the engine, whatever it does; takes a bounded time (see Limits). May be repeated."""
        await self._process.end()
        self._release_requests()

    def _gone(self) -> errors.EngineGoneError:
        return self._process.gone

    def _deliver(self, event: AnyEvent) -> None:
        if isinstance(event, Hello):
            self.hello = self.hello or event
            self._greeted.set()
        elif isinstance(event, EngineDied):
            self._greeted.set()
        super()._deliver(event)
