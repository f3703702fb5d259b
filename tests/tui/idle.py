"""When the app has taken in what a test did to it, in place of Textual's guess by the processor's time.

That guess takes 40 ms for each key, and up to two seconds where a thread computes. The event loop knows: when it has
nothing left to run, all that is open waits for a timer, a thread or another process, and tests wait for that by name.
"""

from __future__ import annotations

import asyncio
import time

import pytest

FRAME_S = 1 / 60
"""What is to be drawn is drawn within this time."""


async def worked_off(min_sleep: float = 0, max_sleep: float = 1) -> None:
    """Wait until the event loop has nothing to run, at most max_sleep seconds. min_sleep: Textual's, without a use."""
    loop = asyncio.get_running_loop()
    limit = time.monotonic() + max_sleep
    await asyncio.sleep(0)
    while loop._ready and time.monotonic() < limit:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def drawn(min_sleep: float = 0, max_sleep: float = 1) -> None:
    """The same, and what came of it has been drawn."""
    await worked_off()
    await asyncio.sleep(FRAME_S)
    await worked_off(max_sleep=max_sleep)


def use(patch: pytest.MonkeyPatch) -> None:
    """Have Textual's pilot wait like this."""
    patch.setattr("textual.app.wait_for_idle", worked_off)
    patch.setattr("textual.pilot.wait_for_idle", drawn)
