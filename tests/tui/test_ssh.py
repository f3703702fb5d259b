"""A real SSH server and tmux: log in, chat with the starter model, lose the line midway, log in again and go on."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

from storage import tree
from storage.connections import open_database
from storage.sessions import last_session
from tests.tui.terminal import Terminal
from tui.paths import user_paths

if TYPE_CHECKING:
    from storage.records import Message

PATIENCE_S = 60.0
SIZE = (100, 30)
ASK = "Tell a long story.\r"
ESCAPE, GO_ON, LEAVE = "\x1b", "\x07", "\x11"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=?][0-9;]*\$?[a-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\")

pytestmark = pytest.mark.slow


def needs(program: str | None, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(program is None, reason=f"{name} is not installed (Debian: openssh-server, tmux)")


@dataclass
class Login:
    """An SSH client in a terminal of its own, and what its user sees."""

    terminal: Terminal
    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(*SIZE))
    n_fed: int = 0

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self.screen)

    def text(self) -> str:
        """The screen, after what has come meanwhile."""
        self.terminal.read()
        data, self.n_fed = self.terminal.output[self.n_fed :], len(self.terminal.output)
        self._stream.feed(UNKNOWN_TO_PYTE.sub(b"", data))
        return "\n".join(self.screen.display)

    def wait_for(self, *texts: str) -> None:
        """Look until all of these are seen together."""
        limit = time.monotonic() + PATIENCE_S
        while not all(text in self.text() for text in texts):
            assert self.terminal.process.poll() is None, f"the line ended before {texts}:\n{self.text()}"
            assert time.monotonic() < limit, f"{texts} never seen:\n{self.text()}"

    def begin_answer(self) -> None:
        """Ask, and see the answer being written."""
        self.wait_for("ready", "Ask something")
        self.terminal.type(ASK)
        self.wait_for("Writing \u2026", "tok/s \u00b7")

    def drop(self) -> None:
        """Lose the line: the client is gone without a word."""
        self.terminal.process.kill()
        self.terminal.process.wait()

    def leave(self) -> None:
        """Quit the app, and with it the line."""
        self.terminal.type(LEAVE)
        self.terminal.wait_for_end()


@pytest.fixture
def log_in(tmp_path: Path, warm_home: Path, starter_model: Path) -> Iterator[Callable[[str], Login]]:
    """A server on a free port of this machine with keys of its own; log in to run a command there."""
    assert SSHD is not None
    (warm_home / "settings.toml").write_text("[sampling]\ntemperature = 0.0\n[chat]\nmodel_titles = false\n")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {tmp_path}/user_key.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    if os.getuid() == 0:
        # A server that runs as root insists on it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = (tmp_path / "sshd.log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stdin=subprocess.DEVNULL, stderr=log)
    wait_for_port(port, server, tmp_path / "sshd.log")
    logins: list[Login] = []

    def connect(command: str) -> Login:
        options = [f"UserKnownHostsFile={tmp_path}/known", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
        ssh = [
            "ssh",
            "-F",
            "none",
            "-tt",
            "-p",
            str(port),
            "-i",
            str(tmp_path / "user_key"),
            "-o",
            "IdentitiesOnly=yes",
        ]
        for option in options:
            ssh += ["-o", option]
        logins.append(Login(Terminal([*ssh, f"{getpass.getuser()}@127.0.0.1", command], {}, size=SIZE)))
        return logins[-1]

    yield connect
    for login in logins:
        login.terminal.close()
    server.terminate()
    server.wait()
    log.close()


def wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        assert server.poll() is None, log.read_text()
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(log.read_text())


def app_command(home: Path, *arguments: str) -> str:
    """The app, as a command for the shell at the other end."""
    variables = {"LLM_TUI_HOME": str(home), "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "LC_ALL": "C.UTF-8"}
    settings = [f"{name}={value}" for name, value in variables.items()]
    return shlex.join(["env", *settings, sys.executable, "-m", "tui", *arguments])


def last_message() -> Message:
    with open_database(user_paths().database, read_only=True) as db:
        session = last_session(db)
        assert session is not None
        return tree.path(db, session.id)[-1].message


def stored_as(state: str) -> Message:
    """The last message once it is in a state."""
    limit = time.monotonic() + PATIENCE_S
    while (message := last_message()).state != state:
        assert time.monotonic() < limit, f"the answer is still {message.state}"
        time.sleep(0.05)
    return message


@needs(SSHD, "sshd")
@needs(shutil.which("tmux"), "tmux")
def test_in_tmux_the_answer_goes_on_without_the_line(
    log_in: Callable[[str], Login], warm_home: Path, starter_model: Path, tmp_path: Path
) -> None:
    tmux = f"tmux -u -f /dev/null -S {shlex.quote(str(tmp_path / 'tmux'))}"
    try:
        first = log_in(f"{tmux} new-session {shlex.quote(app_command(warm_home, str(starter_model)))}")
        first.begin_answer()
        first.drop()
        before = last_message()
        second = log_in(f"{tmux} attach")
        second.wait_for("Writing \u2026", "tok/s \u00b7")
        second.terminal.type(ESCAPE)
        second.wait_for("Cut short")
        after = stored_as("stopped")
        assert after.id == before.id
        assert after.content.startswith(before.content)
        assert len(after.content) > len(before.content)
        second.leave()
    finally:
        subprocess.run([*shlex.split(tmux), "kill-server"], check=False, capture_output=True)


@needs(SSHD, "sshd")
def test_without_tmux_the_answer_is_kept_and_continued(
    log_in: Callable[[str], Login], warm_home: Path, starter_model: Path
) -> None:
    first = log_in(app_command(warm_home, str(starter_model)))
    first.begin_answer()
    first.drop()
    kept = stored_as("interrupted")
    assert kept.content
    second = log_in(app_command(warm_home, "--continue"))
    second.wait_for("ready", "Tell a long s", "ctrl+g go on")
    second.terminal.type(GO_ON)
    second.wait_for("Writing \u2026", "tok/s \u00b7")
    second.terminal.type(ESCAPE)
    after = stored_as("stopped")
    assert after.id == kept.id
    assert after.content.startswith(kept.content)
    assert len(after.content) > len(kept.content)
    second.leave()
