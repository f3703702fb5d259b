"""Lines come out whole, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.process.lines import LineSplitter, LineTooLongError


@given(st.lists(st.binary(max_size=6).map(lambda piece: piece.replace(b"x", b"\n"))))
def test_any_cut_gives_the_same_lines(pieces: list[bytes]):
    splitter = LineSplitter(1000)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    assert lines == b"".join(pieces).split(b"\n")[:-1]


def test_it_knows_whether_a_line_has_begun():
    splitter = LineSplitter(1000)
    assert [(splitter.feed(piece), splitter.in_line)[1] for piece in (b"a", b"b\nc", b"\n", b"")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_line_may_be_as_long_as_the_limit_but_no_longer():
    splitter = LineSplitter(4)
    assert splitter.feed(b"ab") == []
    assert splitter.feed(b"cd\nefgh") == [b"abcd"]
    with pytest.raises(LineTooLongError):
        splitter.feed(b"i")
