"""Server-sent events from the pieces of an HTTP answer, with a limit on what one event may hold."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable

import msgspec

from engine.errors import ServerError
from engine.process.lines import LineSplitter, LineTooLongError

END_OF_STREAM = "[DONE]"
"""The data of the event that says that no other comes."""

MAX_EVENT_BYTES = 4 << 20
"""An honest event is one token with its candidates, or a few; more is a server that writes without end."""


async def event_data(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """The data of each event. What the stream's end cuts off is left out. ServerError if an event has no end."""
    data: list[bytes] = []
    n_bytes = 0
    async with contextlib.aclosing(_lines(pieces)) as lines:
        async for line in lines:
            if line:
                value = _data_of(line)
                data += value
                n_bytes += sum(map(len, value))
            elif data:
                yield b"\n".join(data).decode("utf-8", "replace")
                data, n_bytes = [], 0
            if n_bytes > MAX_EVENT_BYTES:
                raise _too_long()
    last = b"\n".join(data)
    if _is_whole(last):
        yield last.decode("utf-8", "replace")


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines, whichever of its three ends each has; the last one may have none."""
    splitter = LineSplitter(MAX_EVENT_BYTES)
    after_cr = False
    is_first = True
    try:
        async for piece in pieces:
            feed = piece.removeprefix(b"\n") if after_cr else piece
            after_cr = piece.endswith(b"\r") if piece else after_cr
            for line in splitter.feed(feed.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
                yield line.removeprefix(codecs.BOM_UTF8) if is_first else line
                is_first = False
        if splitter.in_line:
            yield splitter.feed(b"\n")[0]
    except LineTooLongError:
        raise _too_long() from None


def _is_whole(data: bytes) -> bool:
    """Whether an event that lacks only its end has all of its data."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.strip().decode("latin-1") == END_OF_STREAM
    return True


def _data_of(line: bytes) -> list[bytes]:
    """What a line adds to its event's data; comments and other fields add nothing."""
    field, _, value = line.partition(b":")
    return [value.removeprefix(b" ")] if field == b"data" else []


def _too_long() -> ServerError:
    return ServerError(f"The server sent an event of more than {MAX_EVENT_BYTES >> 20} MB without end.", "Try again.")
