"""The worker in its own process, around a scripted model."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from engine.client import EngineClient
from engine.errors import EngineError, EngineGoneError, ModelFileError
from engine.process.child import Limits
from engine.process.worker import WORK_ENDED
from engine.protocol import (
    ChatMessage,
    ChatPrompt,
    EngineDied,
    EngineStats,
    Failed,
    Finished,
    Generate,
    Load,
    LoadProgress,
    Look,
    ModelReady,
    PromptProgress,
    Sampling,
    Stop,
    TextPrompt,
    Token,
    Tune,
)
from tests.engine.worker_helpers import (
    CHILDREN,
    GREEDY,
    PACE_S,
    PATIENCE_S,
    Start,
    ends,
    fake_command,
    gone,
    is_token,
    until,
    write_on,
)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the worker around a scripted model, opened or not."""
    clients: list[EngineClient] = []

    async def start_one(script: str = "x" * 4000, pace_s: float = PACE_S, model: str | None = "fake.gguf"):
        client = await EngineClient.start(fake_command(script, pace_s), log_path=tmp_path / "engine.log")
        clients.append(client)
        if model is not None:
            await client.load(Load(path=model))
        return client

    yield start_one
    for client in clients:
        await client.close()
        assert not psutil.pid_exists(client.pid)


async def test_it_greets_loads_and_answers_while_its_library_prints(start: Start, tmp_path: Path):
    client = await start("Paris.", model=None)
    progress: list[LoadProgress] = []
    card = await client.load(Load(path="fake.gguf", context=100), progress.append)
    assert (card.name, card.context) == ("fake", 100)
    assert [(p.stage, p.done, p.total) for p in progress][:: len(progress) - 1] == [
        ("reading", 0, 2),
        ("reading", 2, 2),
    ]
    events = [event async for event in client.ask(write_on("a"))]
    assert isinstance(events[0], PromptProgress)
    assert "".join(event.text for event in events if isinstance(event, Token)) == "Paris."
    assert events[-1].reason == "stop"
    assert client.bad_lines == 0
    log = (tmp_path / "engine.log").read_text()
    assert "a stray print" in log
    assert "a stray child" in log
    assert client.hello is not None
    assert client.hello.pid == client.pid
    assert client.hello.cpu


async def test_it_works_on_when_what_it_imports_ahead_fails(tmp_path: Path):
    code = (
        f"import sys; sys.path.insert(0, {str(CHILDREN)!r})\n"
        "from fake_model import FakeModel\n"
        "from engine.process.streams import take_wire\n"
        "commands, events = take_wire()\n"
        "from engine.process.serving import serve\n"
        "def broken(): raise ImportError('half an installation')\n"
        "serve(commands, events, lambda command, report: FakeModel('Paris.'), prepare=broken)\n"
    )
    client = await EngineClient.start([sys.executable, "-c", code], log_path=tmp_path / "engine.log")
    try:
        await client.load(Load(path="fake.gguf"))
        events = [event async for event in client.ask(write_on("a"))]
    finally:
        await client.close()
    assert "".join(event.text for event in events if isinstance(event, Token)) == "Paris."
    assert "ImportError: half an installation" in (tmp_path / "engine.log").read_text()


async def test_hello_comes_before_numpy(tmp_path: Path):
    code = (
        "import sys, os\n"
        "sys.argv[0] = 'engine'\n"
        "from engine.process import serving\n"
        "assert not {'numpy', 'numba', 'psutil'} & set(sys.modules), sorted(sys.modules)\n"
        "serving.serve(sys.stdin.buffer, sys.stdout.buffer, prepare=lambda: None)\n"
    )
    client = await EngineClient.start([sys.executable, "-c", code], log_path=tmp_path / "engine.log")
    await client.close()


async def test_stop_ends_the_running_answer_and_the_engine_stays_ready(start: Start):
    client = await start()
    await client.send(write_on("a"))
    await until(client, is_token)
    await client.send(Stop(request_id="a"))
    finished, _ = await until(client, ends("a"))
    assert finished.reason == "stopped"
    assert 0 < finished.generated_tokens < 4000
    await client.send(write_on("b", sampling=Sampling(temperature=0, max_new_tokens=2)))
    finished, _ = await until(client, ends("b"))
    assert finished.generated_tokens == 2


