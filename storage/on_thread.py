"""Work on a thread that is carried out, whoever still waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

R = TypeVar("R")


async def on_thread(thread: Executor, work: Callable[[], R]) -> R:
    """Do something on a thread and return what it returns, or raise what it raises.

    When the waiting is cancelled, the work goes on, and what becomes of it nobody learns.
    """
    done = asyncio.get_running_loop().run_in_executor(thread, work)
    done.add_done_callback(_take_note)
    # Unlike what is awaited, what is waited for is not cancelled with the waiting.
    await asyncio.wait([done])
    return done.result()


def _take_note(done: asyncio.Future[R]) -> None:
    """An error of which nobody has taken note is printed into the terminal."""
    if not done.cancelled():
        done.exception()
