"""The processes that compile kernels. They wait for more until `dismiss` is called, or this process ends."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

from engine.cores import allowed_cores
from engine.errors import EngineError
from engine.machine_code.orders import Order, order_encoder

COMMAND = (sys.executable, "-P", "-m", "engine.kernels")

MOST_COMPILERS = 4
"""Each takes 150 MB, and starting one takes half a second: more do not pay."""

Waiting = queue.SimpleQueue[tuple[str, Order] | None]


class CompilerError(EngineError):
    """A kernel could not be compiled."""


def carry_out(orders: Mapping[str, Order]) -> Iterator[str]:
    """Compile side by side; yields each order's name when its turn comes. Returns when all are done.

    Raises CompilerError for the first that fails.
    """
    waiting: Waiting = queue.SimpleQueue()
    events: queue.SimpleQueue[str | CompilerError | None] = queue.SimpleQueue()
    count = min(len(orders), MOST_COMPILERS, allowed_cores())
    for item in orders.items():
        waiting.put(item)
    for _ in range(count):
        waiting.put(None)
    threads = _set_to_work(count, waiting, events)
    left = len(threads)
    try:
        while left:
            event = events.get()
            if isinstance(event, CompilerError):
                raise event
            if event is None:
                left -= 1
            else:
                yield event
        _idle.extend(threads)
    finally:
        if left:
            for compiler in threads:
                compiler.end()
        for thread in threads.values():
            thread.join()


def _set_to_work(
    count: int, waiting: Waiting, events: queue.SimpleQueue[str | CompilerError | None]
) -> dict[Compiler, threading.Thread]:
    """So many compilers, or as many as the system lets start. Raises CompilerError where that is none."""
    at_work: dict[Compiler, threading.Thread] = {}
    for _ in range(count):
        compiler = None
        try:
            compiler = _idle.pop() if _idle else Compiler()
            thread = threading.Thread(target=compiler.work, args=(waiting, events), daemon=True)
            thread.start()
        except (OSError, RuntimeError) as error:
            if compiler is not None:
                compiler.end()
            if not at_work:
                raise CompilerError(
                    f"The system refuses to start a compiler: {error}.",
                    "End other programs, or have this user be given more processes (ulimit -u).",
                ) from error
            break
        at_work[compiler] = thread
    return at_work


def dismiss() -> None:
    """End the processes that wait for more."""
    while _idle:
        _idle.pop().end()


class Compiler:
    """One process, which compiles one kernel after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def work(self, waiting: Waiting, events: queue.SimpleQueue[str | CompilerError | None]) -> None:
        """Carry out what waits until a None; tells each order's name, then None, or what went wrong."""
        while (item := waiting.get()) is not None:
            title, order = item
            events.put(title)
            error = self._ask(order)
            if error:
                events.put(
                    CompilerError(
                        f"The kernel {title} could not be compiled: {error}",
                        "The engine's log has the details. Free some memory, or reinstall numba in this environment.",
                    )
                )
                return
        events.put(None)

    def _ask(self, order: Order) -> str:
        """What went wrong, or nothing."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(order_encoder.encode(order) + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (OSError, ValueError) as error:
            return f"the compiler is gone ({error})"
        if not answer.endswith(b"\n"):
            return f"the compiler ended with status {self._process.wait()}"
        return answer.decode(errors="replace").strip()

    def end(self) -> None:
        """Let the process go; one that still compiles is ended."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


_idle: list[Compiler] = []
