"""The official `openai` client, and our own, talk to `llm-tui serve` with a real model."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from engine.protocol import ChatMessage, ChatPrompt, Finished, Generate, Load, Sampling, Token
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[3]
START_S = 300.0
PATIENCE_S = 60.0
LONG = {"max_tokens": 7000, "extra_body": {"ignore_eos": True}}
"""An answer that takes minutes: whoever comes after it has waited for its end, or it was stopped."""


@pytest.fixture(scope="module")
def url(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server with the starter model."""
    home = tmp_path_factory.mktemp("home")
    warm = CHECKOUT / ".cache" / "engine"
    warm.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(warm, target_is_directory=True)
    command = [sys.executable, "-P", "-m", "tui", "serve", "-m", starter_model, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"LLM_TUI_HOME": str(home)}
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(base_url=url, api_key="none", timeout=PATIENCE_S, max_retries=0, http_client=http) as client,
    ):
        yield client


def ask(client: openai.OpenAI, text: str, **fields: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": 16, "model": "any", **fields}
    return client.chat.completions.create(messages=[{"role": "user", "content": text}], **settings)


def text_of(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def health(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(url.removesuffix("/v1") + "/health", trust_env=False).json()
    return answer


def test_the_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert model.id == "SmolLM2-135M-Instruct"
    assert client.models.retrieve(model.id).owned_by == "llm-tui"


def test_a_stream_gives_what_a_whole_answer_gives(client: openai.OpenAI) -> None:
    whole = ask(client, "Name three rivers.")
    stream = list(ask(client, "Name three rivers.", stream=True, stream_options={"include_usage": True}))
    assert text_of(stream) == whole.choices[0].message.content != ""
    assert whole.choices[0].finish_reason == stream[-2].choices[0].finish_reason == "length"
    assert stream[-1].usage.completion_tokens == whole.usage.completion_tokens == 16
    assert len(stream) > 10


def test_stop_texts_are_not_part_of_the_answer(client: openai.OpenAI) -> None:
    completion = client.completions.create(
        model="any", prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=20, stop=[" 8", "never"]
    )
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == (" 6, 7,", "stop")
    stream = client.completions.create(
        model="any", prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=20, stop=" 8", stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == " 6, 7,"


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    answers = [
        ask(client, "Tell a story.", temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2, -5)
    ]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


def test_log_probabilities_of_a_chat(client: openai.OpenAI) -> None:
    whole = ask(client, "Tell a long story about Zoé and her café.", logprobs=True, top_logprobs=4)
    entries = whole.choices[0].logprobs.content
    assert len(entries) == 16
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == whole.choices[0].message.content
    for entry in entries:
        assert [top.logprob for top in entry.top_logprobs] == sorted(top.logprob for top in entry.top_logprobs)[::-1]
        assert len(entry.top_logprobs) == 4
        assert entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1.0001
    stream = ask(client, "Tell a long story about Zoé and her café.", logprobs=True, top_logprobs=4, stream=True)
    choices = [chunk.choices[0] for chunk in stream if chunk.choices[0].logprobs]
    streamed = [entry for choice in choices for entry in choice.logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


def test_log_probabilities_of_a_completion(client: openai.OpenAI) -> None:
    completion = client.completions.create(
        model="any", prompt="The capital of France is", temperature=0, max_tokens=3, logprobs=2
    )
    choice = completion.choices[0]
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text
    assert choice.logprobs.text_offset == [0, 6, 7]
    assert [len(top) for top in choice.logprobs.top_logprobs or []] == [2, 2, 2]


def test_a_stream_that_is_left_stops_the_engine(client: openai.OpenAI, url: str) -> None:
    began_s = time.monotonic()
    stream = ask(client, "Count.", stream=True, **LONG)
    for _ in range(4):
        next(stream)
    stream.close()
    assert ask(client, "Hello").choices[0].message.content
    assert time.monotonic() - began_s < PATIENCE_S
    assert health(url)["waiting"] == 0


def test_an_answer_that_nobody_waits_for_any_more_stops_the_engine(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        ask(client, "Count.", timeout=1.0, **LONG)
    assert ask(client, "Hello").choices[0].message.content


def test_who_gives_up_waiting_leaves_the_line(client: openai.OpenAI, url: str) -> None:
    stream = ask(client, "Count.", stream=True, **LONG)
    next(stream)
    with pytest.raises(openai.APITimeoutError):
        ask(client, "Hello", timeout=0.5)
    stream.close()
    assert ask(client, "Hello").choices[0].message.content
    assert health(url)["waiting"] == 0


async def test_ten_clients_at_once_get_their_own_answers(client: openai.OpenAI, url: str) -> None:
    questions = [f"Say something about the number {number}." for number in range(10)]
    alone = [ask(client, question).choices[0].message.content for question in questions]
    assert len(set(alone)) > 5

    async def together(question: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as http:
            other = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=120, http_client=http)
            stream = await other.chat.completions.create(
                model="any",
                messages=[{"role": "user", "content": question}],
                temperature=0,
                max_tokens=16,
                stream=True,
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert await asyncio.gather(*map(together, questions)) == alone


def test_what_a_tool_said_is_read(client: openai.OpenAI) -> None:
    call: Any = {"id": "c1", "type": "function", "function": {"name": "capital_of", "arguments": '{"country": "Peru"}'}}
    messages: Any = [
        {"role": "user", "content": "What is the capital of Peru?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "The capital is Lima."},
    ]
    n_read = [
        client.chat.completions.create(model="any", messages=messages[:n], max_tokens=1).usage.prompt_tokens
        for n in (1, 3)
    ]
    assert n_read[1] > n_read[0] + 20


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="n can only be 1") as refused:
        ask(client, "Hello", n=2)
    assert refused.value.param == "n"
    with pytest.raises(openai.BadRequestError) as too_long:
        ask(client, "river " * 20_000)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


async def test_our_own_client_finds_everything_there(url: str) -> None:
    prompt = ChatPrompt(messages=[ChatMessage("user", "Name three rivers.")])
    command = Generate(prompt=prompt, sampling=Sampling(temperature=0, max_new_tokens=12), n_top=2, n_candidates=2)
    async with await RemoteClient.start(ServerConfig(base_url=url)) as client:
        card = await client.load(Load(path=""))
        assert (card.quantization, card.vocab, card.context) == ("Q4_1", 49152, 8192)
        assert card.sampling == Sampling(temperature=0.02, top_p=0.9, repeat_penalty=1.05)
        abilities = card.abilities
        assert {abilities.top_k, abilities.min_p, abilities.repeat_penalty, abilities.seed} == {True}
        assert {abilities.logprobs, abilities.tokenize, abilities.go_on} == {True}
        events = [event async for event in client.ask(command)]
        tokens = [event for event in events if isinstance(event, Token)]
        text = "".join(token.text for token in tokens)
        assert isinstance(events[-1], Finished)
        assert events[-1].generated_tokens == len(tokens) == 12
        assert all(len(token.candidates) == 2 for token in tokens)
        half = "".join(token.text for token in tokens[:6])
        rest = Generate(
            prompt=ChatPrompt(messages=prompt.messages, answer_text=half),
            sampling=Sampling(temperature=0, max_new_tokens=6),
        )
        assert half + "".join([e.text async for e in client.ask(rest) if isinstance(e, Token)]) == text
        tokenized = await client.tokenize("The Danube", add_bos=False)
        assert tokenized.pieces == ["The", " Danube"]
        assert await client.detokenize(tokenized.ids) == "The Danube"
