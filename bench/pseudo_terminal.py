"""A program in a pseudo-terminal: started at its other side, and read as fast as it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS, COLUMNS = 40, 120
PATIENCE_S = 180.0


def start(
    command: list[str],
    size: tuple[int, int],
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program in a terminal of its own; give its process, and the side at which it is read and typed to.

    size: columns and rows. environment, folder: None for ours.
    """
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True, env=environment, cwd=folder
    )
    os.close(inner)
    return process, terminal


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    """Start a program and give its terminal of 120 by 40; afterwards it is ended in order."""
    process, terminal = start(command, (COLUMNS, ROWS))
    try:
        yield terminal
    finally:
        process.terminate()
        read_until(terminal, lambda _: process.poll() is not None)
        os.close(terminal)


def read_until(terminal: int, done: Callable[[bytes], Any]) -> Any:
    """Read what the program writes until `done` of it is true; its value."""
    seen, ends_s = b"", time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_s:
        readable, _, _ = select.select([terminal], [], [], 0.2)
        if readable:
            try:
                seen = (seen + os.read(terminal, 1 << 16))[-(1 << 20) :]
            except OSError:
                # The program is gone; whoever waits for its end has to look again.
                time.sleep(0.01)
        if value := done(seen):
            return value
    raise SystemExit("The program did not get there in time.")
