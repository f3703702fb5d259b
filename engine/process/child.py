"""The engine's process as the app's event loop sees it: started, listened to, watched, and ended in bounded time.

The process is in a session of its own, so that a terminal's Ctrl-C or hang-up does not reach it. When the app is gone,
for whatever reason, the process reads the end of its stdin and exits. (Linux's parent-death signal is left out: it
fires when the *thread* that started the process ends, which need not be the end of the app.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from engine.errors import EngineGoneError, EngineStartError
from engine.process import postmortem
from engine.process.heard_lines import HeardLines
from engine.process.lines import LineSplitter, LineTooLongError
from engine.process.silence import Silence
from engine.protocol import AnyEvent, EngineDied, HeartbeatMissed, Notice
from engine.protocol.lines import MAX_LINE_BYTES

log = logging.getLogger(__name__)

STDIN, STDOUT = 0, 1
MANY = 8
"""Events that came together from an engine that writes faster than anybody reads."""

OLD_LOG_BYTES = 4 << 20
"""A log larger than this is put aside (one older is kept) before the next engine starts."""


@dataclass(frozen=True)
class Limits:
    """How long to wait, and how much to take, before the engine counts as broken; each with its reason."""

    hello_s: float = 20.0
    """Python and msgspec start in 0.1 s; a cold network disk on a busy machine needs seconds."""
    heartbeat_s: float = 10.0
    """Five pulses of an idle engine; less would cry wolf on a machine that swaps."""
    send_s: float = 30.0
    """A command larger than the pipe waits for the engine to read; its reader is never busy for long."""
    close_s: float = 3.0
    """After the end of stdin the engine gives its answer a second to end, then exits."""
    terminate_s: float = 1.0
    """SIGTERM takes the same way out; it only helps where stdin is not read any more."""
    kill_s: float = 5.0
    """Nothing survives SIGKILL for long but a process stuck in the kernel, on a dead network disk for instance."""
    drain_s: float = 1.0
    """What a dead engine wrote is in the pipe already; a longer wait means that another process holds its end."""
    gather_s: float = 0.04
    """What follows a token within this time is read together: a reader that wakes up for every token takes the
    processor from the engine, and nobody reads more than twenty-five changes a second."""
    gather_many_s: float = 0.1
    """The same after MANY events at once: that fast, ten changes a second are as good."""
    tick_s: float = 0.5
    """How often the watch looks whether the engine is silent."""
    line_bytes: int = MAX_LINE_BYTES


class _Pipes(asyncio.SubprocessProtocol):
    """What the event loop tells of the process, turned into lines and events to wait for."""

    def __init__(self, limits: Limits, take: Callable[[bytes], bool]) -> None:
        self.silence = Silence(limits.heartbeat_s, asyncio.get_running_loop().time())
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.over = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.overlong = asyncio.Event()
        self.given_up = False
        self._splitter = LineSplitter(limits.line_bytes)
        self._take = take
        self._limits = limits
        self._output: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._output = cast(
            "asyncio.ReadTransport | None", cast(asyncio.SubprocessTransport, transport).get_pipe_transport(STDOUT)
        )

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if self.overlong.is_set():
            return
        loop = asyncio.get_running_loop()
        self.silence.hear(loop.time())
        try:
            lines = self._splitter.feed(cast(bytes, data))
        except LineTooLongError:
            self.overlong.set()
            self.over.set()
            return
        more_follow = [self._take(line) for line in lines]
        # In the middle of a line, the engine stands still until the rest is read.
        if more_follow and more_follow[-1] and self._output is not None and not self._splitter.in_line:
            self._output.pause_reading()
            gather_s = self._limits.gather_s if len(lines) < MANY else self._limits.gather_many_s
            loop.call_later(gather_s, self._output.resume_reading)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == STDOUT:
            self.closed.set()
            self.over.set()
        else:
            self.writable.set()

    def process_exited(self) -> None:
        self.exited.set()
        self.over.set()
        self.writable.set()

    def give_up(self) -> None:
        """The process does not end: nobody waits for that any more."""
        self.given_up = True
        self.over.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


def open_log(path: Path, tell: Callable[[str], None]) -> BinaryIO:
    """Open the log to append, readable by its owner alone; a large old one is put aside first.

    Where it cannot be written, `tell` gets a sentence about that, and what would be in it is dropped.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > OLD_LOG_BYTES:
                path.replace(path.with_name(path.name + ".1"))
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        message = f"The engine's log {path} cannot be written ({error.strerror}): what it says about errors is lost."
        tell(message)
        return open(os.devnull, "ab")


