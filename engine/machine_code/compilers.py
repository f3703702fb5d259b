"""The processes that compile kernels. They wait for more until `dismiss` is called, or this process ends."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

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
    count = min(len(orders), MOST_COMPILERS, _cores())
    for item in orders.items():
        waiting.put(item)
    for _ in range(count):
        waiting.put(None)
    at_work = [_idle.pop() if _idle else Compiler() for _ in range(count)]
    threads = [threading.Thread(target=each.work, args=(waiting, events), daemon=True) for each in at_work]
    for thread in threads:
        thread.start()
    left = count
    try:
        while left:
            event = events.get()
            if isinstance(event, CompilerError):
                raise event
            if event is None:
                left -= 1
            else:
                yield event
        _idle.extend(at_work)
    finally:
        if left:
            for compiler in at_work:
                compiler.end()
        for thread in threads:
            thread.join()


def dismiss() -> None:
    """End the processes that wait for more."""
    while _idle:
        _idle.pop().end()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
