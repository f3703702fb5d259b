"""Half characters wait, invalid bytes do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.tokenizer import TextStream


def test_a_character_waits_for_its_rest() -> None:
    stream = TextStream()
    pieces = [stream.feed(bytes([byte])) for byte in "aé\N{GRINNING FACE}".encode()]
    assert pieces == ["a", "", "é", "", "", "", "\N{GRINNING FACE}"]
    assert stream.flush() == ""


def test_invalid_bytes_and_an_unfinished_end() -> None:
    stream = TextStream()
    assert stream.feed(b"a\xffb\xe2\x82") == "a\ufffdb"
    assert stream.flush() == "\ufffd"


@given(chunks=st.lists(st.binary(max_size=5)))
def test_the_cuts_do_not_matter(chunks: list[bytes]) -> None:
    stream = TextStream()
    text = "".join(map(stream.feed, chunks)) + stream.flush()
    assert text == b"".join(chunks).decode("utf-8", "replace")
