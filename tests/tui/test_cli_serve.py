"""`llm-tui serve` as a process with a scripted engine: who may ask, how it errs, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.tui.conftest import CLI_ENGINE
from tui.bases import base_of
from tui.commands.serve import taken_address
from tui.paths import user_paths

Cli = Callable[..., Any]
PROGRAM = f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\nfrom tui.__main__ import main; main()"
KEY = "serve-key-90-to-97"
LIMIT_S = 60


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, text: str, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": text}], **fields}
        return httpx.post(f"{self.url}/chat/completions", json=body, timeout=LIMIT_S, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url.removesuffix("/v1") + path, headers=headers, timeout=LIMIT_S, trust_env=False)

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Send a signal and return what it said until its end."""
        self.process.send_signal(number)
        assert self.process.stderr
        said = self.process.stderr.read()
        self.process.wait(LIMIT_S)
        return said


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[..., Served]]:
    """Start servers, which are ended after the test."""
    model = home / "scripted.gguf"
    model.touch()
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> Served:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "serve", "-m", model, "--port", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LLM_TUI_HOME": str(home)},
        )
        processes.append(process)
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url, process.communicate(timeout=LIMIT_S)
        return Served(process, url)

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=LIMIT_S)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(KEY)
    return path


def test_it_answers_at_the_address_that_it_writes(serve: Callable[..., Served]) -> None:
    served = serve()
    assert served.url.startswith("http://127.0.0.1:")
    answer = served.ask("Capital of France?", seed=3).json()
    assert answer["choices"][0]["message"]["content"] == "Paris is the capital.\x1b[31m Yes."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert answer["timings"]["seed"] == 3
    assert served.get("/health").json() == {"status": "ok", "waiting": 0}
    assert [model["id"] for model in served.get("/v1/models").json()["data"]] == ["Scripted"]
    assert served.get("/v1/models/Scripted").json()["id"] == "Scripted"


def test_an_adapter_is_served_on_its_base(serve: Callable[..., Served], home: Path) -> None:
    base = home / "base.gguf"
    base.touch()
    serve("--base", base)
    assert base_of(home / "scripted.gguf", user_paths()) == str(base)


def test_the_settings_are_the_defaults_of_every_request(serve: Callable[..., Served], home: Path) -> None:
    (home / "settings.toml").write_text("[sampling]\ntop_k = 17\n")
    said = serve().ask("ECHO", temperature=0.25).json()["choices"][0]["message"]["content"]
    assert "top_k=17" in said
    assert "temperature=0.25" in said
    assert said.startswith("user: ECHO")


def test_what_the_makers_recommend_holds_below_the_settings(serve: Callable[..., Served], home: Path) -> None:
    (model := home / "advised.gguf").touch()
    (home / "settings.toml").write_text("[sampling]\ntop_k = 17\n")
    served = serve("-m", model)
    recommended = served.get("/v1/models").json()["data"][0]["recommended_sampling"]
    assert (recommended["temperature"], recommended["top_k"]) == (0.125, 17)
    said = served.ask("ECHO").json()["choices"][0]["message"]["content"]
    assert "temperature=0.125" in said


def test_a_stream_has_the_pieces_the_end_and_the_counts(serve: Callable[..., Served]) -> None:
    text = serve().ask("x", stream=True, max_tokens=2, stream_options={"include_usage": True}).text
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    events = [json.loads(line) for line in lines]
    choices = [event["choices"][0] for event in events if event["choices"]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Paris is"
    assert choices[-1]["finish_reason"] == "length"
    assert events[-1]["usage"]["completion_tokens"] == 2
    assert len({event["id"] for event in events}) == 1


def test_a_client_who_does_not_read_keeps_nobody_waiting(serve: Callable[..., Served]) -> None:
    served = serve()
    body = {"messages": [{"role": "user", "content": f"ECHO{'x' * 8_000_000}"}], "stream": True}
    with httpx.Client(timeout=LIMIT_S, trust_env=False) as client:
        with client.stream("POST", f"{served.url}/chat/completions", json=body) as unread:
            assert unread.status_code == 200
            assert served.ask("Capital of France?").json()["usage"]["completion_tokens"] == 7
            assert sum(map(len, unread.iter_bytes())) > 8_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_refuses_is_an_error_of_the_interface(serve: Callable[..., Served], stream: bool) -> None:
    answer = serve().ask("FAIL", stream=stream)
    if stream:
        [*_, last] = [line for line in answer.text.split("\n\n") if line]
        error = json.loads(last.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 400
        error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"] == "The prompt is too long. Shorten it."


def test_wrong_requests_are_told_what_is_wrong(serve: Callable[..., Served]) -> None:
    served = serve()
    refused = served.ask("x", temperature="hot")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "temperature"
    assert served.get("/v1/nothing").status_code == 404
    assert served.get("/v1/models/other").json()["error"]["code"] == "model_not_found"
    assert served.get("/v1/chat/completions").status_code == 405
    huge = httpx.post(f"{served.url}/chat/completions", content=b" " * (17 << 20), timeout=LIMIT_S, trust_env=False)
    assert huge.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "[::1"}, 403),
    ],
)
def test_without_a_key_no_web_page_gets_in(serve: Callable[..., Served], headers: dict[str, str], status: int) -> None:
    assert serve().get("/v1/models", **headers).status_code == status


