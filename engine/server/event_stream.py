"""Server-sent events as an ASGI response that begins with its first piece, or to say that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.types import Send

from engine.server.replies import Json

KEEP_ALIVE_S = 10.0
"""A stream says so often that it lives, so that no proxy cuts it off while it waits or a long prompt is read."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """begun: the status is sent, so that errors can only be told in the stream."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send
        self._sending = asyncio.Lock()

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """While the block runs, the client hears something now and then."""
        keeping = asyncio.create_task(self._keep_alive(), name="keep alive")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def event(self, content: Json) -> None:
        """Send one event."""
        await self._piece(b"data: " + msgspec.json.encode(content) + b"\n\n")

    async def done(self) -> None:
        """Send the mark of the end, and end the response."""
        await self._piece(b"data: [DONE]\n\n", more=False)

    async def error(self, content: Json) -> None:
        """Tell of an error, and end the response."""
        await self.event(content)
        await self._piece(b"", more=False)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await self._piece(b": still here\n\n")

    async def _piece(self, body: bytes, *, more: bool = True) -> None:
        async with self._sending:
            if not self.begun:
                await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                self.begun = True
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