async def test_tune_changes_the_answer_that_is_being_written(start: Start):
    client = await start("a" * 4000)
    await client.send(write_on("a", seed=3))
    _, _ = await until(client, is_token)
    await client.send(Tune(request_id="a", sampling=Sampling(temperature=50.0, top_k=0, top_p=1, min_p=0)))
    _, before = await until(client, lambda event: is_token(event) and event.id != ord("a"))
    assert all(event.id == ord("a") for event in before if is_token(event))
    await client.send(Tune(request_id="a", sampling=GREEDY))
    await client.send(Tune(request_id="nobody", sampling=GREEDY))
    await until(client, is_token)


async def test_settings_out_of_range_are_refused_and_the_answer_goes_on(start: Start):
    client = await start()
    await client.send(write_on("a"))
    await until(client, is_token)
    await client.send(Tune(request_id="a", sampling=Sampling(temperature=-1)))
    failed, _ = await until(client, lambda event: isinstance(event, Failed))
    assert (failed.request_id, failed.kind) == ("a", "ProtocolError")
    assert "temperature" in failed.message
    await until(client, is_token)


async def test_answers_wait_in_line_and_can_be_taken_out_of_it(start: Start):
    client = await start()
    for name in "abc":
        await client.send(write_on(name, sampling=Sampling(temperature=0, max_new_tokens=20)))
    await until(client, is_token)
    await client.send(Stop(request_id="b"))
    b, _ = await until(client, ends("b"))
    assert (b.reason, b.generated_tokens) == ("stopped", 0)
    a, _ = await until(client, ends("a"))
    assert a.reason == "length"
    c, between = await until(client, ends("c"))
    assert c.generated_tokens == 20
    assert {event.request_id for event in between if is_token(event)} == {"c"}


async def test_waiting_answers_can_be_tuned(start: Start):
    client = await start()
    await client.send(write_on("a"))
    await client.send(write_on("b"))
    await client.send(Tune(request_id="b", sampling=Sampling(temperature=0, max_new_tokens=3)))
    await client.send(Stop(request_id="a"))
    b, _ = await until(client, ends("b"))
    assert (b.reason, b.generated_tokens) == ("length", 3)


async def test_another_model_ends_the_running_and_the_waiting_answers(start: Start):
    client = await start()
    await client.send(write_on("a"))
    await client.send(write_on("b"))
    await until(client, is_token)
    await client.send(Load(request_id="l", path="fake.gguf"))
    _, before = await until(client, lambda event: isinstance(event, ModelReady))
    assert {event.request_id: event.reason for event in before if isinstance(event, Finished)} == {
        "a": "stopped",
        "b": "stopped",
    }


async def test_small_questions_are_answered_between_two_tokens(start: Start):
    client = await start()
    await client.send(write_on("a"))
    await until(client, is_token)
    tokenized = await client.tokenize("hé")
    assert tokenized.ids == [256, 104, 195, 169]
    assert tokenized.pieces == ["<s>", "h", "\\xc3", "\\xa9"]
    assert (await client.tokenize("hé", with_pieces=False)).pieces == []
    assert await client.detokenize([104, 195, 169]) == "hé"
    assert await client.token_bytes([104, 195, 256]) == [b"h", b"\xc3", b"<s>"]
    with pytest.raises(EngineError, match="There is no token 259"):
        await client.detokenize([259])
    await until(client, is_token)
    assert client.alive


async def test_an_answer_that_is_too_long_for_a_line_is_refused_and_the_engine_goes_on(start: Start):
    client = await start()
    im_start = 257  # Of all its tokens, the longest: as text and as bytes in Base64, 31 bytes of a line.
    with pytest.raises(EngineError, match="more than 64 MB"):
        await client.token_bytes([im_start] * 2_300_000)
    assert await client.detokenize([104]) == "h"