def test_a_load_balancer_that_names_no_host_learns_that_it_is_alive(serve: Callable[..., Served]) -> None:
    url = httpx.URL(serve().url)
    with socket.create_connection((url.host, url.port or 0), timeout=LIMIT_S) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
        ("", 401),
        ("Bearer", 401),
        (f"Basic {KEY}", 401),
        (f"Bearer {KEY}x", 401),
        ("Bearer k\u00e9y", 401),
    ],
)
def test_with_a_key_whoever_has_it_gets_in(
    serve: Callable[..., Served], key_file: Path, given: str, status: int
) -> None:
    served = serve("--api-key-file", key_file)
    headers = {"Authorization": given.encode("latin-1")} if given else {}
    answer = httpx.get(f"{served.url}/models", headers=headers, timeout=LIMIT_S, trust_env=False)
    assert answer.status_code == status
    assert served.get("/health").status_code == 200
    assert KEY not in str(psutil.Process(served.process.pid).cmdline())
    assert KEY not in answer.text + served.end()


def test_where_others_can_reach_it_a_key_is_required(cli: Cli, key_file: Path) -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3"):
        ran = cli("serve", "--host", host)
        assert (ran.code, ran.out) == (2, "")
        assert "--api-key-file" in ran.err
    key_file.chmod(0o644)
    ran = cli("serve", "--api-key-file", key_file)
    assert ran.code == 1
    assert "can be read by others" in ran.err
    ran = cli("serve", "--api-key-file", key_file.with_name("nothing"))
    assert ran.code == 1
    assert ran.err.rstrip().endswith("(No such file or directory). Name a file that holds the key and nothing else.")


def test_a_taken_port_is_told_before_a_model_is_opened(cli: Cli, home: Path) -> None:
    model = home / "m.gguf"
    model.touch()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ran = cli("serve", "-m", model, "--port", str(listening.getsockname()[1]))
    assert (ran.code, ran.out) == (1, "")
    assert "Choose another --port" in ran.err


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets(host: str) -> None:
    with taken_address(host, 0) as listening:
        assert listening.getsockname()[0] == "::1"


def test_without_the_extra_it_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = cli("serve")
    assert ran.code == 1
    assert "pip install 'llm-tui[serve]'" in ran.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_and_its_engine(serve: Callable[..., Served], number: signal.Signals, code: int) -> None:
    served = serve()
    children = psutil.Process(served.process.pid).children()
    with writing(served):
        said = served.end(number)
    assert served.process.returncode == code
    assert "Traceback" not in said
    assert children
    gone, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert (len(gone), alive) == (len(children), [])


def test_at_the_end_answers_under_way_end_in_order(serve: Callable[..., Served], home: Path) -> None:
    served = serve()
    with writing(served) as rest, ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.ask, "Hello")
        while served.get("/health").json()["waiting"] != 1:
            pass
        served.end()
        assert json.loads(next(line for line in rest if "error" in line).removeprefix("data: "))
        assert [line for line in rest if line] == []
        assert (waiting.result().status_code, waiting.result().json()["error"]["code"]) == (503, "server_ends")
    assert "Traceback" not in (home / "log" / "llm-tui.log").read_text()


@contextmanager
def writing(served: Served) -> Iterator[Iterator[str]]:
    """An answer is under way; gives its further lines."""
    body = {"messages": [{"role": "user", "content": "WAIT"}], "stream": True}
    with httpx.Client(timeout=LIMIT_S, trust_env=False) as client:
        with client.stream("POST", f"{served.url}/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if "Paris" in line)
            yield lines


def test_the_engines_death_ends_it_with_its_reason(serve: Callable[..., Served]) -> None:
    served = serve()
    answer = served.ask("DIE")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_gone"
    assert served.process.wait(LIMIT_S) == 1
    assert served.process.stderr
    said = served.process.stderr.read()
    assert "The engine has ended" in said
    assert "Traceback" not in said
