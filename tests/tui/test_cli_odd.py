"""The command line where the world around it is odd: closed streams, no home folder, names that are no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ScriptedServer
from tests.tui.conftest import CLI_ENGINE, XDG

Cli = Callable[..., Any]

MAIN = "from tui.__main__ import main; main()"
WITH_SCRIPTED_ENGINE = f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\n{MAIN}"
NOT_UTF8 = os.fsdecode(b"hi \xff")
CLEANED = "hi \N{REPLACEMENT CHARACTER}"


def closed(streams: str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of Python whose standard streams are closed, as the shell writes it."""
    command = [sys.executable, "-P", "-c", program, *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


# Streams


def test_the_app_with_a_closed_stream_needs_a_terminal(home: Path) -> None:
    for streams in ("<&-", "</dev/null >&-", "<&- >&-"):
        ran = closed(streams, MAIN)
        assert (ran.returncode, ran.stdout) == (2, ""), streams
        assert "The app needs a terminal" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_command_over_ssh_without_a_terminal_is_told_how_to_get_one(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(variable, raising=False)
    assert "ssh -t" not in cli().err
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 45458 127.0.0.1 22")
    assert "Over SSH, `ssh -t` brings one along." in cli().err
    monkeypatch.setenv("SSH_TTY", "/dev/pts/3")
    assert "ssh -t" not in cli().err


@pytest.mark.parametrize(
    ("streams", "arguments", "code", "out"),
    [
        ("2>&-", ["x"], 0, "Paris is the capital.\x1b[31m Yes.\n"),
        ("<&- 2>&-", ["x"], 0, "Paris is the capital.\x1b[31m Yes.\n"),
        ("<&- >&- 2>&-", ["x"], 0, ""),
        (">&-", ["x"], 0, ""),
        ("<&-", [], 2, ""),
        ("2>&-", ["FAIL"], 1, ""),
    ],
)
def test_ask_does_without_streams(model: Path, streams: str, arguments: list[str], code: int, out: str) -> None:
    ran = closed(streams, WITH_SCRIPTED_ENGINE, "ask", "-m", model, *arguments)
    assert (ran.returncode, ran.stdout) == (code, out)
    assert "Traceback" not in ran.stderr
    log = model.parent / "log" / "llm-tui.log"
    assert not log.exists() or "Traceback" not in log.read_text()


def test_perplexity_of_standard_input(cli: Cli, model: Path) -> None:
    ran = cli("perplexity", "-m", model, "-", "--json", stdin=b"five\xff")
    assert (ran.code, json.loads(ran.out)["tokens"]) == (0, 5), ran.err


def test_a_disk_that_is_full_keeps_no_last_model_and_no_half_of_one(model: Path) -> None:
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n{WITH_SCRIPTED_ENGINE}"
    ran = closed("", full, "ask", "-m", model, "x")
    assert (ran.returncode, ran.stdout) == (0, "Paris is the capital.\x1b[31m Yes.\n")
    assert list((model.parent / "data").iterdir()) == []


def test_who_cannot_be_asked_has_agreed(cli: Cli, model: Path) -> None:
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", "Question").out)["session"]
    models = model.parent / "models"
    models.mkdir()
    (models / "mine.gguf").symlink_to(model)
    for arguments in (["models", "remove", models / "mine.gguf"], ["sessions", "delete", saved]):
        ran = closed("<&-", MAIN, *arguments)
        assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr
    assert list(models.iterdir()) == []
    assert cli("sessions", "list").out == ""


def test_a_file_is_not_opened_in_the_place_of_a_closed_stream(home: Path) -> None:
    """What is written to stdout would end up in it."""
    program = (
        "from tui.__main__ import open_closed_streams; open_closed_streams(); print(open('/dev/null').fileno() > 2)"
    )
    assert closed("<&- 2>&-", program).stdout == "True\n"


# Names


@pytest.mark.parametrize("name", ["a." * 200, "a\0.gguf", "sessions/" + "a" * 300])
def test_a_name_that_no_file_can_have_is_no_file(name: str, cli: Cli, home: Path) -> None:
    ran = cli(name)
    assert ran.code == 2
    assert "The app needs a terminal" in ran.err


def test_a_mistyped_command_of_any_length_is_told(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difflib.get_close_matches", lambda *_, **__: ["sessions"])
    ran = cli("s" * 300)
    assert ran.code == 2
    assert "Did you mean sessions?" in ran.err


@pytest.mark.parametrize("behind", [["list"], ["--json"], ["show", "ID", "--json"]])
def test_a_mistyped_command_is_told_before_what_is_behind_it(cli: Cli, home: Path, behind: list[str]) -> None:
    ran = cli("sesions", *behind)
    assert ran.code == 2
    assert "There is no command sesions. Did you mean sessions?" in ran.err
    assert ran.err.startswith("Usage: llm-tui [OPTIONS] [MODEL]\n")


# The home folder


@pytest.mark.parametrize(("home_variable", "named"), [("~nosuch/x", "~nosuch/x"), ("~/x", "~/x"), ("", "~")])
@pytest.mark.parametrize("arguments", [["doctor"], ["sessions", "list"], ["--help"], ["x.gguf"]])
def test_a_home_that_nobody_knows_is_told_in_one_line(
    home_variable: str, named: str, arguments: list[str], cli: Cli, nobodys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_TUI_HOME", home_variable)
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"llm-tui: There is no home folder for {named}."
        " Set HOME, or set LLM_TUI_HOME to the folder to keep everything in.\n"
    )


def test_a_home_beside_a_folder_that_is_gone_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("LLM_TUI_HOME", "here")
    ran = cli("models", "list")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "llm-tui: The current folder is gone, and LLM_TUI_HOME is relative to it. Change to another folder.\n"
    )


def test_where_all_folders_are_named_no_home_is_needed(
    cli: Cli, nobodys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_TUI_HOME", str(tmp_path / "home"))
    assert cli("sessions", "list").code == 0
    monkeypatch.delenv("LLM_TUI_HOME")
    for kind in XDG:
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    assert cli("sessions", "list").code == 0
    assert (tmp_path / "DATA" / "llm-tui" / "sessions.db").exists()


# What is not UTF-8


@pytest.mark.parametrize(
    "arguments", [[f"ECHO {NOT_UTF8}"], ["--raw", f"ECHO {NOT_UTF8}"], ["--system", NOT_UTF8, "ECHO"]]
)
def test_texts_of_arguments_are_cleaned(arguments: list[str], cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, *arguments)
    assert (ran.code, ran.err) == (0, "")
    assert CLEANED in ran.out


def test_a_saved_question_is_cleaned_and_whole(cli: Cli, model: Path) -> None:
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", NOT_UTF8).out)["session"]
    assert cli("sessions", "rename", saved, f"Title {NOT_UTF8}").code == 0
    shown = json.loads(cli("sessions", "show", saved, "--json").out)
    assert shown["title"] == f"Title {CLEANED}"
    assert [message["content"][:5] for message in shown["messages"]] == [CLEANED[:5], "Paris"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sessions", "show", NOT_UTF8],
        ["sessions", "export", NOT_UTF8],
        ["sessions", "rename", NOT_UTF8, "x"],
        ["sessions", "delete", NOT_UTF8],
        ["ask", "--session", NOT_UTF8, "x"],
    ],
)
def test_an_id_that_is_not_utf8_is_no_sessions(arguments: list[str], cli: Cli, model: Path) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"llm-tui: There is no session {CLEANED}. ")


def test_a_search_for_what_is_not_utf8_is_none(cli: Cli, home: Path) -> None:
    ran = cli("sessions", "search", NOT_UTF8)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_models_name_that_is_not_utf8_is_written_as_json(cli: Cli, home: Path, starter_model: Path) -> None:
    file = home / "models" / f"{NOT_UTF8}.gguf"
    file.parent.mkdir()
    file.symlink_to(starter_model)
    written = str(file).replace(NOT_UTF8, CLEANED)
    for arguments in (["info", file], ["list"], ["verify", file]):
        ran = cli("models", *arguments, "--json")
        assert (ran.code, ran.err) == (0, ""), arguments
        assert json.loads(ran.out)["path"] == written
    assert CLEANED in json.loads(cli("models", "list", "--json").out)["name"]


# Options and addresses


def test_a_penalty_that_no_number_survives_is_wrong_usage(cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, "--repeat-penalty", "1e-300", "Hello")
    assert (ran.code, ran.out) == (2, "")
    assert "1e-300 is not in the range 0.01<=x<=5" in ran.err
    assert cli("ask", "-m", model, "--repeat-penalty", "0.01", "Hello").code == 0


@pytest.mark.parametrize("option", ["--temperature", "--top-p", "--min-p", "--repeat-penalty"])
@pytest.mark.parametrize("value", ["nan", "NaN", "-nan", "inf", "-1"])
def test_what_is_no_number_of_the_range_is_wrong_usage(option: str, value: str, cli: Cli, home: Path) -> None:
    ran = cli("ask", f"{option}={value}", "x")
    assert (ran.code, ran.out) == (2, "")
    assert "is not in the range" in ran.err


@pytest.mark.parametrize(
    "address", ["http://[bad/x", "https://[::1/x.gguf", "http://", "http://there/", "ftp://there/x"]
)
def test_what_is_no_address_is_told(address: str, cli: Cli, home: Path) -> None:
    ran = cli("models", "pull", address)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"llm-tui: {address} names no file to fetch. Give the whole address")


