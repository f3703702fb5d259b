"""The worker in its own process, with the starter model."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.client import EngineClient
from engine.protocol import (
    AnyEvent,
    ChatMessage,
    ChatPrompt,
    Generate,
    Load,
    Sampling,
    Stop,
    Token,
)
from tests.engine.worker_helpers import CHILDREN, GREEDY, gone


async def load_starter(client: EngineClient, path: Path, cache_dir: Path) -> None:
    async with asyncio.timeout(150):
        await client.load(Load(path=str(path), context=1024, cache_dir=str(cache_dir)))


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Panels and kernels are prepared once for this file's tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def real(tmp_path: Path, starter_model: Path, cache_dir: Path) -> AsyncIterator[EngineClient]:
    """The engine as the app starts it, with the starter model open."""
    async with await EngineClient.start(log_path=tmp_path / "engine.log") as client:
        await load_starter(client, starter_model, cache_dir)
        yield client


def capital(**options: object) -> Generate:
    prompt = ChatPrompt(
        messages=[
            ChatMessage("system", "You are a helpful assistant."),
            ChatMessage("user", "What is the capital of France?"),
        ]
    )
    return Generate(**{"prompt": prompt, "sampling": GREEDY, **options})


def text_of(events: list[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token)) + events[-1].text_tail


async def test_a_real_model_answers_a_real_question(real: EngineClient):
    events = [event async for event in real.ask(capital(n_top=3, n_candidates=3))]
    assert "Paris" in text_of(events)
    assert events[-1].reason == "stop"
    first = next(event for event in events if isinstance(event, Token))
    assert first.top[0].logprob >= first.top[1].logprob >= first.top[2].logprob
    assert first.candidates[0].sampler_p == 1.0
    assert real.bad_lines == 0
    assert await real.detokenize((await real.tokenize("Grüße, 世界", add_bos=False)).ids) == "Grüße, 世界"


async def test_the_same_seed_and_the_cache_give_the_same_answer(real: EngineClient):
    hot = Sampling(temperature=1.2, max_new_tokens=60)
    answers = []
    for reuse in (True, True, False):
        events = [event async for event in real.ask(capital(sampling=hot, seed=17, reuse=reuse))]
        answers.append([event.id for event in events if isinstance(event, Token)])
    assert answers[0] == answers[1] == answers[2]
    events = [event async for event in real.ask(capital(sampling=hot, seed=18))]
    assert [event.id for event in events if isinstance(event, Token)] != answers[0]


async def test_a_real_answer_can_be_stopped_and_taken_up_again(real: EngineClient):
    def asked(n_tokens: int, **options: object) -> Generate:
        hot = Sampling(temperature=0.9, max_new_tokens=n_tokens)
        return capital(sampling=hot, seed=5, ignore_eos=True, **options)

    part = []
    command = asked(400, request_id="part")
    async for event in real.ask(command):
        part.append(event)
        if len([None for earlier in part if isinstance(earlier, Token)]) == 20:
            await real.send(Stop(request_id="part"))
    assert part[-1].reason == "stopped"
    before = [event.id for event in part if isinstance(event, Token)]
    assert len(before) >= 20
    prompt = msgspec.structs.replace(command.prompt, answer_ids=before)
    rest = [event async for event in real.ask(asked(40, prompt=prompt))]
    whole = [event async for event in real.ask(asked(len(before) + 40))]
    ids = [event.id for event in whole if isinstance(event, Token)]
    assert before + [event.id for event in rest if isinstance(event, Token)] == ids
    assert text_of(part) + text_of(rest) == text_of(whole)


async def test_the_end_of_the_app_ends_a_real_answer(tmp_path: Path, starter_model: Path, cache_dir: Path):
    app = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILDREN / "app.py"), str(tmp_path / "engine.log"), str(starter_model),
        stdout=subprocess.PIPE, env={**os.environ, "APP_CACHE_DIR": str(cache_dir)},
    )  # fmt: skip
    assert app.stdout is not None
    async with asyncio.timeout(150):
        pid = int(await app.stdout.readline())
        assert await app.stdout.readline() == b"token\n"
    app.kill()
    await app.wait()
    await gone(pid)
