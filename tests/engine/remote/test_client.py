"""A server's client and its answers: events as the local engine's, stopping, tuning, going on."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import EngineError
from engine.protocol import (
    UNKNOWN_TOKEN,
    CardChanged,
    ChatMessage,
    ChatPrompt,
    EngineStats,
    Failed,
    Finished,
    Generate,
    Load,
    Look,
    Notice,
    PromptProgress,
    Sampling,
    Stop,
    TextPrompt,
    Token,
    TokenPrompt,
    Tune,
)
from engine.remote import ServerConfig
from engine.remote.client import CANNOT_TUNE, RemoteClient
from tests.engine.remote.asking import (
    DONE,
    PATIENCE_S,
    chunk,
    collect,
    connected,
    drained,
    notices,
    question,
    text_of,
    wait_for,
)

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer


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


@pytest.mark.parametrize("prompt", [ChatPrompt(messages=[ChatMessage("user", "x")]), TextPrompt(text="x")])
async def test_an_answer_that_is_not_streamed_comes_at_once(
    scripted_server: ScriptedServer, prompt: ChatPrompt | TextPrompt
) -> None:
    words: dict[str, Any] = {"message": {"role": "assistant", "content": "Paris é."}}
    if isinstance(prompt, TextPrompt):
        words = {"text": "Paris é."}
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", **words}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
    scripted_server.plays = [scripted_server.page(200, body, kind="application/json; charset=utf-8")]
    async with connected(scripted_server) as client:
        events = await collect(client, Generate(prompt=prompt))
    assert len(scripted_server.asked) == 1
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (text_of(events), finished.reason, finished.note) == ("Paris é.", "stop", "")
    assert (finished.prompt_tokens, finished.generated_tokens) == (9, 3)
    assert finished.tokens_per_second() is None


async def test_an_error_in_the_place_of_an_answer_is_told(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.page(200, {"error": {"message": "no memory left"}})]
    async with connected(scripted_server) as client:
        [failed] = await collect(client, question())
    assert isinstance(failed, Failed)
    assert "no memory left" in failed.message


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


async def test_a_server_cannot_be_looked_into_afterwards(scripted_server: ScriptedServer) -> None:
    async with connected(scripted_server) as client:
        with pytest.raises(EngineError, match="only while they write"):
            await client.look(Look())


async def test_tokens_that_do_not_make_up_the_text_give_it_whole(scripted_server: ScriptedServer) -> None:
    halves = [{"token": "\\xc3", "logprob": -1.0}, {"token": "\\xa9", "logprob": -0.1}]
    event = {"choices": [{"delta": {"content": "é"}, "logprobs": {"content": halves}}]}
    scripted_server.plays = [scripted_server.stream(event, chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question(n_top=1))
    assert [event.text for event in events if isinstance(event, Token)] == ["", "é"]


async def test_thinking_between_words_stands_apart(scripted_server: ScriptedServer) -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "Hm."}}]}
    scripted_server.plays = [scripted_server.stream("Yes.", thought, "No.", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "Yes.\n\n<think>\nHm.\n</think>\n\nNo."


async def test_thinking_gets_its_marks_back(scripted_server: ScriptedServer) -> None:
    thoughts = [{"choices": [{"delta": {"reasoning_content": text}}]} for text in ("Hm", "m.")]
    scripted_server.plays = [scripted_server.stream(*thoughts, "Yes.", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question())
    assert text_of(events) == "<think>\nHmm.\n</think>\n\nYes."


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("\n", "<think>\nHm.\n</think>\n\nYes."),
        (".\n", "<think>\nHm.\n</think>\n\nYes."),
        ("m", "<think>\nH\n</think>"),
        ("es", "<think>\nHm.\n</think>\n\nY"),
    ],
)
async def test_only_what_the_model_wrote_stops_its_answer(
    scripted_server: ScriptedServer, stop: str, text: str
) -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "Hm."}}]}
    scripted_server.plays = [scripted_server.stream(thought, "Yes.", chunk(finish="stop"))]
    async with connected(scripted_server) as client:
        events = await collect(client, question(stop=[stop]))
    assert text_of(events) == text


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
