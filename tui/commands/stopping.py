"""Long commands that are stopped: whatever signal ends them, they end in order, and what is left is told or kept."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click

from tui.commands.output import say

_Result = TypeVar("_Result")


@contextmanager
def stoppable(left: Callable[[], str]) -> Iterator[None]:
    """End what happens inside on Ctrl-C, SIGTERM or SIGHUP, say in one line what is left, and exit as interrupted."""
    with _handled_by(signal.default_int_handler):
        try:
            yield
        except KeyboardInterrupt:
            say(left())
            raise click.Abort from None


def run_stoppable(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run it as asyncio.run does, but end it on SIGTERM and SIGHUP as on Ctrl-C: it is cancelled.

    A second Ctrl-C breaks it off, the other two do not: a terminal that is closed sends SIGHUP more than once.
    """
    asked = False

    async def watched() -> _Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(_number: int, _frame: FrameType | None) -> None:
            nonlocal asked
            if not asked:
                asked = True
                loop.call_soon_threadsafe(task.cancel)

        with _handled_by(stop):
            return await work

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise click.Abort from None


@contextmanager
def _handled_by(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give SIGTERM and SIGHUP a handler; one that is ignored, as below `nohup`, stays so."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGTERM, signal.SIGHUP] if is_main else []
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
