"""The client against engines that break in every way a process can."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from engine.client import EngineClient, error_from
from engine.errors import (
    ContextFullError,
    EngineError,
    EngineGoneError,
    EngineStartError,
    LoadStoppedError,
    ModelFileError,
    NoModelError,
    UnreadableAnswerError,
)
from engine.process.child import Limits
from engine.protocol import (
    AnyEvent,
    Detokenize,
    EngineDied,
    Failed,
    Generate,
    HeartbeatMissed,
    Hello,
    Load,
    Notice,
    PromptProgress,
    Stop,
    TextPrompt,
    Token,
)

CHILDREN = Path(__file__).parent / "children"
PATIENCE_S = 20.0
HASTY = Limits(send_s=1, close_s=0.2, terminate_s=0.2, drain_s=0.5)
ATTENTIVE = Limits(heartbeat_s=0.3, tick_s=0.05, close_s=0.2, terminate_s=0.2)

E = TypeVar("E")
Start = Callable[..., Awaitable[EngineClient]]


@pytest.fixture
async def start(tmp_path: Path):
    """Starts a misbehaving engine; whatever is left of them at the end is killed."""
    clients: list[EngineClient] = []

    async def start_one(*how: str, limits: Limits = HASTY) -> EngineClient:
        command = [sys.executable, str(CHILDREN / "misbehave.py"), *how]
        clients.append(await EngineClient.start(command, log_path=tmp_path / "log" / "engine.log", limits=limits))
        return clients[-1]

    yield start_one
    for client in clients:
        await client.close()
        assert not psutil.pid_exists(client.pid)


async def until(client: EngineClient, kind: type[E]) -> tuple[E, list[AnyEvent]]:
    """The next event of a kind, and those before it."""
    before: list[AnyEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await client.events.get()
            if isinstance(event, kind):
                return event, before
            before.append(event)


def question() -> Generate:
    return Generate(request_id="a", prompt=TextPrompt(text="Once"))


async def test_an_engine_that_never_greets_is_ended_and_its_last_words_are_told(start: Start):
    with pytest.raises(EngineStartError, match=r"did not greet within 0.5 s.*still waiting for a disk"):
        await start("never_greets", limits=Limits(hello_s=0.5))


async def test_an_engine_that_ends_before_it_greets_is_not_waited_for(start: Start):
    with pytest.raises(EngineStartError, match=r"exit code 1.*No module named 'msgspec'"):
        await start("ends_at_once", limits=Limits(hello_s=60))


async def test_an_engine_of_another_version_is_refused_in_words(start: Start):
    with pytest.raises(EngineStartError, match=r"version 99.*Install llm-tui again"):
        await start("wrong_version")


async def test_a_program_that_does_not_exist_is_told(tmp_path: Path):
    with pytest.raises(EngineStartError, match="/no/such/python cannot be started"):
        await EngineClient.start(["/no/such/python"], log_path=tmp_path / "engine.log")


async def test_a_log_that_cannot_be_written_is_told_and_done_without(tmp_path: Path):
    (tmp_path / "file").write_text("")
    async with await EngineClient.start(log_path=tmp_path / "file" / "engine.log") as client:
        notice = client.events.get_nowait()
        assert isinstance(notice, Notice)
        assert f"log {tmp_path}/file/engine.log cannot be written" in notice.text
        assert client.alive


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path):
    mark = f"mark-{os.getpid()}-{tmp_path.name}"
    command = [sys.executable, str(CHILDREN / "misbehave.py"), "never_greets", mark]
    log = tmp_path / "engine.log"
    task = asyncio.create_task(EngineClient.start(command, log_path=log))
    async with asyncio.timeout(PATIENCE_S):
        while not (log.exists() and log.stat().st_size):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [p for p in psutil.Process().children(recursive=True) if mark in " ".join(p.cmdline())]


async def test_lines_that_are_no_events_are_counted_and_halves_are_joined(start: Start):
    client = await start("garbage")
    events = [event async for event in client.ask(question())]
    assert [type(event) for event in events] == [Token, Failed]
    assert events[0].text == "café"
    assert client.bad_lines == 8
    assert client.alive


async def test_a_request_whose_answer_cannot_be_read_fails_in_words(start: Start):
    client = await start("unreadable")
    async with asyncio.timeout(PATIENCE_S):
        events = [event async for event in client.ask(question())]
        with pytest.raises(UnreadableAnswerError, match="cannot be read"):
            await client.detokenize([1])
    assert [type(event) for event in events] == [Failed]
    assert client.alive


async def test_a_line_without_end_ends_the_engine_with_a_clear_event(start: Start):
    client = await start("endless_line", limits=Limits(line_bytes=2 << 20))
    died, _ = await until(client, EngineDied)
    assert "more than 2 MB" in died.message
    assert not client.alive


async def test_a_long_line_is_read_without_pauses(start: Start):
    client = await start("long_line", limits=Limits(gather_s=60, close_s=0.2, drain_s=0.2))
    token, _ = await until(client, Token)
    assert len(token.text) == 5_000_000


async def test_the_first_token_does_not_wait_to_be_read_together_with_others(start: Start):
    client = await start("waits_for_its_reader", limits=Limits(gather_s=60, close_s=0.2, drain_s=0.2))
    await client.send(question())
    await until(client, PromptProgress)
    await client.send(Stop(request_id="a"))
    token, _ = await until(client, Token)
    assert token.text == "Once"


async def test_a_full_stderr_blocks_nothing(start: Start):
    client = await start("floods_stderr")
    assert await client.detokenize([1]) == "calm"


@pytest.mark.parametrize(
    ("how", "exit_code", "signal_name", "words"),
    [
        ("SIGSEGV", None, "SIGSEGV", "crashed in compiled code"),
        ("SIGBUS", None, "SIGBUS", "cut short, replaced"),
        ("SIGKILL", None, "SIGKILL", "killed"),
        ("SIGTERM", None, "SIGTERM", "ended by SIGTERM"),
        ("7", 7, None, "exit code 7"),
        ("0", 0, None, "exit code 0"),
    ],
)
async def test_a_death_in_mid_answer_is_explained_and_what_came_is_kept(
    start: Start, how: str, exit_code: int | None, signal_name: str | None, words: str
):
    client = await start("dies", how)
    await client.send(question())
    died, before = await until(client, EngineDied)
    assert [type(event) for event in before] == [Hello, Token, Token]
    assert (died.exit_code, died.signal) == (exit_code, signal_name)
    assert words in died.message
    assert died.log_tail[-1] == "about to go"
    assert not client.alive
    with pytest.raises(EngineGoneError, match=words):
        await client.send(question())


async def test_asking_an_engine_that_dies_raises_after_what_came(start: Start):
    client = await start("dies", "SIGKILL")
    texts = []
    with pytest.raises(EngineGoneError, match="killed"):
        async for event in client.ask(question()):
            texts.append(event.text)  # noqa: PERF401 - the loop is left by an exception
    assert texts == ["Once ", "upon"]


async def test_only_this_process_s_part_of_the_log_is_quoted(start: Start, tmp_path: Path):
    log = tmp_path / "log" / "engine.log"
    log.parent.mkdir()
    log.write_text("an older engine's misery\n")
    client = await start("dies", "7")
    await client.send(question())
    died, _ = await until(client, EngineDied)
    assert died.log_tail == ["about to go"]
    assert "misery" in log.read_text()


async def test_a_death_is_seen_although_a_grandchild_holds_the_pipe(start: Start):
    client = await start("leaves_a_grandchild")
    died, before = await until(client, EngineDied)
    os.kill(int(before[-1].text), signal.SIGKILL)
    assert died.exit_code == 3


async def test_an_engine_that_closes_its_output_and_lives_is_ended(start: Start):
    client = await start("closes_stdout", limits=Limits(close_s=0.1, terminate_s=0.1, kill_s=0.1))
    died, before = await until(client, EngineDied)
    assert before[-1].text == "last words"
    assert "closed its output" in died.message


@pytest.mark.parametrize("how", ["stubborn", "ignores_stdin"])
async def test_closing_ends_engines_that_do_not_want_to(start: Start, how: str):
    client = await start(how)
    async with asyncio.timeout(PATIENCE_S):
        await client.close()
    assert not psutil.pid_exists(client.pid)
    assert not client.alive
    await client.close()
    assert client.events.get_nowait().pid == client.pid
    assert client.events.empty(), "an end that was asked for is no death"


async def test_closing_gives_up_an_engine_that_the_system_does_not_end(start: Start, monkeypatch: pytest.MonkeyPatch):
    """As one that waits for a dead network disk: no signal reaches it."""
    client = await start("stubborn", limits=Limits(close_s=0.1, terminate_s=0.1, kill_s=0.1))
    monkeypatch.setattr(client._process._transport, "kill", lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        await client.close()
    assert not client.alive
    with pytest.raises(EngineGoneError, match="closed"):
        await client.send(question())


async def test_closing_releases_who_waits_for_an_answer(start: Start):
    client = await start("ignores_stdin")
    waiting = asyncio.create_task(client.detokenize([1]))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(EngineGoneError, match="closed"):
        await waiting


async def test_silence_is_told_once_and_again_after_a_sound(start: Start):
    client = await start("mute", limits=ATTENTIVE)
    await until(client, Hello)  # a sound, and on a busy machine perhaps after a silence of its own
    missed, _ = await until(client, HeartbeatMissed)
    assert missed.silent_s > ATTENTIVE.heartbeat_s
    await client.send(Stop(request_id="a"))
    _, between = await until(client, HeartbeatMissed)
    assert [type(event) for event in between] == [Token]
    assert client.alive


async def test_a_path_that_is_no_text_is_refused_in_words(start: Start):
    client = await start("ignores_stdin")
    for load in (Load(path="/x/\udcff.gguf"), Load(path="/x", base="\udcff"), Load(path="/x", cache_dir="\ud800")):
        with pytest.raises(ModelFileError, match="bytes in it that are no text"):
            await client.load(load)
        await client.send(load)
        assert "no text" in (await until(client, Failed))[0].message


async def test_a_command_that_nobody_reads_is_given_up(start: Start):
    client = await start("ignores_stdin")
    with pytest.raises(EngineGoneError, match="has not taken a command"):
        await client.send(Detokenize(ids=[1] * 1_000_000))


async def test_leaving_an_answer_early_tells_the_engine_and_drops_the_rest(start: Start):
    client = await start("garbage")
    async with aclosing(client.ask(question())) as answer:
        async for _ in answer:
            break
    async with asyncio.timeout(PATIENCE_S):
        while client._requests:
            await asyncio.sleep(0.01)
    told = [client.events.get_nowait() for _ in range(client.events.qsize())]
    assert {event.request_id for event in told} <= {"", "nobody"}


def test_an_event_loop_that_ends_without_closing_leaves_no_engine(tmp_path: Path):
    async def forget_to_close() -> int:
        command = [sys.executable, str(CHILDREN / "misbehave.py"), "stubborn"]
        return (await EngineClient.start(command, log_path=tmp_path / "engine.log")).pid

    assert not psutil.pid_exists(asyncio.run(forget_to_close()))


def test_failed_events_become_the_errors_they_were():
    assert type(error_from(Failed(kind="ModelFileError", message="Bad.", hint="Fix."))) is ModelFileError
    assert type(error_from(Failed(kind="NoModelError", message="None.", hint="Open."))) is EngineError
    assert type(error_from(Failed(kind="os", message="x"))) is EngineError
    assert type(error_from(Failed(kind=LoadStoppedError.__name__, message="Stopped."))) is LoadStoppedError
    full = ContextFullError(5, 4)
    assert str(error_from(Failed(kind="ContextFullError", message=full.message, hint=full.hint))) == str(full)
    assert str(NoModelError()) == "No model is open. Open one first."


def test_the_app_s_side_of_the_engine_is_light():
    code = "import sys, engine.client; print(sorted({'numpy', 'numba', 'psutil', 'textual'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
