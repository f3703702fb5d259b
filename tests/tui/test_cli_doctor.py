"""`llm-tui doctor`, on a machine that is fine and on ones that are not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.connections import open_database
from tests.engine.tiny_models import write_tiny
from tui.commands import checks
from tui.paths import user_paths

Cli = Callable[..., Any]


def verdicts(ran: Any) -> dict[str, str]:
    return {finding["check"]: finding["verdict"] for finding in map(json.loads, ran.out.splitlines())}


def test_a_fresh_home_has_nothing_wrong(cli: Cli, home: Path) -> None:
    ran = cli("doctor", "--json")
    assert ran.code == 0
    assert "bad" not in verdicts(ran).values()
    assert {"Processor", "Memory", "Engine", "Terminal", "Settings", "Sessions", "Models"} <= verdicts(ran).keys()
    assert not (home / "data").exists()


def test_what_is_wrong_is_told_with_what_to_do(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.ENGINE_COMMAND", ["/nowhere/python"])
    (home / "settings.toml").write_text("[engine]\nthreads = -1\n[models]\ndirectories = ['/nowhere']\n")
    (home / "data").mkdir()
    (home / "data" / "sessions.db").write_bytes(b"not a database at all" * 100)
    ran = cli("doctor", "--json")
    assert ran.code == 1
    findings = {finding["check"]: finding for finding in map(json.loads, ran.out.splitlines())}
    for check in ("Engine", "Settings", "Sessions"):
        assert findings[check]["verdict"] == "bad"
        assert findings[check]["advice"]
    out = cli("doctor").out
    assert "✗ Engine" in out
    assert "→ " in out


def test_models_that_do_not_open_are_told_beside_those_that_do(cli: Cli, home: Path) -> None:
    def of_models() -> list[dict[str, str]]:
        ran = cli("doctor", "--json")
        assert ran.code == 0
        return [finding for finding in map(json.loads, ran.out.splitlines()) if finding["check"] == "Models"]

    broken = home / "models" / "broken.gguf"
    broken.parent.mkdir()
    broken.write_bytes(b"GGUF\x03")
    none, damaged = of_models()
    assert none["found"].startswith("none in")
    assert (damaged["verdict"], damaged["found"][: len(str(broken))]) == ("note", str(broken))
    assert damaged["advice"]
    write_tiny(home / "models" / "whole.gguf", "llama")
    whole, still_damaged = of_models()
    assert (whole["verdict"], whole["found"]) == ("fine", f"1 in {broken.parent}")
    assert still_damaged == damaged


def test_a_home_in_what_is_no_folder_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home", Path("/dev/null")):
        monkeypatch.setenv("LLM_TUI_HOME", str(home))
        ran = cli("doctor", "--json")
        findings = {finding["check"]: finding for finding in map(json.loads, ran.out.splitlines())}
        for check in ("Data folder", "Cache folder", "Models folder"):
            assert (ran.code, findings[check]["verdict"]) == (1, "bad")
            assert (
                findings[check]["found"] == f"{'/dev/null' if 'dev' in home.parts else tmp_path / 'file'} is no folder"
            )


def test_a_home_that_is_a_link_to_nowhere_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere" / "at-all")
    monkeypatch.setenv("LLM_TUI_HOME", str(link))
    ran = cli("doctor", "--json")
    findings = {finding["check"]: finding for finding in map(json.loads, ran.out.splitlines())}
    for check in ("Data folder", "Cache folder", "Models folder"):
        assert (findings[check]["verdict"], findings[check]["found"]) == ("bad", f"{link} is no folder")
    assert ran.code == 1


def test_the_sessions_are_only_read(home: Path) -> None:
    paths = user_paths()
    with closing(open_database(paths.database)), closing(sqlite3.connect(paths.database, isolation_level=None)) as app:
        app.execute("BEGIN IMMEDIATE")
        assert checks.database(paths).verdict == "fine"


@pytest.mark.parametrize(
    ("environ", "verdict"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "fine"),
        ({"TERM": "dumb"}, "bad"),
        ({}, "bad"),
        ({"TERM": "linux", "SSH_CONNECTION": "1 2 3 4", "NO_COLOR": "1"}, "fine"),
    ],
)
def test_terminals(environ: dict[str, str], verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert checks.terminal(environ).verdict == verdict


@pytest.mark.parametrize("name", ["SSH_CONNECTION", "SSH_TTY"])
def test_a_terminal_over_ssh_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert checks.terminal({"TERM": "xterm", name: "1"}).found.endswith(" over SSH")
    assert " over SSH" not in checks.terminal({"TERM": "xterm", name: ""}).found


def test_a_terminal_without_unicode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Latin:
        encoding = "iso8859-1"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Latin())
    finding = checks.terminal({"TERM": "xterm"})
    assert (finding.verdict, "UTF-8" in finding.advice) == ("bad", True)


def test_the_clipboard_without_tmux_needs_nothing() -> None:
    assert checks.clipboard({}).verdict == "fine"


def test_tmux_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert checks.clipboard({"TMUX": "/tmp/nowhere,1,0"}).verdict == "note"
