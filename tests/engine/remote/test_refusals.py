"""Servers that refuse: what is tried again, what is told at once, what is learnt from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from engine.protocol import (
    CardChanged,
    ChatMessage,
    ChatPrompt,
    Failed,
    Finished,
    Generate,
    Notice,
    Sampling,
    Stop,
)
from tests.engine.remote.asking import PATIENCE_S, chunk, collect, connected, drained, notices, question, text_of

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(scripted_server: ScriptedServer, status: int) -> None:
    busy = scripted_server.page(status, {"error": {"message": "busy"}})
    scripted_server.plays = [busy, busy, scripted_server.stream("a", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "a"
    assert len(scripted_server.asked) == 3
    assert ["Trying again" in text for text in notices(events)] == [True, True]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "sends us on to https://elsewhere/v1"),
        (307, "sends us on to https://elsewhere/v1"),
        (400, "refuses the request (400): no, because"),
        (401, "refuses us (401): no, because"),
        (403, "It may want a key"),
        (404, "does not know this model or address (404)"),
    ],
)
async def test_what_will_not_pass_is_told_at_once(scripted_server: ScriptedServer, status: int, words: str) -> None:
    no = {"error": {"message": "no, because"}}
    scripted_server.plays = [scripted_server.page(status, no, Location="https://elsewhere/v1?secret=1")]
    async with connected(scripted_server) as client:
        [failed] = await collect(client, question())
    assert isinstance(failed, Failed)
    assert words in f"{failed.message} {failed.hint}"
    assert len(scripted_server.asked) == 1


async def test_tries_come_to_an_end(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.page(500, b"oh no", kind="text/plain")]
    async with connected(scripted_server, retries=2) as client:
        events = await collect(client, question())
    assert isinstance(events[-1], Failed)
    assert "failed (500): oh no" in events[-1].message
    assert len(scripted_server.asked) == 3


async def test_the_server_says_when_to_try_again(scripted_server: ScriptedServer) -> None:
    busy = scripted_server.page(429, {}, Retry_After="0.3")
    scripted_server.plays = [busy, scripted_server.stream("a", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        await collect(client, question())
    first, second = scripted_server.asked
    assert second.at_s - first.at_s >= 0.3


async def test_a_pause_that_is_too_long_is_not_waited_for(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.page(429, {}, Retry_After="86400")]
    async with connected(scripted_server) as client:
        began_s = time.monotonic()
        [failed] = await collect(client, question())
    assert isinstance(failed, Failed)
    assert time.monotonic() - began_s < PATIENCE_S


async def test_a_stop_ends_the_waiting_for_another_try(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.page(429, {}, Retry_After="50")]
    async with connected(scripted_server) as client:
        events = []
        async for event in client.ask(question()):
            events.append(event)
            if isinstance(event, Notice):
                await client.send(Stop(request_id=event.request_id))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stopped"


@pytest.mark.parametrize(
    ("kind", "data"), [("text/html", b"<html>Welcome</html>"), ("application/json", b"{}"), ("", b"data: {}\n\n")]
)
async def test_another_kind_of_answer_is_none(scripted_server: ScriptedServer, kind: str, data: bytes) -> None:
    scripted_server.plays = [scripted_server.page(200, data, kind=kind)]
    async with connected(scripted_server) as client:
        [failed] = await collect(client, question())
    assert isinstance(failed, Failed)
    assert "where a stream of events was to come" in failed.message
    assert "base_url" in failed.hint


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "Unrecognized request arguments supplied: min_p, top_k", "param": None}},
        {"detail": [{"loc": ["body", "top_k"], "msg": "no"}, {"loc": ["body", "min_p"], "msg": "no"}]},
        {"object": "error", "message": "unknown fields `top_k` and `min_p`"},
        {"error": "top_k, min_p: not supported"},
    ],
)
async def test_a_server_is_not_asked_again_for_what_it_refuses(
    scripted_server: ScriptedServer, refusal: dict[str, Any]
) -> None:
    good = scripted_server.stream("a", chunk(finish="stop"))
    scripted_server.plays = [scripted_server.page(400, refusal), good]
    async with connected(scripted_server) as client:
        first = await collect(client, question())
        second = await collect(client, question())
        card = [event for event in drained(client) if isinstance(event, CardChanged)][-1].card
    assert text_of(first) == text_of(second) == "a"
    assert [{"top_k", "min_p"} & request.body.keys() for request in scripted_server.asked] == [
        {"top_k", "min_p"},
        set(),
        set(),
    ]
    assert (card.abilities.top_k, card.abilities.min_p, card.abilities.seed) == (False, False, None)
    assert ["min_p, top_k" in text for text in notices(first)] == [True]


async def test_the_newer_name_of_the_limit_is_learnt(scripted_server: ScriptedServer) -> None:
    refusal = {"error": {"message": "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    scripted_server.plays = [scripted_server.page(400, refusal), scripted_server.stream("a", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question(sampling=Sampling(max_new_tokens=9)))
    assert text_of(events) == "a"
    assert scripted_server.asked[1].body["max_completion_tokens"] == 9
    assert "max_tokens" not in scripted_server.asked[1].body


CONTEXT_FULL = [
    {"message": "too long", "code": "context_length_exceeded"},
    {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
    {"message": "This model's maximum context length is 4096 tokens."},
]


@pytest.mark.parametrize("said", CONTEXT_FULL)
async def test_a_conversation_that_is_too_long_goes_without_its_oldest_turns(
    scripted_server: ScriptedServer, said: dict[str, str]
) -> None:
    full = scripted_server.page(400, {"error": said})
    scripted_server.plays = [full, full, scripted_server.stream("a", chunk(finish="stop"))]
    turns = [ChatMessage(role, f"{role} {n}") for n in range(6) for role in ("user", "assistant")][:-1]
    prompt = ChatPrompt(messages=[ChatMessage("system", "be kind"), *turns])
    async with connected(scripted_server) as client:
        *_, finished = await collect(client, Generate(prompt=prompt))
    assert isinstance(finished, Finished)
    assert finished.dropped_turns == 3
    asked = [asked.body["messages"] for asked in scripted_server.asked]
    assert [[message["content"] for message in messages[:2]] for messages in asked] == [
        ["be kind", "user 0"],
        ["be kind", "user 2"],
        ["be kind", "user 3"],
    ]


async def test_the_last_turn_stays_and_whole_conversations_are_not_cut(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.page(400, {"error": CONTEXT_FULL[0]})]
    turns = [ChatMessage("user", "one"), ChatMessage("assistant", "two"), ChatMessage("user", "three")]
    async with connected(scripted_server) as client:
        *_, failed = await collect(client, Generate(prompt=ChatPrompt(messages=turns)))
        assert isinstance(failed, Failed)
        assert [len(asked.body["messages"]) for asked in scripted_server.asked] == [3, 1]
        *_, failed = await collect(client, Generate(prompt=ChatPrompt(messages=turns, whole=True)))
        assert isinstance(failed, Failed)
        assert len(scripted_server.asked) == 3
