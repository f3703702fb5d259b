"""Work that may never end, like looking into a folder of a network that is away: nobody waits for it at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def on_own_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do what only reads on a thread of its own, and return what it returns.

    Unlike asyncio's threads it ends with the process, and what hangs takes no other's place.
    """
    done: Future[R] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for whoever waits
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)
