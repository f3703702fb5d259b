"""A real pseudo-terminal with a program in it, for tests of the app as users run it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import psutil

PATIENCE_S = 30.0

# What Textual itself sends: colours and cursor moves, modes and their queries, the alternate screen.
HONEST = re.compile(rb"\x1b\[[0-9;:]*[mHABCDJKh]|\x1b\[[?>=<][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[[<>][0-9;]*u")


class Terminal:
    """A program on the slave side of a pseudo-terminal, and all that it wrote."""

    honest = HONEST

    def __init__(self, arguments: list[str], environment: dict[str, str], *, size: tuple[int, int] = (100, 30)) -> None:
        self.master, slave = pty.openpty()
        columns, rows = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
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
