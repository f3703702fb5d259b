"""A server's client against servers that answer well, badly, late, without end, or not at all."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import EngineError, EngineGoneError, ServerError
from engine.protocol import (
    UNKNOWN_TOKEN,
    AnyEvent,
    CardChanged,
    ChatMessage,
    ChatPrompt,
    EngineStats,
    Failed,
    Finished,
    Generate,
    HeartbeatMissed,
    Load,
    Notice,
    PromptProgress,
    Sampling,
    Stop,
    TextPrompt,
    Token,
    TokenPrompt,
    Tune,
)
from engine.remote import ServerConfig, answer, pulse, sse
from engine.remote.client import CANNOT_TUNE, RemoteClient
from engine.remote.retries import Backoff

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer

QUICK = Backoff(first_s=0.001, most_s=0.002)
PATIENCE_S = 20.0


@asynccontextmanager
async def connected(server: ScriptedServer, **settings: Any) -> AsyncIterator[RemoteClient]:
    config = ServerConfig(base_url=server.url, **settings)
    async with await RemoteClient.start(config, backoff=QUICK) as client:
        await client.load(Load(path=""))
        yield client


def question(text: str = "hello", **fields: Any) -> Generate:
    return Generate(prompt=ChatPrompt(messages=[ChatMessage("user", text)]), **fields)


async def collect(client: RemoteClient, command: Generate) -> list[AnyEvent]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in client.ask(command)]


def text_of(events: list[AnyEvent]) -> str:
    return "".join(
        event.text if isinstance(event, Token) else event.text_tail
        for event in events
        if isinstance(event, Token | Finished)
    )


def notices(events: list[AnyEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def chunk(content: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return {"choices": [choice], **more}


DONE = b"data: [DONE]\n\n"


async def test_an_answer_comes_as_the_local_engines_does(scripted_server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    timings = {"prompt_ms": 12.5, "predicted_ms": 33.0}
    last = {"choices": [], "usage": usage, "timings": timings}
    scripted_server.plays = [scripted_server.stream("Par", "is", chunk(finish="length"), last, DONE)]
    async with connected(scripted_server) as client:
        events = await collect(client, question(seed=7))
    assert text_of(events) == "Paris"
    assert [(e.id, math.isnan(e.logprob)) for e in events if isinstance(e, Token)] == [(UNKNOWN_TOKEN, True)] * 2
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.seed) == ("length", 7)
    assert (finished.prompt_tokens, finished.reused_tokens, finished.generated_tokens) == (9, 4, 2)
    assert (finished.prompt_ms, finished.generate_ms) == (12.5, 33.0)
    assert finished.first_token_ms > 0


async def test_the_card_has_what_the_server_tells(scripted_server: ScriptedServer) -> None:
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        card = await client.load(Load(path=""))
    assert (card.name, card.format, card.context) == ("tiny", "server", 2048)
    assert (card.abilities.top_k, card.abilities.tokenize, card.abilities.memory) == (None, False, False)


async def test_all_settings_reach_the_server(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("a", chunk(finish="stop"))]
    sampling = Sampling(temperature=0.5, top_k=0, top_p=0.75, min_p=0.25, repeat_penalty=1.5, max_new_tokens=3)
    async with connected(scripted_server) as client:
        await collect(client, question("hi", sampling=sampling, seed=5, stop=["END"], ignore_eos=True))
        [heard] = scripted_server.asked
    assert heard.path == "/v1/chat/completions"
    assert heard.body["messages"] == [{"role": "user", "content": "hi"}]
    wanted = {"temperature": 0.5, "top_k": -1, "top_p": 0.75, "min_p": 0.25, "repeat_penalty": 1.5}
    wanted |= {"repetition_penalty": 1.5, "max_tokens": 3, "seed": 5, "stop": ["END"], "ignore_eos": True}
    assert {name: heard.body[name] for name in wanted} == wanted


@pytest.mark.parametrize(("prompt", "sent"), [(TextPrompt(text="Once"), "Once"), (TokenPrompt(ids=[1, 2]), [1, 2])])
async def test_texts_and_tokens_are_continued_as_they_are(
    scripted_server: ScriptedServer, prompt: TextPrompt | TokenPrompt, sent: object
) -> None:
    logprobs = {"tokens": ["u", "p"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{"u": -0.5, "v": -2.0}, None]}
    event = {"choices": [{"index": 0, "text": "up", "logprobs": logprobs, "finish_reason": "stop"}]}
    scripted_server.plays = [scripted_server.stream(event, DONE)]
    async with connected(scripted_server) as client:
        events = await collect(client, Generate(prompt=prompt, n_top=2))
    assert scripted_server.asked[0].path == "/v1/completions"
    assert scripted_server.asked[0].body["prompt"] == sent
    tokens = [event for event in events if isinstance(event, Token)]
    assert [(token.text, token.logprob) for token in tokens] == [("u", -0.5), ("p", -1.0)]
    assert [top.logprob for top in tokens[0].top] == [-0.5, -2.0]


async def test_log_probabilities_feed_the_candidates(scripted_server: ScriptedServer) -> None:
    top = [{"token": "no", "logprob": -2.0, "id": 4}, {"token": "yes", "logprob": -0.5, "id": 3}]
    entry = {"token": "yes", "logprob": -0.5, "id": 3, "top_logprobs": top}
    event = {"choices": [{"delta": {"content": "yes"}, "logprobs": {"content": [entry]}}]}
    scripted_server.plays = [scripted_server.stream(event, chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question(n_top=1, n_candidates=2))
        changed = [event for event in drained(client) if isinstance(event, CardChanged)]
    token = next(event for event in events if isinstance(event, Token))
    assert (token.id, token.logprob) == (3, -0.5)
    assert [(top.id, top.logprob) for top in token.top] == [(3, -0.5)]
    assert [(one.id, one.text) for one in token.candidates] == [(3, "yes"), (4, "no")]
    assert token.candidates[0].model_p == pytest.approx(math.exp(-0.5))
    assert changed[-1].card.abilities.logprobs is True
    assert scripted_server.asked[0].body["top_logprobs"] == 2


async def test_a_server_without_log_probabilities_shows_it(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("yes", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        await collect(client, question(n_candidates=2))
        [changed] = [event for event in drained(client) if isinstance(event, CardChanged)]
    assert changed.card.abilities.logprobs is False


async def test_tokens_that_do_not_make_up_the_text_give_it_whole(scripted_server: ScriptedServer) -> None:
    halves = [{"token": "\\xc3", "logprob": -1.0}, {"token": "\\xa9", "logprob": -0.1}]
    event = {"choices": [{"delta": {"content": "é"}, "logprobs": {"content": halves}}]}
    scripted_server.plays = [scripted_server.stream(event, chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question(n_top=1))
    assert [event.text for event in events if isinstance(event, Token)] == ["", "é"]


async def test_thinking_gets_its_marks_back(scripted_server: ScriptedServer) -> None:
    thoughts = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in ("Hm", "m.")]
    scripted_server.plays = [scripted_server.stream(*thoughts, "Yes.", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "<think>\nHmm.\n</think>\n\nYes."


async def test_progress_with_the_prompt_is_passed_on(scripted_server: ScriptedServer) -> None:
    progress = {"choices": [], "prompt_progress": {"total": 10, "cache": 2, "processed": 6, "time_ms": 3}}
    scripted_server.plays = [scripted_server.stream(progress, "a", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
        stats = [event for event in drained(client) if isinstance(event, EngineStats)]
    read = [event for event in events if isinstance(event, PromptProgress)]
    assert [(event.done, event.total, event.reused) for event in read] == [(6, 10, 2), (0, 0, 0)]
    assert [event.state for event in stats][-3:] == ["reading_prompt", "writing", "ready"]


async def test_stop_closes_the_stream_and_keeps_what_came(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("one ", "two ", then="endless")]
    async with connected(scripted_server) as client:
        events = []
        async for event in client.ask(question()):
            events.append(event)
            if text_of(events).count("two ") == 3:
                await client.send(Stop(request_id=event.request_id))
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "stopped"
        assert text_of(events).startswith("one two two two ")
        assert await asyncio.to_thread(scripted_server.left.acquire, timeout=PATIENCE_S)


async def test_leaving_early_closes_the_stream(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("one ", then="endless")]
    async with connected(scripted_server) as client:
        answers = client.ask(question())
        assert isinstance(await anext(answers), PromptProgress)
        assert isinstance(await anext(answers), Token)
        await answers.aclose()
        assert await asyncio.to_thread(scripted_server.left.acquire, timeout=PATIENCE_S)


async def test_a_stop_before_the_first_step_is_answered(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream(then="stall")]
    async with connected(scripted_server) as client:
        await client.send(question().__class__(request_id="a", prompt=TextPrompt(text="a")))
        await client.send(Stop(request_id="a"))
        event = await wait_for(client, Finished)
    assert (event.request_id, event.reason, event.generated_tokens) == ("a", "stopped", 0)


async def test_answers_wait_for_their_turn_and_take_new_settings_meanwhile(scripted_server: ScriptedServer) -> None:
    stalled = scripted_server.stream("first", then="stall")
    scripted_server.plays = [stalled, scripted_server.stream("second", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        for name in ("a", "b"):
            await client.send(Generate(request_id=name, prompt=TextPrompt(text=name)))
        assert (await wait_for(client, Token)).request_id == "a"
        await client.send(Tune(request_id="a", sampling=Sampling(temperature=0.1)))
        await client.send(Tune(request_id="a", sampling=Sampling(temperature=0.2)))
        await client.send(Tune(request_id="b", sampling=Sampling(temperature=0.3)))
        notice = await wait_for(client, Notice)
        await client.send(Stop(request_id="a"))
        assert (await wait_for(client, Finished)).request_id == "a"
        assert (await wait_for(client, Finished)).request_id == "b"
    assert (notice.request_id, notice.text) == ("a", CANNOT_TUNE)
    assert [event for event in drained(client) if isinstance(event, Notice)] == []
    assert [request.body["temperature"] for request in scripted_server.asked] == [0.8, 0.3]


async def test_an_interrupted_answer_is_gone_on_with_from_its_text(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("en", chunk(finish="stop"))]
    prompt = ChatPrompt(messages=[ChatMessage("user", "Colours?")], answer_text="Red, gre")
    async with connected(scripted_server) as client:
        events = await collect(client, Generate(prompt=prompt))
    assert scripted_server.asked[0].body["messages"][-1] == {"role": "assistant", "content": "Red, gre"}
    assert text_of(events) == "en"
    assert any("does not say whether it can go on" in text for text in notices(events))


async def test_ids_of_no_number_cannot_be_gone_on_from(scripted_server: ScriptedServer) -> None:
    prompt = ChatPrompt(messages=[ChatMessage("user", "Colours?")], answer_ids=[UNKNOWN_TOKEN])
    async with connected(scripted_server) as client:
        [failed] = await collect(client, Generate(prompt=prompt))
    assert isinstance(failed, Failed)
    assert "text alone" in failed.message


# What a connection does


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
    monkeypatch.setattr(answer, "MAX_ANSWER_BYTES", 1000)
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


# What a server refuses


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


# Models


async def test_the_model_is_found_by_its_name_or_a_part_of_it(scripted_server: ScriptedServer) -> None:
    models = [{"id": "/models/Big 70B.gguf"}, {"id": "org/small", "aliases": ["s"]}]
    scripted_server.pages["/v1/models"] = (200, {"data": models})
    scripted_server.plays = [scripted_server.stream("a", chunk(finish="stop"))]
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        for wanted in ("org/small", "small", "s", "Big 70B", "Big 70B.gguf"):
            await client.load(Load(path=wanted))
            await collect(client, question())
        for wanted, words in (("huge", "has no model huge. It has: /models/Big"), ("", "has 2 models")):
            with pytest.raises(ServerError, match=words):
                await client.load(Load(path=wanted))
    ids = [request.body["model"] for request in scripted_server.asked]
    assert ids == ["org/small"] * 3 + ["/models/Big 70B.gguf"] * 2


async def test_a_model_can_be_named_where_there_is_no_list(scripted_server: ScriptedServer) -> None:
    del scripted_server.pages["/v1/models"]
    async with connected(scripted_server, model="gpt-x") as client:
        assert client.alive
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        with pytest.raises(ServerError, match="no list of models"):
            await client.load(Load(path=""))


async def test_abilities_are_read_from_the_servers_own_description(scripted_server: ScriptedServer) -> None:
    reference = {"$ref": "#/components/schemas/Request"}
    properties = {"top_k": {}, "continue_final_message": {}, "add_generation_prompt": {}}
    content = {"application/json": {"schema": reference}}
    scripted_server.pages["/openapi.json"] = (
        200,
        {
            "paths": {"/v1/chat/completions": {"post": {"requestBody": {"content": content}}}},
            "components": {"schemas": {"Request": {"properties": properties}}},
        },
    )
    scripted_server.plays = [scripted_server.stream("a", chunk(finish="stop"))]
    prompt = ChatPrompt(messages=[ChatMessage("user", "Colours?")], answer_text="Red")
    async with connected(scripted_server) as client:
        events = await collect(client, Generate(prompt=prompt, seed=1))
    body = scripted_server.asked[0].body
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert {"top_k"} == {"top_k", "min_p", "seed", "repeat_penalty"} & body.keys()
    assert notices(events) == []


async def test_tokens_are_asked_of_the_server(scripted_server: ScriptedServer) -> None:
    scripted_server.pages["/tokenize"] = (200, {"tokens": [5, 6], "token_strs": ["a", "b"]})
    scripted_server.pages["/detokenize"] = (200, {"prompt": "ab"})
    async with connected(scripted_server) as client:
        tokenized = await client.tokenize("ab")
        assert (tokenized.ids, tokenized.pieces) == ([5, 6], ["a", "b"])
        assert await client.detokenize([5, 6]) == "ab"
        del scripted_server.pages["/tokenize"]
        with pytest.raises(EngineError, match="404"):
            await client.tokenize("ab")


async def test_without_a_server_loading_fails_and_can_be_tried_again(scripted_server: ScriptedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    async with await RemoteClient.start(ServerConfig(base_url=f"http://127.0.0.1:{port}/v1")) as client:
        with pytest.raises(ServerError, match="cannot be reached"):
            await client.load(Load(path=""))
        assert client.alive


async def test_without_a_model_there_is_no_answer(scripted_server: ScriptedServer) -> None:
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        [failed] = await collect(client, question())
        assert isinstance(failed, Failed)
    with pytest.raises(EngineGoneError):
        await client.send(question())


async def test_unloading_and_closing_end_what_is_under_way(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("a", then="stall")]
    async with connected(scripted_server) as client:
        await client.send(Generate(request_id="a", prompt=TextPrompt(text="a")))
        await wait_for(client, Token)
        await client.unload()
        assert (await wait_for(client, Finished)).reason == "stopped"
        await client.load(Load(path=""))
        await client.send(Generate(request_id="b", prompt=TextPrompt(text="b")))
        await wait_for(client, Token)
    assert (await wait_for(client, Finished)).request_id == "b"
    assert not client.alive


async def wait_for(client: RemoteClient, kind: type[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await client.events.get()
            if isinstance(event, kind):
                return event


def drained(client: RemoteClient) -> list[AnyEvent]:
    events = []
    while not client.events.empty():
        events.append(client.events.get_nowait())
    return events
