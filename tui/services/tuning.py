"""New settings for the running answer, as often as a dragged slider makes sense to the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.protocol import Sampling, Tune
from tui.messages import Post
from tui.services import background

TUNE_PERIOD_S = 0.05
"""A dragged slider sends at most one Tune in this time; the last position always arrives."""


class Tuning:
    """Sends what is chosen at once, and of what follows quickly only the last. send: to the engine."""

    def __init__(self, send: Callable[[Tune], Awaitable[bool]], post: Post) -> None:
        self._send = send
        self._post = post
        self._unsent: Tune | None = None
        self._task: asyncio.Task[None] | None = None

    def tune(self, request_id: str, sampling: Sampling) -> None:
        """Choose the next token of an answer otherwise, from now on."""
        self._unsent = Tune(request_id=request_id, sampling=sampling)
        if self._task is None or self._task.done():
            self._task = background.begin(self._send_all(), "tune", self._post)

    def end(self) -> None:
        """Send nothing more of what was chosen so far."""
        if self._task is not None:
            self._task.cancel()

    async def _send_all(self) -> None:
        while self._unsent is not None:
            tune, self._unsent = self._unsent, None
            await self._send(tune)
            await asyncio.sleep(TUNE_PERIOD_S)