async def test_looking_waits_for_the_answer_and_tells_what_comes_next(start: Start):
    client = await start("Paris.", 0.0)
    prompt = ChatPrompt(messages=[ChatMessage("user", "Hello")])
    look = Look(prompt=prompt, sampling=GREEDY, n_candidates=2)
    async with asyncio.timeout(PATIENCE_S):
        answer = client.ask(write_on("a", prompt=prompt))
        await anext(answer)
        looking = asyncio.create_task(client.look(look))
        told = [event async for event in answer if isinstance(event, Token)]
        found = await looking
        assert "".join(event.text for event in told) == "Paris."
        assert found.candidates[0].text == "P"
        whole = ChatPrompt(messages=prompt.messages, answer_ids=[event.id for event in told], answer_text="Paris.")
        assert [
            (await client.look(Look(prompt=p, at=at, n_candidates=1))).candidates[0].text
            for p, at in ((whole, 6), (None, 2))
        ] == ["<|im_end|>", "r"]
        await client.load(Load(path="fake.gguf"))
        with pytest.raises(EngineError, match="No conversation"):
            await client.look(Look(n_candidates=1))


async def test_loading_can_be_stopped(start: Start):
    client = await start(model=None)
    loading = asyncio.create_task(client.load(Load(request_id="l", path="endless.gguf")))
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "loading")
    await client.send(Stop(request_id="l"))
    with pytest.raises(EngineError, match="Loading was stopped"):
        await loading
    card = await client.load(Load(path="fake.gguf"))
    assert card.name == "fake"


async def test_loading_another_model_gives_up_the_one_that_is_loading(start: Start):
    client = await start(model=None)
    first = asyncio.create_task(client.load(Load(path="endless.gguf")))
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "loading")
    assert (await client.load(Load(path="fake.gguf"))).name == "fake"
    with pytest.raises(EngineError, match="Loading was stopped"):
        await first


async def test_cancelling_a_load_stops_it(start: Start):
    client = await start(model=None)
    loading = asyncio.create_task(client.load(Load(path="endless.gguf")))
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "loading")
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "empty")


async def test_errors_come_as_sentences_and_the_engine_goes_on(start: Start, tmp_path: Path):
    client = await start(model=None)
    with pytest.raises(ModelFileError, match=r"missing.gguf is not there. Choose another file."):
        await client.load(Load(path="missing.gguf"))
    with pytest.raises(EngineError, match=r"not enough memory.*smaller"):
        await client.load(Load(path="big.gguf"))
    with pytest.raises(EngineError, match="No model is open"):
        await client.tokenize("x")
    events = [event async for event in client.ask(write_on("a"))]
    assert [(type(event), event.kind) for event in events] == [(Failed, "NoModelError")]
    await client.load(Load(path="broken.gguf"))
    *_, last = [event async for event in client.ask(write_on("b"))]
    assert (last.kind, "a bug" in last.message) == ("ZeroDivisionError", True)
    assert "Traceback" in (tmp_path / "engine.log").read_text()
    assert client.alive


async def test_it_works_on_when_a_session_cannot_be_kept(start: Start, tmp_path: Path):
    client = await start("Paris.", model="unkept.gguf")
    async with asyncio.timeout(PATIENCE_S):
        while "a bug while keeping" not in (tmp_path / "engine.log").read_text():
            await asyncio.sleep(0.01)
        assert (await client.tokenize("h")).ids == [256, 104]


async def test_the_app_hears_when_the_working_thread_ends(start: Start):
    client = await start(model="leaving.gguf")
    await client.send(write_on("a"))
    died, _ = await until(client, lambda event: isinstance(event, EngineDied))
    assert died.exit_code == WORK_ENDED
    assert "a library's own idea" in died.log_tail[-1]


async def test_lines_that_are_no_commands_are_answered(start: Start):
    client = await start()
    for line in (b"nonsense\n", b"\xff\n", b"[]\n", b'{"type": "dance", "request_id": "d"}\n', b"\n"):
        await client._process.write(line)
        failed, _ = await until(client, lambda event: isinstance(event, Failed))
        assert failed.kind == "ProtocolError"
        assert failed.request_id == ("d" if b"dance" in line else "")
    assert await client.detokenize([104]) == "h"


