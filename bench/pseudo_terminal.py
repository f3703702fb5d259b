"""A program in a pseudo-terminal of 120 by 40 that is read as fast as it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ROWS, COLUMNS = 40, 120
PATIENCE_S = 180.0


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    """Start a program and give its terminal; afterwards it is ended in order."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        yield terminal
    finally:
        os.kill(pid, signal.SIGTERM)
        read_until(terminal, lambda _: os.waitpid(pid, os.WNOHANG)[0] == pid)
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
