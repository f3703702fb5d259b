"""The client against llama.cpp's own server with a real model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.errors import ServerError
from engine.protocol import (
    AnyEvent,
    ChatMessage,
    ChatPrompt,
    EngineStats,
    Failed,
    Finished,
    Generate,
    Load,
    PromptProgress,
    Sampling,
    Stop,
    TextPrompt,
    Token,
)
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient

pytestmark = pytest.mark.slow

GREEDY = Sampling(temperature=0, max_new_tokens=12)
PATIENCE_S = 120.0


@pytest.fixture
def config(llama_server: str, llama_key: str, tmp_path: Path) -> ServerConfig:
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_text(f"{llama_key}\n")
    return ServerConfig(base_url=llama_server, api_key_file=str(key_file))


@pytest.fixture
async def client(config: ServerConfig) -> AsyncIterator[RemoteClient]:
    async with await RemoteClient.start(config) as client:
        await client.load(Load(path=""))
        yield client


def chat(*texts: str, **fields: object) -> ChatPrompt:
    roles = ("user", "assistant")
    return ChatPrompt(messages=[ChatMessage(roles[i % 2], text) for i, text in enumerate(texts)], **fields)


async def collect(client: RemoteClient, command: Generate) -> list[AnyEvent]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in client.ask(command)]


def text_of(events: list[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def end_of(events: list[AnyEvent]) -> Finished:
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1]


async def test_a_chat_with_its_figures(client: RemoteClient) -> None:
    events = await collect(client, Generate(prompt=chat("Write the word Danube three times."), sampling=GREEDY))
    finished = end_of(events)
    assert text_of(events).strip()
    assert finished.reason in ("length", "stop")
    assert 0 < finished.generated_tokens <= 12
    assert finished.prompt_tokens > 10
    assert finished.prompt_ms > 0
    assert finished.generate_ms > 0
    progress = [event for event in events if isinstance(event, PromptProgress)]
    assert progress[-1].done == progress[-1].total == finished.prompt_tokens
    stats = [client.events.get_nowait() for _ in range(client.events.qsize())]
    used = [event.context_used for event in stats if isinstance(event, EngineStats)][-1]
    assert used >= finished.prompt_tokens + finished.generated_tokens - 1


async def test_the_card_and_the_abilities_are_the_servers(client: RemoteClient, starter_model: Path) -> None:
    card = await client.load(Load(path=starter_model.stem))
    assert (card.quantization, card.parameters, card.vocab) == ("Q4_1", 134515008, 49152)
    assert (card.context, card.max_context) == (1024, 8192)
    abilities = card.abilities
    assert (abilities.top_k, abilities.min_p, abilities.repeat_penalty, abilities.seed) == (True, True, True, True)
    assert (abilities.logprobs, abilities.tokenize, abilities.go_on) == (True, True, True)
    assert (abilities.memory, abilities.tune) == (False, False)


async def test_log_probabilities_and_candidates(client: RemoteClient) -> None:
    command = Generate(prompt=TextPrompt(text="The capital of France is"), sampling=GREEDY, n_top=3, n_candidates=2)
    tokens = [event for event in await collect(client, command) if isinstance(event, Token)]
    first = tokens[0]
    assert first.text == " Paris"
    assert [len(token.top) for token in tokens] == [3] * len(tokens)
    assert first.top[0].id == first.id
    assert first.top[0].logprob == first.logprob <= 0
    assert first.candidates[0].text == " Paris"
    assert first.candidates[0].model_p == pytest.approx(math.exp(first.logprob))
    assert await client.detokenize([first.id]) == " Paris"
    assert first.id in (await client.tokenize("It is Paris", add_bos=False)).ids


async def test_the_same_seed_gives_the_same_answer(client: RemoteClient) -> None:
    hot = Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, max_new_tokens=12)
    answers = [
        text_of(await collect(client, Generate(prompt=chat("Tell a story."), sampling=hot, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


async def test_a_stop_ends_the_answer_and_the_next_one_comes(client: RemoteClient) -> None:
    endless = Generate(prompt=chat("Count to a thousand."), sampling=Sampling(temperature=0), ignore_eos=True)
    events = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in client.ask(endless):
            events.append(event)
            if len(text_of(events)) > 20:
                await client.send(Stop(request_id=event.request_id))
    assert end_of(events).reason == "stopped"
    after = await collect(client, Generate(prompt=chat("Hello"), sampling=GREEDY))
    assert end_of(after).reason in ("length", "stop")


async def test_stop_texts(client: RemoteClient) -> None:
    command = Generate(prompt=TextPrompt(text="1, 2, 3, 4, 5,"), sampling=GREEDY, stop=[" 7"])
    events = await collect(client, command)
    assert (text_of(events), end_of(events).reason) == (" 6,", "stop")


async def test_a_session_is_remembered_and_gone_on_with(client: RemoteClient) -> None:
    first = await collect(client, Generate(prompt=chat("Name a river."), sampling=GREEDY))
    said = text_of(first)
    second = await collect(client, Generate(prompt=chat("Name a river.", said, "Another one."), sampling=GREEDY))
    assert end_of(second).reused_tokens > 10
    whole = await collect(client, Generate(prompt=chat("Name a river."), sampling=GREEDY))
    half = text_of(whole)[: len(text_of(whole)) // 2].rstrip()
    rest = await collect(client, Generate(prompt=chat("Name a river.", answer_text=half), sampling=GREEDY))
    assert text_of(rest)
    assert not text_of(rest).startswith(half)


async def test_ids_of_an_answer_are_gone_on_from_as_well(client: RemoteClient) -> None:
    ids = (await client.tokenize("The Danube is", add_bos=False)).ids
    by_ids = await collect(client, Generate(prompt=chat("Name a river.", answer_ids=ids), sampling=GREEDY))
    by_text = await collect(
        client, Generate(prompt=chat("Name a river.", answer_text="The Danube is"), sampling=GREEDY)
    )
    assert text_of(by_ids) == text_of(by_text) != ""


async def test_a_prompt_that_is_too_long_is_refused(client: RemoteClient) -> None:
    events = await collect(client, Generate(prompt=chat("river " * 3000), sampling=GREEDY))
    assert isinstance(events[-1], Failed)
    assert "context" in events[-1].message


async def test_a_wrong_key_is_refused_and_not_repeated(llama_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "not-this-one-771")
    config = ServerConfig(base_url=llama_server, api_key_env="WRONG_KEY")
    async with await RemoteClient.start(config) as client:
        with pytest.raises(ServerError, match=r"\(401\).*environment variable WRONG_KEY") as caught:
            await client.load(Load(path=""))
    assert "not-this-one-771" not in str(caught.value)


async def test_an_unknown_model_is_named_with_those_there_are(config: ServerConfig) -> None:
    async with await RemoteClient.start(config) as client:
        with pytest.raises(ServerError, match="no model llama-405b"):
            await client.load(Load(path="llama-405b"))
