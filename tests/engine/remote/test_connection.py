"""Servers whose connection breaks, stalls, lies or never ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engine.protocol import (
    Failed,
    Finished,
    HeartbeatMissed,
)
from engine.remote import answer, pulse, sse
from tests.engine.remote.asking import DONE, chunk, collect, connected, drained, question, text_of

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"then": "break"}, id="in the transfer"),
        pytest.param({"then": "close"}, id="in good order but too early"),
    ],
)
async def test_a_lost_connection_keeps_what_came(scripted_server: ScriptedServer, broken: dict[str, Any]) -> None:
    half = b'data: {"choices": [{"index": 0, "delta": {"con'
    scripted_server.plays = [scripted_server.stream("Par", half, **broken)]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "Par"
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "failed"
    assert "go on from there" in events[-1].note
    assert len(scripted_server.asked) == 1


async def test_a_connection_that_is_lost_behind_the_end_costs_nothing(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("Par", "is", chunk(finish="stop"), then="break")]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (text_of(events), finished.reason, finished.note) == ("Paris", "stop", "")


async def test_a_silent_server_is_told_of_and_given_up(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENCE_S", 0.05)
    scripted_server.plays = [scripted_server.stream("Par", then="stall")]
    async with connected(scripted_server, silence_timeout_s=1.0) as client:
        events = await collect(client, question())
        missed = [event for event in drained(client) if isinstance(event, HeartbeatMissed)]
    assert len(missed) == 1
    assert missed[0].silent_s >= 0.05
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, text_of(events)) == ("failed", "Par")
    assert "has sent nothing for 1 s" in events[-1].note


async def test_a_server_that_never_begins_is_a_failure(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream(then="stall")]
    async with connected(scripted_server, silence_timeout_s=0.1) as client:
        [failed] = await collect(client, question())
    assert isinstance(failed, Failed)
    assert (failed.kind, len(scripted_server.asked)) == ("ServerError", 1)


@pytest.mark.parametrize("malformed", [b"data: {not json\n\n", b'data: {"choices": 3}\n\n', b"data: \xff\xfe\n\n"])
async def test_a_malformed_event_ends_the_answer_with_what_came(
    scripted_server: ScriptedServer, malformed: bytes
) -> None:
    scripted_server.plays = [scripted_server.stream("Par", malformed, "is")]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, text_of(events)) == ("failed", "Par")


async def test_oddities_that_do_not_matter_do_not_matter(scripted_server: ScriptedServer) -> None:
    odd = {"choices": [], "usage": "none", "timings": [1], "prompt_progress": {"total": "many"}, "new": {"x": 1}}
    other = {"choices": [{"index": 1, "delta": {"content": "another answer"}}]}
    noise = b": ping\n\nevent: message\nid: 4\nretry: soon\n\n"
    scripted_server.plays = [scripted_server.stream("Par", noise, odd, other, "is", chunk(finish="eos_token"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Finished)
    assert (text_of(events), events[-1].reason, events[-1].note) == ("Paris", "stop", "")


async def test_an_error_within_the_stream_is_told(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("Par", {"error": {"message": "out of memory"}})]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, text_of(events)) == ("failed", "Par")
    assert "out of memory" in events[-1].note


async def test_endless_output_is_cut_off(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MAX_ANSWER_CHARS", 1000)
    scripted_server.plays = [scripted_server.stream("abcdefghij", then="endless")]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "failed"
    assert "without end" in events[-1].note
    assert len(text_of(events)) == 1000


async def test_an_event_without_end_is_cut_off(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1 << 16)
    scripted_server.plays = [scripted_server.stream(b"data: ", b"x" * 1000, then="endless")]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Failed)
    assert "without end" in events[-1].message


async def test_what_follows_the_end_is_not_part_of_the_answer(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("Paris", chunk(finish="stop"), " and more", DONE, then="stall")]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "Paris"


async def test_stop_texts_hold_also_where_the_server_does_not_know_them(scripted_server: ScriptedServer) -> None:
    refusal = {"error": {"message": "stop: not here", "param": "stop"}}
    scripted_server.plays = [
        scripted_server.page(400, refusal),
        scripted_server.stream("one E", "ND two", then="endless"),
    ]
    async with connected(scripted_server) as client:
        events = await collect(client, question(stop=["END"]))
    assert isinstance(events[-1], Finished)
    assert (text_of(events), events[-1].reason) == ("one ", "stop")
