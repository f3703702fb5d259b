"""Events come out of a stream whole, however it is cut."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ServerError
from engine.remote import sse
from engine.remote.sse import event_data


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(*pieces: bytes) -> list[str]:
    return [data async for data in event_data(pieces_of(*pieces))]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\r\n\r\ndata:  b\r\n\r\n", ["a", " b"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b": comment\n\nevent: x\nid: 1\ndata: a\nretry: 3\n\n", ["a"]),
        (b"data\n\ndata: a\n\n", ["", "a"]),
        (b"datas: a\n\nnothing\n\n", []),
        (b"data: whole\n\ndata: cut o", ["whole"]),
        (b"data: whole\n\ndata: cut off\n", ["whole"]),
        (b"data: \xff\n\n", ["\N{REPLACEMENT CHARACTER}"]),
        (b"data: a\rdata: b\r\rdata: c\r\r", ["a\nb", "c"]),
        (b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n", ["a", "\N{ZERO WIDTH NO-BREAK SPACE}b"]),
        (b'data: {}\n\ndata: {"a": 1}', ["{}", '{"a": 1}']),
        (b"data: {}\n\ndata: [DONE]\n", ["{}", "[DONE]"]),
        (b'data: {}\n\ndata: {"a": ', ["{}"]),
    ],
)
async def test_events(stream: bytes, events: list[str]) -> None:
    assert await read(stream) == events


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 200)),
)
async def test_any_cut_of_the_stream_gives_the_same(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = b"".join(f"data: {text}{end}{end}".encode() for text in texts)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert await read(*pieces) == texts


@pytest.mark.parametrize("piece", [b"x" * 50, b"data: x\n" * 6])
async def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 200)
    with pytest.raises(ServerError, match="without end"):
        await read(*([piece] * 1000))
