"""`llm-tui ask --server NAME`: the same answers from somebody else's engine, and a key that nobody gets to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer

Cli = Callable[..., Any]
SECRET = "sk-sesame-0815-4711"
STOP: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.fixture
def server(home: Path, scripted_server: ScriptedServer) -> ScriptedServer:
    """A scripted server that the settings call `cluster`; it has something to say."""
    scripted_server.plays = [scripted_server.stream("Par", "is.", STOP)]
    key_file = home / "key"
    key_file.touch(0o600)
    key_file.write_text(f"{SECRET}\n")
    write_settings(home, f'base_url = "{scripted_server.url}"', f'api_key_file = "{key_file}"')
    return scripted_server


def write_settings(home: Path, *lines: str) -> None:
    (home / "settings.toml").write_text("\n".join(["[servers.cluster]", *lines, ""]))


def test_an_answer_comes_from_the_server(cli: Cli, server: ScriptedServer) -> None:
    ran = cli("ask", "--server", "cluster", "--temperature", "0", "Capital of France?")
    assert (ran.code, ran.out, ran.err) == (0, "Paris.\n", "")
    [heard] = server.asked
    assert heard.headers["authorization"] == f"Bearer {SECRET}"
    assert heard.body["messages"][-1] == {"role": "user", "content": "Capital of France?"}
    assert heard.body["temperature"] == 0


def test_json_has_nothing_that_the_server_did_not_tell(cli: Cli, server: ScriptedServer) -> None:
    ran = cli("ask", "--server", "cluster", "--json", "--logprobs", "1", "x")
    answer = json.loads(ran.out)
    assert (answer["text"], answer["model"], answer["finish_reason"]) == ("Paris.", "tiny", "stop")
    assert answer["tokens"] == [
        {"id": -1, "text": "Par", "logprob": None, "top": []},
        {"id": -1, "text": "is.", "logprob": None, "top": []},
    ]


def test_a_session_may_begin_on_a_server(cli: Cli, server: ScriptedServer) -> None:
    session = json.loads(cli("ask", "--server", "cluster", "--save", "--json", "One?").out)["session"]
    cli("ask", "--server", "cluster", "--session", session, "Two?")
    said = [(message["role"], message["content"]) for message in server.asked[-1].body["messages"]]
    assert said[1:] == [("user", "One?"), ("assistant", "Paris."), ("user", "Two?")]
    shown = json.loads(cli("sessions", "show", session, "--json").out)
    assert [message["state"] for message in shown["messages"]] == ["complete"] * 4


def test_a_lost_connection_keeps_what_came(cli: Cli, server: ScriptedServer) -> None:
    server.plays = [server.stream("Par", then="break")]
    ran = cli("ask", "--server", "cluster", "--save", "One?")
    assert (ran.code, ran.out) == (1, "Par\n")
    assert "What came until then is kept" in ran.err
    [session] = cli("sessions", "list", "--json").out.splitlines()
    shown = json.loads(cli("sessions", "show", json.loads(session)["id"], "--json").out)
    assert (shown["messages"][-1]["content"], shown["messages"][-1]["state"]) == ("Par", "failed")


def test_a_busy_server_is_told_of_while_it_is_waited_for(cli: Cli, server: ScriptedServer) -> None:
    server.plays = [server.page(429, {}, Retry_After="0.01"), *server.plays]
    ran = cli("ask", "--server", "cluster", "x")
    assert (ran.code, ran.out) == (0, "Paris.\n")
    assert "Trying again at once (try 2 of 5)." in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--server", "moon"], 1, "There is no server moon. The settings have: cluster."),
        (["--server", "cluster", "-m", "huge"], 1, "has no model huge. It has: tiny."),
        (["--server", "cluster", "--threads", "2"], 2, "not on a server"),
        (["--server", "cluster", "--context", "99"], 2, "not on a server"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    cli: Cli, server: ScriptedServer, arguments: list[str], code: int, words: str
) -> None:
    ran = cli("ask", *arguments, "x")
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_a_key_file_that_others_may_read_is_refused(cli: Cli, home: Path, server: ScriptedServer) -> None:
    (home / "key").chmod(0o644)
    ran = cli("ask", "--server", "cluster", "x")
    assert ran.code == 1
    assert "chmod 600" in ran.err
    assert server.heard == []


def test_doctor_looks_at_servers(cli: Cli, home: Path, server: ScriptedServer) -> None:
    def found() -> list[dict[str, str]]:
        findings = [json.loads(line) for line in cli("doctor", "--json").out.splitlines()]
        return [finding for finding in findings if finding["check"] == "Server"]

    [fine] = found()
    assert (fine["verdict"], fine["found"]) == ("fine", f"cluster at 127.0.0.1:{server.port} has tiny")
    (home / "key").chmod(0o644)
    [note] = found()
    assert (note["verdict"], "chmod 600" in note["advice"]) == ("note", True)


def test_without_the_extra_it_says_what_to_install(
    cli: Cli, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for name in ("engine.remote.client", "engine.remote.transport"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    ran = cli("ask", "--server", "cluster", "x")
    assert ran.code == 1
    assert "pip install 'llm-tui[remote]'" in ran.err


@pytest.mark.slow
def test_the_key_is_in_no_file_export_message_or_list_of_processes(
    cli: Cli, home: Path, server: ScriptedServer, tmp_path: Path
) -> None:
    """Everything goes wrong in turn, and the server repeats the key wherever it can."""
    echo = {"error": {"message": f"Incorrect API key provided: {SECRET}", "param": SECRET}}
    server.pages["/props"] = (401, echo)
    plays = [
        server.page(401, echo),
        server.page(400, f"no {SECRET}".encode(), kind="text/plain"),
        server.page(307, b"", Location=f"http://127.0.0.1:1/{SECRET}"),
        server.stream("Par", {"error": {"message": f"failed with {SECRET}"}}),
        server.stream("Par", then="break"),
        server.stream("Paris.", STOP),
    ]
    home_text = (home / "settings.toml").read_text()
    write_settings(home, f'base_url = "{server.url}"', 'api_key_env = "CLUSTER_KEY"', "retries = 0")
    settings_without_path = (home / "settings.toml").read_text()
    assert home_text != settings_without_path
    (home / "key").unlink()
    environment = os.environ | {"CLUSTER_KEY": SECRET, "LLM_TUI_HOME": str(home), "PYTHONDEVMODE": "1"}
    program = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, filename=sys.argv.pop(1))\n"
        "from tui.__main__ import main; main()"
    )
    log = tmp_path / "debug.log"
    command = [sys.executable, "-c", program, str(log), "ask", "--server", "cluster", "--save", "hello"]
    said = b""
    for play in plays:
        server.plays = [play]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert SECRET not in str(psutil.Process(process.pid).cmdline())
            said += process.communicate(timeout=60)[0]
    assert b"Paris." in said
    assert b"[key]" in said
    assert len(server.asked) == len(plays)
    assert {request.headers["authorization"] for request in server.asked} == {f"Bearer {SECRET}"}
    for line in cli("sessions", "list", "--json").out.splitlines():
        said += cli("sessions", "export", json.loads(line)["id"], "--format", "json").out.encode()
    assert log.stat().st_size > 1000
    kept = [log, *(path for path in home.rglob("*") if path.is_file())]
    assert any(path.suffix == ".db" for path in kept)
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET.encode() not in said


def test_nothing_of_http_is_imported_before_a_server_is_named(home: Path) -> None:
    program = (
        "import sys, tui.app, tui.services.workspace, tui.commands.ask, tui.commands.serve\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'httpx', 'starlette', 'uvicorn'})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "set()"


def test_what_the_server_recommends_holds_where_nothing_is_chosen(cli: Cli, server: ScriptedServer) -> None:
    entry = {"id": "tiny", "recommended_sampling": {"temperature": 0.125, "repeat_penalty": 1.05}}
    server.pages["/v1/models"] = (200, {"data": [entry]})
    for options in ((), ("--top-k", "7")):
        assert cli("ask", "--server", "cluster", *options, "x").code == 0
    assert [heard.body["temperature"] for heard in server.asked] == [0.125, 0.8]
