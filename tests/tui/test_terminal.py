"""The app in a real pseudo-terminal: the ways out, what stays behind, and which bytes reach the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from storage import tree
from storage.database import open_database
from storage.sessions import last_session
from tui.paths import user_paths

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

APP = Path(__file__).with_name("scripted_app.py")
PATIENCE_S = 30.0
LONG = " ".join(f"number{n}" for n in range(3000))

# What Textual itself sends: colours and cursor moves, modes and their queries, the alternate screen.
HONEST = re.compile(rb"\x1b\[[0-9;:]*[mHABCDJKh]|\x1b\[[?>=<][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[[<>][0-9;]*u")


class Terminal:
    """A program on the slave side of a pseudo-terminal, and all that it wrote."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(slave)
        self.output = b""
        self.is_open = True

    def read(self, for_s: float = 0.05) -> bool:
        """Take what there is; False when the other side is gone."""
        if not select.select([self.master], [], [], for_s)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data
        return bool(data)

    def text(self) -> str:
        """What was written, without escape sequences."""
        return HONEST.sub(b"", self.output).decode("utf-8", "replace")

    def wait_for(self, text: str) -> None:
        """Read until a text was written."""
        limit = time.monotonic() + PATIENCE_S
        while text not in self.text():
            assert time.monotonic() < limit, f"{text!r} was never written: {self.text()[-2000:]}"
            assert self.read(), f"the app ended before it wrote {text!r}: {self.text()[-2000:]}"

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self.master, text.encode())

    def engine_pid(self) -> int:
        """The engine's process."""
        (engine,) = psutil.Process(self.process.pid).children()
        return engine.pid

    def wait_for_end(self) -> int:
        """Read until the program has ended."""
        limit = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < limit, "the app does not end"
            if self.is_open:
                self.read()
            else:
                time.sleep(0.01)
        while self.is_open and select.select([self.master], [], [], 0)[0] and self.read(0):
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        """Drop the line."""
        os.close(self.master)
        self.is_open = False

    def close(self) -> None:
        """End the program whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.is_open:
            os.close(self.master)


@pytest.fixture
def terminal(stage: Stage) -> Iterator[Terminal]:
    terminal = Terminal([sys.executable, str(APP), str(stage.model), str(stage.script)], {})
    yield terminal
    terminal.close()


def gone(pid: int) -> bool:
    limit = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def stored_answer() -> tuple[str, str]:
    db = open_database(user_paths().database)
    session = last_session(db)
    assert session is not None
    message = tree.path(db, session.id)[-1].message
    db.close()
    return message.content, message.state


def begin_long_answer(stage: Stage, terminal: Terminal) -> int:
    terminal.wait_for("ready")
    terminal.type("count\r")
    terminal.wait_for("number30 ")
    return terminal.engine_pid()


@pytest.fixture
def counting(stage: Stage) -> None:
    stage.set_script(answers=[LONG], token_delay_s=0.01)


def test_quit_says_how_to_come_back(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
    assert re.search(r"llm-tui --resume [0-9a-z]{16}\r?\n$", terminal.text())
    content, state = stored_answer()
    assert content.startswith("number0 number1 ") and "number30 " in content
    assert state == "stopped"
    assert gone(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal(counting: None, stage: Stage, terminal: Terminal, number: signal.Signals) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.process.send_signal(number)
    assert terminal.wait_for_end() == 128 + number
    content, state = stored_answer()
    assert "number30 " in content
    assert state == "interrupted"
    assert gone(pid)


def test_a_dropped_line(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.hang_up()
    terminal.process.send_signal(signal.SIGHUP)
    terminal.wait_for_end()
    content, state = stored_answer()
    assert "number30 " in content
    assert state == "interrupted"
    assert gone(pid)


def test_a_line_that_vanishes_without_a_signal(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.hang_up()
    terminal.wait_for_end()
    content, state = stored_answer()
    assert "number30 " in content
    assert state == "interrupted"
    assert gone(pid)


def test_an_idle_line_that_vanishes_without_a_signal(stage: Stage, terminal: Terminal) -> None:
    terminal.wait_for("ready")
    pid = terminal.engine_pid()
    terminal.hang_up()
    terminal.wait_for_end()
    assert gone(pid)


def test_a_stalled_line_holds_up_nothing(counting: None, stage: Stage, terminal: Terminal) -> None:
    begin_long_answer(stage, terminal)
    limit = time.monotonic() + PATIENCE_S
    while "number1000 " not in stored_answer()[0]:
        assert time.monotonic() < limit, "the answer is no longer stored"
        assert terminal.process.poll() is None
        time.sleep(0.01)
    terminal.wait_for("number1000 ")
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0


def test_kill_9_costs_a_second_at_most(counting: None, stage: Stage, terminal: Terminal) -> None:
    begin_long_answer(stage, terminal)
    pid = terminal.engine_pid()
    terminal.wait_for("number250 ")
    terminal.process.kill()
    terminal.wait_for_end()
    content, state = stored_answer()
    assert "number100 " in content
    assert state == "writing"
    assert gone(pid)


HOSTILE = (
    "\x1b]0;owned\x07 \x1b]52;c;b3duZWQ=\x07 \x1b[31mred\x1b[2J \x9b31m \x07 \x0e "
    "[bold]markup[/bold] [@click=app.quit]click[/] \u202eesrever "
    "`\x1b]8;;http://evil\x1b\\link` &#27;[5m\n\n```python\n\x1b[8mhidden\n```\n\n"
    "| \x1b[1m | b |\n|---|---|\n| \x85 | \u2066x |\n"
)


@pytest.fixture
def hostile(stage: Stage) -> None:
    stage.set_script(answers=[HOSTILE])
    stage.model = stage.model.rename(stage.home / "Tiny \x1b[31m[red]Q4.gguf")


def test_nothing_that_a_model_writes_is_obeyed(hostile: None, stage: Stage, terminal: Terminal) -> None:
    terminal.wait_for("ready")
    terminal.type("\x1b[200~say\x1b]0;typed\x07 it\x1b[201~\r")
    terminal.wait_for("hidden")
    terminal.wait_for("118 tok/s")
    # Textual's own: the shape of the pointer.
    written = terminal.output.replace(b"\x1b]22;default\x07", b"")
    for code in (
        b"\x1b]",
        b"\x1b[31m\x1b[2J",
        b"\x1b[2J",
        b"\x1b[8m",
        b"\x1b[5m",
        b"\x0e",
        b"\x07",
        b"\xc2\x9b",
        b"\xc2\x85",
    ):
        assert code not in written, code
    assert "\u202e".encode() not in written
    assert "\u2066".encode() not in written
    cut_short = re.compile(rb"\x1b(\[[0-9;]*)?$")
    assert b"\x1b" not in cut_short.sub(b"", HONEST.sub(b"", written))
    text = terminal.text()
    assert "[bold]markup[/bold]" in text
    assert "[@click=app.quit]click[/]" in text
    assert "[red]" in text


def test_an_idle_app_sends_nothing(stage: Stage, terminal: Terminal) -> None:
    terminal.wait_for("ready")
    terminal.wait_for("MB /")
    quiet = 0
    limit = time.monotonic() + PATIENCE_S
    while quiet < 10 and time.monotonic() < limit:
        before = len(terminal.output)
        terminal.read(0.3)
        quiet = quiet + 1 if len(terminal.output) == before else 0
    assert quiet == 10
