"""The user's editor: which one, and the way there and back in a real terminal."""

from __future__ import annotations

import re
import signal
import string
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import sessions
from storage.connections import open_database
from tui.paths import user_paths
from tui.services.editor import EditorError, editor_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal


def test_visual_goes_before_editor_and_both_may_have_arguments() -> None:
    environment = {"VISUAL": f"'{sys.executable}' -m editor", "EDITOR": "nano"}
    assert editor_command(environment) == [sys.executable, "-m", "editor"]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"EDITOR": "/nowhere/ed"}, "which is not installed"),
        ({"EDITOR": "'ed"}, "cannot be understood"),
        ({"PATH": "/nowhere"}, "There is no editor"),
    ],
)
def test_without_an_editor(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(EditorError, match=reason):
        editor_command(environment)


EDITOR = """\
import sys
print("EDITING", flush=True)
assert sys.stdin.readline().strip() == "now"
path = sys.argv[1]
text = open(path).read()
open(path, "w").write(f"{text} in lines\\nof mine\\n")
sys.exit(int(sys.argv[0].endswith("failing.py")))
"""


@pytest.mark.parametrize(("name", "after"), [("editor.py", "typed in lines"), ("failing.py", "ended with 1")])
def test_there_and_back(stage: Stage, open_terminal: Callable[..., Terminal], name: str, after: str) -> None:
    stage.set_script(answers=[" ".join(f"number{n}" for n in range(300))], hold_after=20)
    script = stage.home / name
    script.write_text(EDITOR)
    terminal = open_terminal(EDITOR=f"{sys.executable} {script}")
    terminal.wait_for("ready")
    terminal.type("count\r")
    terminal.wait_for("number19")
    terminal.type("typed\x1be")
    terminal.wait_for("EDITING")
    terminal.output = b""
    terminal.type("now\r")
    terminal.wait_for(after)
    if name == "editor.py":
        terminal.wait_for("of mine")
    terminal.type("\x1b")
    terminal.wait_for("stopped")
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0


def test_nothing_is_drawn_over_the_editor(stage: Stage, open_terminal: Callable[..., Terminal]) -> None:
    stage.set_script(answers=[" ".join(f"number{n}" for n in range(3000))], token_delay_s=0.002)
    script = Path(stage.home / "editor.py")
    script.write_text(EDITOR)
    terminal = open_terminal(EDITOR=f"{sys.executable} {script}")
    terminal.wait_for("ready")
    terminal.type("count\r")
    terminal.wait_for_number(19)
    terminal.type("\x1be")
    terminal.wait_for("EDITING")
    for _ in range(20):
        terminal.read()
    drawn = terminal.text().partition("EDITING")[2]
    assert "number" not in drawn
    terminal.type("now\r")
    terminal.wait_for("of mine")
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0


SAVES = """\
import sys, time
open(sys.argv[1], "a").write(" and saved")
print("EDITING", flush=True)
time.sleep(600)
"""


def test_what_the_editor_has_saved_is_the_draft_where_the_app_is_left_meanwhile(
    stage: Stage, open_terminal: Callable[..., Terminal]
) -> None:
    script = stage.home / "editor.py"
    script.write_text(SAVES)
    terminal = open_terminal(EDITOR=f"{sys.executable} {script}")
    terminal.wait_for("ready")
    terminal.type("typed\x1be")
    terminal.wait_for("EDITING")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait_for_end() == 128 + signal.SIGTERM
    with closing(open_database(user_paths().database)) as db:
        assert [session.draft for session in sessions.list_sessions(db)] == ["typed and saved"]


READS_AHEAD = """\
import os, sys, termios
as_it_was = termios.tcgetattr(0)
raw = termios.tcgetattr(0)
raw[3] &= ~(termios.ICANON | termios.ECHO)
termios.tcsetattr(0, termios.TCSADRAIN, raw)
print("EDITING", flush=True)
typed = ""
while "." not in typed:
    typed += os.read(0, 4096).decode()
termios.tcsetattr(0, termios.TCSADRAIN, as_it_was)
open(sys.argv[1], "a").write(f"<{typed}>")
"""


def test_what_is_typed_before_the_editor_is_there_is_for_it_or_stays_in_the_box(
    stage: Stage, open_terminal: Callable[..., Terminal]
) -> None:
    script = stage.home / "editor.py"
    script.write_text(READS_AHEAD)
    terminal = open_terminal(EDITOR=f"{sys.executable} {script}", size=(200, 60))
    terminal.wait_for("ready")
    terminal.type("draft \x1be")
    typed = ""
    while "EDITING" not in terminal.text():
        typed += string.ascii_letters[len(typed) % len(string.ascii_letters)]
        terminal.type(typed[-1])
        terminal.read(0.005)
    terminal.do(".", ".>")
    terminal.do("?", "?")
    lines = re.findall(r"│ (\S.*?) *│", terminal.picture.text())
    box = "".join(lines[lines.index(next(line for line in lines if line.startswith("draft"))) :])
    to_editor, to_box = re.findall(r"<(\w*)\.>(\w*)\?", box)[0]
    assert to_box + to_editor == typed
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
