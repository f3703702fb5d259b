"""The app in a real pseudo-terminal: the ways out, what stays behind, and which bytes reach the terminal."""

from __future__ import annotations

import re
import signal
import string
import termios
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from storage import tree
from storage.connections import open_database
from storage.sessions import last_session
from tui.paths import user_paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal

PATIENCE_S = 30.0
LONG = " ".join(f"number{n}" for n in range(3000))


@pytest.fixture
def terminal(stage: Stage, open_terminal: Callable[..., Terminal]) -> Terminal:
    return open_terminal()


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
    terminal.wait_for_number(30)
    return terminal.engine_pid()


@pytest.fixture
def counting(stage: Stage) -> None:
    stage.set_script(answers=[LONG], token_delay_s=0.01)


def test_a_process_that_was_stopped_for_a_while_goes_on_as_before(stage: Stage, terminal: Terminal) -> None:
    as_it_was = termios.tcgetattr(terminal.master)
    terminal.wait_for("ready")
    for typed in (string.ascii_lowercase[:20], string.ascii_uppercase[:20]):
        terminal.process.send_signal(signal.SIGSTOP)
        # What a shell makes of it that gets the terminal meanwhile.
        termios.tcsetattr(terminal.master, termios.TCSANOW, as_it_was)
        since = len(terminal.output)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for("Engine", since)
        for character in typed:
            terminal.type(character)
        terminal.wait_shown(typed)
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
    assert termios.tcgetattr(terminal.master) == as_it_was


def test_quit_says_how_to_come_back(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
    assert re.search(r"llm-tui --resume [0-9a-z]{16}\r?\n$", terminal.text())
    content, state = stored_answer()
    assert content.startswith("number0 number1 ") and "number30 " in content
    assert state == "stopped"
    assert gone(pid)


def test_a_locale_of_another_encoding_leaves_the_screen_as_it_is(
    stage: Stage, open_terminal: Callable[..., Terminal]
) -> None:
    stage.set_script(answers=["Größer · 東京"])
    terminal = open_terminal(PYTHONIOENCODING="latin-1:backslashreplace")
    terminal.wait_shown("ready")
    terminal.do("x\r", "Größer · 東京")
    assert terminal.shows("╭─ History")
    assert "\\u" not in terminal.picture.text()


def check_interrupted(pid: int) -> None:
    """The long answer is stored as far as it came, and its engine has ended."""
    content, state = stored_answer()
    assert "number30 " in content
    assert state == "interrupted"
    assert gone(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal(counting: None, stage: Stage, terminal: Terminal, number: signal.Signals) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.process.send_signal(number)
    assert terminal.wait_for_end() == 128 + number
    check_interrupted(pid)


def test_a_dropped_line(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.hang_up()
    terminal.process.send_signal(signal.SIGHUP)
    terminal.wait_for_end()
    check_interrupted(pid)


def test_a_line_that_vanishes_without_a_signal(counting: None, stage: Stage, terminal: Terminal) -> None:
    pid = begin_long_answer(stage, terminal)
    terminal.hang_up()
    terminal.wait_for_end()
    check_interrupted(pid)


def test_an_idle_line_that_vanishes_without_a_signal(stage: Stage, terminal: Terminal) -> None:
    terminal.wait_for("ready")
    pid = terminal.engine_pid()
    terminal.hang_up()
    terminal.wait_for_end()
    assert gone(pid)


@pytest.fixture
def counting_on(stage: Stage) -> None:
    stage.set_script(answers=[LONG], token_delay_s=0.002, hold_after=1100)


def test_a_stalled_line_holds_up_nothing(counting_on: None, stage: Stage, terminal: Terminal) -> None:
    begin_long_answer(stage, terminal)
    limit = time.monotonic() + PATIENCE_S
    while "number1000 " not in stored_answer()[0]:
        assert time.monotonic() < limit, "the answer is no longer stored"
        assert terminal.process.poll() is None
        time.sleep(0.01)
    terminal.wait_for("number1099")
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0


def test_kill_9_costs_a_second_at_most(counting: None, stage: Stage, terminal: Terminal) -> None:
    begin_long_answer(stage, terminal)
    pid = terminal.engine_pid()
    terminal.wait_for_number(250)
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
    assert b"\x1b" not in cut_short.sub(b"", terminal.honest.sub(b"", written))
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