async def test_the_pulse_tells_what_the_engine_does(start: Start):
    client = await start(model=None)
    stats, _ = await until(client, lambda event: isinstance(event, EngineStats))
    assert (stats.state, stats.context, stats.tokens_per_second) == ("empty", 0, 0)
    assert stats.rss_bytes > 1 << 20
    await client.load(Load(path="fake.gguf", context=2048))
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "ready")
    await client.send(write_on("a"))
    stats, _ = await until(
        client, lambda event: isinstance(event, EngineStats) and event.tokens_per_second > 0 and event.context_used > 3
    )
    assert stats.state == "writing"
    assert 0 < stats.tokens_per_second < 1 / PACE_S * 1.2
    assert stats.context == 2048
    assert stats.context_used < 2048
    assert stats.prompt_tokens_per_second > 0
    await client.send(Stop(request_id="a"))
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "ready")
    await client.load(Load(path="fake.gguf", context=2048))
    stats, _ = await until(client, lambda event: isinstance(event, EngineStats) and event.state == "ready")
    assert (stats.context_used, stats.prompt_tokens_per_second) == (0, 0)


async def test_an_answer_that_nobody_waits_for_any_more_is_stopped(start: Start):
    client = await start()
    async with aclosing(client.ask(write_on("a"))) as answer:
        async for event in answer:
            if is_token(event):
                break
        await until(client, lambda event: isinstance(event, EngineStats) and event.state == "writing")
    await until(client, lambda event: isinstance(event, EngineStats) and event.state == "ready")
    assert not client._requests


async def test_ten_askers_get_their_own_answers(start: Start):
    client = await start("Paris.", pace_s=0.0)

    async def answer(i: int) -> tuple[str, set[str]]:
        events = [event async for event in client.ask(Generate(prompt=TextPrompt(text=f"{i}"), sampling=GREEDY))]
        return "".join(e.text for e in events if is_token(e)), {e.request_id for e in events}

    answers = await asyncio.gather(*(answer(i) for i in range(10)))
    assert all(len(names) == 1 for _, names in answers)
    assert len({names.pop() for _, names in answers}) == 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_end_it_in_order(start: Start, number: signal.Signals):
    client = await start()
    await client.send(write_on("a"))
    await until(client, is_token)
    os.kill(client.pid, number)
    died, before = await until(client, lambda event: isinstance(event, EngineDied))
    assert died.signal == number.name
    assert [event.reason for event in before if isinstance(event, Finished)] == ["stopped"]


def test_a_second_signal_right_behind_the_first_ends_it_without_a_traceback():
    """As soon as that: before the first one's handler has put the second one's out of place."""
    program = """
import signal, sys
from engine.process import serving
put = signal.signal
def signalled(number, handler):
    if handler is signal.SIG_DFL:
        signal.signal = put
        signal.raise_signal(signal.SIGINT)
    return put(number, handler)
def prepare():
    pass
signal.signal = signalled
serving.serve(sys.stdin.buffer, sys.stdout.buffer, prepare=prepare)
"""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and b"hello" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert (-process.returncode in (signal.SIGTERM, signal.SIGINT), said) == (True, b"")


@pytest.mark.parametrize("model", ["fake.gguf", "stuck.gguf"])
async def test_closing_ends_it_in_the_middle_of_anything(start: Start, model: str):
    client = await start(model=model)
    await client.send(write_on("a"))
    await until(client, lambda event: isinstance(event, PromptProgress))
    async with asyncio.timeout(Limits().close_s):
        await client.close()
    with pytest.raises(EngineGoneError):
        await client.send(write_on("b"))


@pytest.mark.parametrize("model", ["fake.gguf", "stuck.gguf"])
async def test_an_app_that_is_killed_leaves_no_engine(tmp_path: Path, model: str):
    app = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILDREN / "app.py"), str(tmp_path / "engine.log"), model, *fake_command("x" * 4000),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert app.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        pid = int(await app.stdout.readline())
        if model == "fake.gguf":
            assert await app.stdout.readline() == b"token\n"
    assert psutil.pid_exists(pid)
    app.kill()
    await app.wait()
    await gone(pid)


async def test_a_broken_pipe_ends_it_quietly(tmp_path: Path):
    process = subprocess.Popen(
        fake_command("x"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert "hello" in process.stdout.readline()
        process.stdout.close()
        await asyncio.to_thread(process.wait, PATIENCE_S)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
