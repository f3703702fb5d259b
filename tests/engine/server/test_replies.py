"""Answers in the interface's shapes."""

from __future__ import annotations

from engine.server.replies import CompletionReply, TokenLogprobs
from engine.server.requests import CompletionRequest


def test_offsets_count_the_characters_of_the_text() -> None:
    reply = CompletionReply(CompletionRequest(prompt="x", logprobs=0), "tiny")
    pieces = [b"a", b"\xf0\x9f", b"\xa6\x99", b"bc", b"d"]
    first, rest = pieces[:2], pieces[2:]
    offsets = []
    for part in (first, rest):
        piece = reply.piece("", [TokenLogprobs(piece, -0.5, []) for piece in part])
        offsets += piece["choices"][0]["logprobs"]["text_offset"]
    assert offsets == [0, 1, 1, 2, 4]
