"""The pulse of an answer from a server: how fast it comes, how full the context is, and how long it has been silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from engine.process.pulse import WORKING_INTERVAL_S, Activity
from engine.protocol import AnyEvent, EngineState, EngineStats, HeartbeatMissed
from engine.remote.answer import RemoteAnswer
from engine.remote.transport import Transport

SILENCE_S = 15.0
"""A server that reads a long prompt says nothing for so long, and no less than one that has gone."""


class RemotePulse(Activity):
    """Delivers EngineStats while an answer comes, and once when it is over; a silent server has no pulse."""

    def __init__(self, transport: Transport, deliver: Callable[[AnyEvent], None]) -> None:
        super().__init__()
        self._transport = transport
        self._deliver = deliver
        self._beat: asyncio.Task[None] | None = None

    def enter(self, state: EngineState) -> None:
        """Begin something else, and tell of it."""
        changed = state != self.state
        super().enter(state)
        if changed:
            self._tell()

    @contextlib.contextmanager
    def beating(self, answer: RemoteAnswer) -> Iterator[None]:
        """Beat for one answer."""
        self.context_used = 0
        self.enter("reading_prompt")
        self._beat = asyncio.create_task(self._go_on(), name="server pulse")
        try:
            yield
        finally:
            self._beat.cancel()
            if answer.prompt_tokens:
                self.context_used = answer.prompt_tokens + answer.n_tokens
            self.enter("ready")

    async def close(self) -> None:
        """End the beat, if there is one."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait([self._beat])

    async def _go_on(self) -> None:
        clock = asyncio.get_running_loop().time
        told_of_s = 0.0
        began_s = clock()
        while True:
            await asyncio.sleep(WORKING_INTERVAL_S)
            heard_s = max(self._transport.heard_s, began_s)
            silent_s = clock() - heard_s
            if silent_s <= SILENCE_S:
                self._tell()
            elif told_of_s != heard_s:
                told_of_s = heard_s
                self._deliver(HeartbeatMissed(silent_s=silent_s))

    def _tell(self) -> None:
        self._deliver(
            EngineStats(
                state=self.state,
                tokens_per_second=self.tokens_per_second(),
                prompt_tokens_per_second=self.prompt_tokens_per_second,
                rss_bytes=0,
                context_used=self.context_used,
                context=self.context,
                cpu_percent=0.0,
            )
        )
