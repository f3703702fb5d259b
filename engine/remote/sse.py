"""Server-sent events from the pieces of an HTTP answer, with a limit on what one event may hold."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from engine.errors import ServerError
from engine.lines import LineSplitter, LineTooLongError

MAX_EVENT_BYTES = 4 << 20
"""An honest event is one token with its candidates, or a few; more is a server that writes without end."""


async def event_data(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """The data of each event. What the stream's end cuts off is left out. ServerError if an event has no end."""
    splitter = LineSplitter(MAX_EVENT_BYTES)
    data: list[bytes] = []
    n_bytes = 0
    async for piece in pieces:
        try:
            lines = splitter.feed(piece)
        except LineTooLongError:
            raise _too_long() from None
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                value = _data_of(line)
                data += value
                n_bytes += sum(map(len, value))
            elif data:
                yield b"\n".join(data).decode("utf-8", "replace")
                data, n_bytes = [], 0
            if n_bytes > MAX_EVENT_BYTES:
                raise _too_long()


def _data_of(line: bytes) -> list[bytes]:
    """What a line adds to its event's data; comments and other fields add nothing."""
    field, _, value = line.partition(b":")
    return [value.removeprefix(b" ")] if field == b"data" else []


def _too_long() -> ServerError:
    return ServerError(f"The server sent an event of more than {MAX_EVENT_BYTES >> 20} MB without end.", "Try again.")
