"""A real pseudo-terminal with a program in it, for tests of the app as users run it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata

import psutil
from rich.cells import cell_len

PATIENCE_S = 30.0
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

# What Textual itself sends: colours and cursor moves, modes and their queries, the alternate screen.
HONEST = re.compile(rb"\x1b\[[0-9;:]*[mHABCDJKh]|\x1b\[[?>=<][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[[<>][0-9;]*u")

# While the app runs, in true colours: nothing but places, colours and weights, whole lines, and the pointer's shape.
_COLOUR = rb"[34]8;2;\d{1,3};\d{1,3};\d{1,3}"
_PARAMETER = rb"(?:0|1|2|3|4|7|9|" + _COLOUR + rb")"
_DRAWING = re.compile(
    rb"\x1b\[(?:" + _PARAMETER + rb"(?:;" + _PARAMETER + rb")*)?m"
    rb"|\x1b\[\d{1,3};\d{1,3}H|\r\n|\x1b\[\?2026[hl]|\x1b\]22;[a-z-]+\x07"
)
_MODES = re.compile(
    rb"\x1b\[\?(?:7|25|1000|1003|1004|1006|1015|1049|2004)[hl]|\x1b\[\?(?:2026|2048)\$p|\x1b\[>25u|\x1b\[<u"
)


def obeyed(output: bytes) -> list[str]:
    """All that a terminal would obey in what a program wrote, except what this app draws with and its modes."""
    text = _MODES.sub(b"", _DRAWING.sub(b"", output)).decode("utf-8")
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI]


class Picture:
    """What is on screen after what this app draws with: places, lines and text."""

    _TOKEN = re.compile(r"\x1b\[(\d+);(\d+)H|(\r\n)|\x1b\[[^a-zA-Z]*[a-zA-Z]|\x1b\][^\x07]*\x07|([^\x1b\r]+)")

    def __init__(self, size: tuple[int, int]) -> None:
        columns, rows = size
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = self.n_drawn = 0

    def draw(self, output: bytes) -> None:
        """Take in what was written since the last time, but for what may be cut short at its end."""
        end = max(output.rfind(b"\x1b"), self.n_drawn)
        for place in self._TOKEN.finditer(output[self.n_drawn : end].decode()):
            row, column, line_end, text = place.groups()
            if row:
                self.row, self.column = int(row) - 1, int(column) - 1
            elif line_end:
                self.row, self.column = self.row + 1, 0
            for character in text or "":
                width = cell_len(character)
                if width and self.row < len(self.cells) and self.column < len(self.cells[0]):
                    self.cells[self.row][self.column : self.column + width] = [character, *[""] * (width - 1)]
                self.column += width
        self.n_drawn = end

    def text(self) -> str:
        """The lines."""
        return "\n".join("".join(row) for row in self.cells)


class Terminal:
    """A program on the slave side of a pseudo-terminal, and all that it wrote."""

    honest = HONEST
    obeyed = staticmethod(obeyed)

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
        self.picture = Picture(size)
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

    def text(self, since: int = 0) -> str:
        """What was written after so many bytes, without escape sequences."""
        return HONEST.sub(b"", self.output[since:]).decode("utf-8", "replace")

    def wait_for(self, text: str, since: int = 0) -> None:
        """Read until a text was written after so many bytes."""
        limit = time.monotonic() + PATIENCE_S
        while text not in self.text(since):
            assert time.monotonic() < limit, f"{text!r} was never written: {self.text(since)[-2000:]}"
            assert self.read(), f"the app ended before it wrote {text!r}: {self.text(since)[-2000:]}"

    def wait_for_number(self, least: int) -> None:
        """Read until an answer that counts ("number0 number1") has come so far; a busy screen leaves some out."""
        limit = time.monotonic() + PATIENCE_S
        while max(map(int, re.findall(r"number(\d+) ", self.text())), default=-1) < least:
            assert time.monotonic() < limit, f"it never came to {least}: {self.text()[-2000:]}"
            assert self.read(), f"the app ended before it came to {least}: {self.text()[-2000:]}"

    def shows(self, text: str) -> bool:
        """Whether a text is on screen."""
        self.picture.draw(self.output)
        return text in self.picture.text()

    def wait_shown(self, text: str, *, gone: bool = False) -> None:
        """Read until a text is on screen, or no longer is."""
        limit = time.monotonic() + PATIENCE_S
        while self.shows(text) == gone:
            assert time.monotonic() < limit, f"{text!r}, gone: {gone}:\n{self.picture.text()}"
            assert self.read(), f"the app ended:\n{self.picture.text()}"

    def do(self, keys: str, *texts: str) -> None:
        """Send keys, then read until texts are on screen."""
        self.type(keys)
        for text in texts:
            self.wait_shown(text)

    def paste(self, text: str) -> None:
        """Paste a text; terminals leave ESC out, which would end it."""
        pasted = text.replace("\x1b", "")
        self.type(f"\x1b[200~{pasted}\x1b[201~")

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self.master, text.encode())

    def engine_pid(self) -> int:
        """The engine's process."""
        (engine,) = psutil.Process(self.process.pid).children()
        return engine.pid

    def wait_for_end(self) -> int:
        """Read until the program has ended, and return its exit code; with another than 0, show what it last said."""
        limit = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < limit, "the app does not end"
            if self.is_open:
                self.read()
            else:
                time.sleep(0.01)
        while self.is_open and select.select([self.master], [], [], 0)[0] and self.read(0):
            pass
        if self.process.returncode:
            sys.stdout.write(self.text()[-2000:])
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