class EngineProcess:
    """A running engine; make it with `start`. `deliver` is called, on the event loop, with each of its events.

    The last event is EngineDied where the process ended without `end`.
    """

    def __init__(self, log_path: Path, limits: Limits, deliver: Callable[[AnyEvent], None]) -> None:
        self.log_path = log_path
        self.limits = limits
        self.died: EngineDied | None = None
        self._deliver = deliver
        self._heard = HeardLines(deliver)
        self._pipes = _Pipes(limits, self._heard.take)
        self._oom_kills = postmortem.oom_kills()
        self._ending = False
        self._log_start = 0
        self._transport: asyncio.SubprocessTransport
        self._watch: asyncio.Task[None]

    @classmethod
    async def start(
        cls, command: Sequence[str], log_path: Path, limits: Limits, deliver: Callable[[AnyEvent], None]
    ) -> EngineProcess:
        """Start `command` with its stderr in the log; EngineStartError if that is impossible."""
        self = cls(log_path, limits, deliver)
        with open_log(log_path, lambda text: deliver(Notice(text=text))) as log_file:
            self._log_start = log_file.seek(0, os.SEEK_END)
            try:
                transport, _ = await asyncio.get_running_loop().subprocess_exec(
                    lambda: self._pipes, *command, stderr=log_file, start_new_session=True
                )
            except OSError as error:
                raise EngineStartError(
                    f"The engine's program {command[0]} cannot be started ({error.strerror}).",
                    "Install llm-tui again in a fresh virtual environment.",
                ) from error
        self._transport = transport
        self._watch = asyncio.create_task(self._watch_over(), name="engine watch")
        return self

    @property
    def bad_lines(self) -> int:
        """How many lines were no events."""
        return self._heard.n_bad

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._transport.get_pid()

    @property
    def running(self) -> bool:
        """Whether the process lives and nobody has asked it to end."""
        return not self._pipes.over.is_set() and not self._ending

    @property
    def gone(self) -> EngineGoneError:
        """The error for whoever still wants something of a process that has ended."""
        why = self.died.message if self.died else "The engine was closed." if self._ending else "The engine has ended."
        return EngineGoneError(why, "Start it again.")

    def last_words(self) -> str:
        """The last line of this process's log, "" if there is none."""
        return next(reversed(postmortem.log_tail(self.log_path, self._log_start)), "")

    async def write(self, line: bytes) -> None:
        """Send one line, its line feed included; EngineGoneError if nobody reads it."""
        stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))
        if not self.running or stdin.is_closing():
            raise self.gone
        stdin.write(line)
        try:
            async with asyncio.timeout(self.limits.send_s):
                await self._pipes.writable.wait()
        except TimeoutError:
            raise EngineGoneError(
                f"The engine has not taken a command for {self.limits.send_s:g} s.", "Start it again."
            ) from None

    async def end(self) -> None:
        """Close stdin, wait, terminate, wait, kill, wait; each wait is one of the limits. May be repeated.

        A process that the system does not end even then is left to itself.
        """
        self._ending = True
        if (stdin := self._transport.get_pipe_transport(STDIN)) is not None:
            stdin.close()
        if not await self._exits_within(self.limits.close_s):
            self._signal(self._transport.terminate)
            if not await self._exits_within(self.limits.terminate_s):
                await self._kill()
        await self._watch

    async def kill(self) -> None:
        """End the process at once."""
        self._ending = True
        await self._kill()
        await self._watch

    async def _kill(self) -> None:
        self._signal(self._transport.kill)
        if not await self._exits_within(self.limits.kill_s):
            log.error("The engine's process %d goes on after SIGKILL; it is stuck in the kernel.", self.pid)
            self._pipes.give_up()

    @staticmethod
    def _signal(send: Callable[[], None]) -> None:
        with contextlib.suppress(ProcessLookupError):
            send()

    async def _exits_within(self, limit_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._pipes.exited.wait()
        return self._pipes.exited.is_set()

    async def _watch_over(self) -> None:
        """Tell of silences while the process lives, and of its death unless `end` was called."""
        try:
            await self._mind_silence()
            fault = await self._see_off()
        except asyncio.CancelledError:
            # The event loop ends without `end`: nobody will hear the engine any more.
            await self._kill()
            raise
        finally:
            self._transport.close()
        if self._ending:
            return
        died = postmortem.engine_died(self._transport.get_returncode(), self.log_path, self._log_start, self._oom_kills)
        self.died = msgspec.structs.replace(died, message=fault) if fault else died
        self._deliver(self.died)

    async def _mind_silence(self) -> None:
        """Deliver HeartbeatMissed once a silence, until the process or its output ends."""
        while not self._pipes.over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.tick_s):
                    await self._pipes.over.wait()
            silent_s = self._pipes.silence.look(asyncio.get_running_loop().time())
            if silent_s is not None and self.running:
                self._deliver(HeartbeatMissed(silent_s=silent_s))

    async def _see_off(self) -> str:
        """Wait for the end of a process or its output to become the end of both; returns what was wrong, if it was."""
        fault = ""
        if self._pipes.given_up:
            return fault
        if self._pipes.overlong.is_set():
            fault = f"The engine wrote a line of more than {self.limits.line_bytes >> 20} MB and was ended."
            await self._kill()
        elif not await self._exits_within(self.limits.close_s + self.limits.terminate_s + self.limits.kill_s):
            fault = "The engine closed its output without ending, and was ended."
            await self._kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain_s):
                await self._pipes.closed.wait()
        return fault
