"""What tests of several packages share: the starter model, a home of their own, the command line, a scripted server."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
SHARED_CACHE = CHECKOUT / ".cache"

os.environ["LANGUAGE"] = "en"
"""Tests read what the app says in English, whatever the developer's language; those of another one set it."""

os.environ["NUMBA_CACHE_DIR"] = str(SHARED_CACHE / "engine" / "kernels")
"""Kernels are compiled once for the checkout, whichever home an engine has; another source has another folder there."""

for _size in ("COLUMNS", "LINES"):
    # Set where pytest itself has no terminal, and passed on, they would outdo the terminals that tests open.
    os.environ.pop(_size, None)
    os.unsetenv(_size)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has its background jobs ignore it, and children inherit that; some tests send it to children.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """SmolLM2-135M-Instruct: $LLM_TUI_TEST_MODEL, else the user's own copy, else fetched once into the checkout."""
    from engine import starter
    from tui.paths import user_paths

    if named := os.environ.get("LLM_TUI_TEST_MODEL"):
        return Path(named)
    own = user_paths().models_dir
    if starter.is_present(own):
        return own / starter.SMOLLM2.file_name
    return starter.fetch(SHARED_CACHE / "models", lambda progress: None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LLM_TUI_HOME, for this test and the processes that it starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LLM_TUI_HOME", str(folder))
    return folder


@pytest.fixture
def warm_home(home: Path) -> Path:
    """The same with the checkout's own cache of kernels and panels: a real engine compiles once for all tests."""
    warm = SHARED_CACHE / "engine"
    warm.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(warm, target_is_directory=True)
    return home


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `llm-tui` with these arguments in this process; stdin: what is piped into it."""
    from tui.cli import run

    def call(*arguments: str | Path, stdin: str | bytes = b"") -> Ran:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Ran(code, out.decode(), err.decode())

    return call


@dataclass
class Heard:
    """A request that reached the scripted server."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at_s: float


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedServer:
    """A server of HTTP that says, byte by byte, what it was told to; it runs on a thread with a loop of its own.

    plays: what it answers to each POST for an answer, the last one again and again. pages: what is at other addresses.
    n_deaf: so many of the next requests get no answer. left: how many answers the client gave up in the middle.
    """

    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    plays: list[Play] = field(default_factory=list)
    pages: dict[str, tuple[int, Any]] = field(default_factory=dict)
    n_deaf: int = 0
    left: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[Heard]:
        """The requests for answers."""
        return [request for request in self.heard if request.path.endswith("/completions")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
            self.heard.append(Heard(method, path, headers, body, asyncio.get_running_loop().time()))
            if self.n_deaf:
                self.n_deaf -= 1
                return
            await self.answer(path)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.release()
        finally:
            writer.close()

    def answer(self, path: str) -> Play:
        if not path.endswith("/completions"):
            status, page = self.pages.get(path, (404, {"error": {"message": "There is nothing here."}}))
            return self.page(status, page)
        return self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]

    @staticmethod
    def page(status: int, content: Any, kind: str = "application/json", **headers: str) -> Play:
        """A whole answer: bytes as they are, anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n".encode())
            writer.write(f"Content-Length: {len(data)}\r\n{more}\r\n".encode() + data)
            await writer.drain()

        return play

    @staticmethod
    def stream(*parts: str | dict[str, Any] | bytes, then: str = "close") -> Play:
        """A stream of events: text as an answer's next piece, a table as a whole event, bytes as they are.

        then: "close" ends it in order, "break" in the middle of the transfer, "stall" says no more, "endless" repeats
        the last part for ever.
        """

        def data(part: str | dict[str, Any] | bytes) -> bytes:
            if isinstance(part, bytes):
                return part
            event = {"choices": [{"index": 0, "delta": {"content": part}}]} if isinstance(part, str) else part
            return b"data: " + json.dumps(event).encode() + b"\n\n"

        async def write(writer: asyncio.StreamWriter, part: bytes) -> None:
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in parts:
                await write(writer, data(part))
            while then == "endless":
                await write(writer, data(parts[-1]))
            if then == "stall":
                await reader.read()
                raise ConnectionResetError
            if then == "close":
                writer.write(b"0\r\n\r\n")
                await writer.drain()

        return play


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """A server with one model and nothing to say yet."""
    server = ScriptedServer()
    server.pages["/v1/models"] = (200, {"data": [{"id": "tiny", "object": "model", "max_model_len": 2048}]})
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        ended = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ended))
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            server.port = listening.sockets[0].getsockname()[1]
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(10)
    yield server
    loop, ended = loops[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hugging Face hub of this test's own, of which the environment tells; nobody is logged in."""
    from tests.hub_server import running_hub

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
