"""A program in a pseudo-terminal with a screen behind it: what its user would see, and how much is sent for that."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import pyte
from pseudo_terminal import start

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0

# pyte writes these out: keyboard modes and questions about modes.
_UNKNOWN = re.compile(rb"\x1b\[[<>=][0-9;]*[a-z]|\x1b\[\?[0-9;]*\$p|\x1b\]22;[a-z-]*\x07")


def terminal_environment(home: Path, *, ssh: bool) -> dict[str, str]:
    """Variables of a capable terminal, on this machine or at the other end of an SSH line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "TEXTUAL", "TMUX"))}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LLM_TUI_HOME": str(home)}
    if ssh:
        environment["SSH_CONNECTION"] = "192.0.2.1 1 192.0.2.2 22"
    return environment


class EmulatedTerminal:
    """A program and its screen. n_bytes: what it has sent so far."""

    def __init__(self, command: list[str], size: tuple[int, int], environment: dict[str, str]) -> None:
        self.process, self._terminal = start(command, size, environment, ROOT)
        self.n_bytes = 0
        self._came: Queue[tuple[float, bytes]] = Queue()
        threading.Thread(target=self._receive, daemon=True).start()
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """The screen."""
        return list(self._screen.display)

    def _receive(self) -> None:
        """Note when bytes come, also while the screen is busy with those before."""
        with suppress(OSError):
            while data := os.read(self._terminal, 65536):
                self._came.put((time.monotonic(), data))

    def read(self, for_s: float = 0.05) -> float | None:
        """Take what comes within a time: when it came, in seconds of the monotonic clock; None if nothing did."""
        try:
            came_s, data = self._came.get(timeout=max(for_s, 0.0001))
        except Empty:
            return None
        self.n_bytes += len(data)
        self._stream.feed(_UNKNOWN.sub(b"", data))
        return came_s

    def read_until(self, is_true: Callable[[list[str]], object]) -> float:
        """Read until the screen is as wanted: when it became so."""
        limit = time.monotonic() + PATIENCE_S
        came_s: float | None = time.monotonic()
        while came_s is None or not is_true(self.lines):
            if time.monotonic() > limit or self.process.poll() is not None:
                raise SystemExit("\n".join(["The screen never showed what it should:", *self.lines]))
            came_s = self.read()
        return came_s

    def read_until_shown(self, text: str) -> float:
        """Read until a text stands on the screen."""
        return self.read_until(lambda lines: any(text in line for line in lines))

    def read_for(self, time_s: float) -> None:
        """Take what comes during a time."""
        ends_s = time.monotonic() + time_s
        while (rest_s := ends_s - time.monotonic()) > 0:
            self.read(rest_s)

    def type(self, keys: str) -> None:
        """Send keys."""
        os.write(self._terminal, keys.encode())

    def close(self) -> None:
        """Leave the app in order."""
        self.type("\x11")
        limit = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < limit:
            self.read()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)
