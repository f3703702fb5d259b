"""Work that goes on beside everything else, whether anybody awaits it or not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from tui.language import _
from tui.log import start_log
from tui.messages import Post, Trouble

T = TypeVar("T")


def begin(work: Coroutine[Any, Any, None], name: str, post: Post | None) -> asyncio.Task[None]:
    """Do something in the background. An error that nobody foresaw ends it and is told.

    post: None to have it in the log alone.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(partial(_ended, post))
    return task


def _ended(post: Post | None, task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        tell_unforeseen(error, task.get_name(), post)


def tell_unforeseen(error: BaseException, what: str, post: Post | None) -> None:
    """Say an error that nobody foresaw, and write it to the log with its traceback. what: in which it came."""
    start_log().error("Not foreseen in: %s.", what, exc_info=error)
    if post is not None:
        post(Trouble(_("This should not have happened: {name}: {error}.", name=type(error).__name__, error=error)))


async def to_the_end(deed: Coroutine[Any, Any, T]) -> T:
    """Do what must not be left half done: it goes on when whoever waits is cancelled, as at the app's end.

    What goes wrong in it then is in the log.
    """
    task = asyncio.create_task(deed)
    try:
        # Unlike what is awaited, what is waited for is not cancelled with the waiting.
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.add_done_callback(_log_failure)
        raise
    return task.result()


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        start_log().info("What nobody waited for any more failed: %s", error)
