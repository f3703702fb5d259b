"""The command line as a whole: finding commands, exit codes, one line for a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from tui.cli import COMMANDS, commands, run

Cli = Callable[..., Any]


def leaves(command: click.Command, name: str = "") -> list[tuple[str, click.Command]]:
    """All commands that do something, with what one types to call them."""
    if not isinstance(command, click.Group):
        return [(name.strip(), command)]
    context = click.Context(command)
    found = []
    for sub in command.list_commands(context):
        inner = command.get_command(context, sub)
        assert inner is not None
        found += leaves(inner, f"{name} {sub}")
    return found


def test_help_names_every_command_and_the_apps_options(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    for name in filter(None, COMMANDS):
        assert f"\n  {name} " in ran.out
    for option in ("--continue", "--resume ID", "--new", "--version"):
        assert option in ran.out


@pytest.mark.parametrize("name", [name for name, _ in leaves(commands)])
def test_every_command_and_option_explains_itself(name: str, cli: Cli) -> None:
    ran = cli(*name.split(), "--help")
    assert ran.code == 0
    command = dict(leaves(commands))[name]
    assert command.help
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"llm-tui {version('llm-tui')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["model.gguf", "another.gguf"],
        ["--new", "--continue"],
        ["--resume", "x", "--new"],
        [],
        ["ask", "--temperature", "hot", "x"],
        ["ask", "--raw", "--system", "x", "y"],
        ["ask", "--save", "--session", "x", "y"],
        ["ask", "--logprobs", "3", "y"],
        ["ask"],
        ["sessions", "nonsense"],
        ["sessions", "show"],
        ["models", "info"],
        ["bench", "--repeat", "0"],
        ["adapter.gguf", "--base", "base.gguf", "--server", "there"],
        ["serve-web", "--base", "base.gguf", "--server", "there"],
        ["bench", "a.gguf", "-m", "b.gguf"],
        ["ask", "--threads", "1025", "y"],
        ["sessions", "search", "--limit", "99999999999999999999", "y"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str], cli: Cli, home: Path) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert "Usage: llm-tui" in ran.err
    assert "Traceback" not in ran.err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--resume"],
        ["x", "--base"],
        ["ask", "y", "-m"],
        ["ask", "y", "--server", "there", "-m"],
        ["ask", "y", "--session"],
        ["ask", "y", "--server"],
        ["x", "--server"],
        ["models", "info"],
        ["models", "verify"],
        ["models", "pull"],
        ["models", "remove"],
        ["models", "convert", "-t", "q4_0", "--base"],
        ["models", "convert", "x", "-t", "q4_0"],
        ["sessions", "show"],
        ["sessions", "export"],
        ["sessions", "delete"],
        ["sessions", "rename", ""],
        ["sessions", "import"],
        ["backup"],
        ["perplexity"],
        ["models", "prepared"],
        ["bench"],
        ["serve-web"],
    ],
)
def test_a_name_that_is_empty_is_not_the_usual_one(arguments: list[str], cli: Cli, home: Path) -> None:
    ran = cli(*arguments, "")
    assert (ran.code, ran.out) == (2, "")
    assert "A name cannot be empty." in ran.err


@pytest.mark.parametrize("arguments", [["backup"], ["models", "convert", "x", "-t", "q4_0"]])
def test_a_folders_name_is_no_new_file(arguments: list[str], cli: Cli, home: Path) -> None:
    ran = cli(*arguments, f"{home}/new/")
    assert (ran.code, ran.out) == (2, "")
    assert "A name that ends in / is a folder's: name a file." in ran.err


@pytest.mark.parametrize("title", ["", "  \n"])
def test_a_title_has_to_be_seen(title: str, cli: Cli, home: Path) -> None:
    ran = cli("sessions", "rename", "ID", title)
    assert (ran.code, ran.out) == (2, "")
    assert "A name cannot be empty." in ran.err


def test_who_names_the_model_of_a_server(cli: Cli) -> None:
    for arguments, named in ((["ask"], "-m names its model"), ([], "MODEL names"), (["serve-web"], "MODEL names")):
        assert named in " ".join(cli(*arguments, "--help").out.split())


def test_a_failure_is_one_line_without_control_characters(cli: Cli, home: Path) -> None:
    ran = cli("sessions", "show", "x\x1b]0;title\x07\ny")
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("llm-tui: There is no session x")
    assert "\x1b" not in ran.err
    assert "\x07" not in ran.err


def test_what_nobody_foresaw_goes_to_the_log(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("tui.commands.doctor.all_findings", break_down)
    ran = cli("doctor")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "ZeroDivisionError: by accident" in ran.err
    log = home / "log" / "llm-tui.log"
    assert str(log) in ran.err
    assert "Traceback" in log.read_text()


def test_a_log_that_cannot_be_written_has_nothing_more(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("tui.commands.doctor.all_findings", break_down)
    (home / "log").touch()
    ran = cli("doctor")
    assert ran.code == 1
    assert ran.err == (
        "llm-tui: This should not have happened: ZeroDivisionError: by accident."
        f" {home / 'log' / 'llm-tui.log'}, for more, cannot be written.\n"
    )


def test_a_log_that_has_no_room_is_no_word_on_the_terminal(home: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from tui.log import start_log; start_log().error('too long')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (home / "log" / "llm-tui.log").read_text() == ""
    assert ran.stderr == ""


def test_an_unreadable_place_is_told_by_name(cli: Cli, home: Path) -> None:
    (home / "data").write_text("a file where a folder should be")
    ran = cli("sessions", "list")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert str(home / "data") in ran.err


def test_a_home_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLM_TUI_HOME", str(tmp_path / "file" / "home"))
    ran = cli("sessions", "list")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.commands.doctor.all_findings", interrupt)
    assert run(["doctor"]) == 130


@pytest.mark.parametrize(
    ("argument", "module"),
    [("doctor", "msgspec"), ("doctor", "click"), ("doctor", "tui.paths"), ("x.gguf", "msgspec"), ("x.gguf", "tui.app")],
)
def test_ctrl_c_while_the_program_is_imported_is_an_exit_code(
    home: Path, tmp_path: Path, argument: str, module: str
) -> None:
    (tmp_path / "x.gguf").touch()
    interrupting = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.stdin.isatty = sys.stdout.isatty = lambda: True\n"
        "from tui.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", interrupting, argument]
    ran = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (130, "", "")


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "tui", "doctor"], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write_end)
    assert process.stderr == ""


def test_a_word_that_is_no_command_is_taken_for_a_model(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("tui.commands.app.has_terminal", lambda: True)
    monkeypatch.setattr("tui.commands.app.open_app", lambda options: asked.append(options) or 0)
    (home / "model.gguf").touch()
    assert cli(home / "model.gguf", "--resume", "abc").code == 0
    assert cli("--continue", "--base", "tiny").code == 0
    assert [(options.model, options.resume, options.continue_last, options.base) for options in asked] == [
        (str(home / "model.gguf"), "abc", False, None),
        (None, None, True, "tiny"),
    ]


def test_a_mistyped_command_is_told(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.commands.app.has_terminal", lambda: True)
    ran = cli("sesions")
    assert ran.code == 2
    assert "sessions" in ran.err