def test_a_hub_that_is_no_address_hinders_nobody(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[bad")
    assert "names no file to fetch" in cli("models", "pull", "http://there/").err


@pytest.mark.parametrize("is_there", [True, False])
def test_a_pull_that_got_nothing_leaves_nothing(
    is_there: bool, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, scripted_server: ScriptedServer
) -> None:
    monkeypatch.setattr("engine.download.PAUSE_S", 0)
    port = scripted_server.port if is_there else 1
    ran = cli("models", "pull", f"http://127.0.0.1:{port}/x.gguf")
    assert (ran.code, ran.out) == (1, "")
    assert "could not be fetched" in ran.err
    assert list((home / "models").iterdir()) == []


# A session that another app holds

CLAIM = """
import sys
from storage.claims import claim_session
from storage.connections import open_database
from storage.owners import this_owner

db = open_database(sys.argv[1])
claim_session(db, sys.argv[2], this_owner())
print("claimed", flush=True)
sys.stdin.read()
"""


def test_what_can_be_done_about_a_session_that_is_open_elsewhere(cli: Cli, home: Path, model: Path) -> None:
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", "x").out)["session"]
    claiming = [sys.executable, "-c", CLAIM, str(home / "data" / "sessions.db"), saved]
    with subprocess.Popen(claiming, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        for arguments in (["ask", "-m", model, "--session", saved, "x"], ["sessions", "delete", saved]):
            ran = cli(*arguments)
            assert (ran.code, ran.out) == (1, "")
            assert f"(process {other.pid} on " in ran.err
            assert ran.err.endswith("Close it there, or fork it in the app to go on in a copy.\n")
        other.kill()


# A session's system prompt


def test_a_question_that_is_not_stored_leaves_the_system_prompt_as_it_is(cli: Cli, model: Path) -> None:
    refused = model.with_name("refused.gguf")
    refused.touch()
    saved = json.loads(cli("ask", "-m", model, "--save", "--system", "Rhyme.", "--json", "x").out)["session"]

    def system() -> str:
        return str(json.loads(cli("sessions", "show", saved, "--json").out)["system"])

    assert cli("ask", "-m", refused, "--session", saved, "--system", "Shout.", "x").code == 1
    assert system() == "Rhyme."
    assert "system: Shout. | " in cli("ask", "-m", model, "--session", saved, "--system", "Shout.", "ECHO").out
    assert system() == "Shout."
    assert cli("ask", "-m", model, "--session", saved, "--system", "", "ECHO").out.startswith("user: x | ")
    assert system() == ""
