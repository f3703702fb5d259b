"""A terminal that may be slow, stalled or gone, and never holds up the app.

Textual's own writer blocks the event loop when the terminal does not keep up, and dies with the terminal, after which
the loop waits for ever. This one takes whatever comes, and tells when the terminal is gone.

This is the one file that reaches into how Textual writes.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Callable
from io import TextIOWrapper
from queue import Queue
from typing import IO

from textual.drivers import linux_driver
from textual.drivers._writer_thread import WriterThread

LOOK_EVERY_S = 1.0
"""How often to look whether the terminal is still there: while nothing is drawn, nothing else would tell."""


RESET = "\x1b[0m"


class PatientWriter(WriterThread):
    """Queues without a limit, and tells whether the terminal has taken all: who draws can wait for that.

    When the terminal is gone, the rest is thrown away, and the process gets the SIGHUP that it may have missed.
    """

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file)
        # A locale of another encoding is the machine's, seldom the terminal's; keys are read as UTF-8 in any case.
        if isinstance(file, TextIOWrapper):
            file.reconfigure(encoding="utf-8")
        self._queue: Queue[str | None] = Queue()
        self._lock = threading.Lock()
        self._n_waiting = 0
        self._when_idle: Callable[[], None] | None = None

    def write(self, text: str) -> None:
        """Have a text written."""
        with self._lock:
            self._n_waiting += 1
        self._queue.put(text)

    def is_idle(self, when_idle: Callable[[], None]) -> bool:
        """Whether the terminal has taken all; if not, when_idle is called once it has, on the writer's thread."""
        with self._lock:
            self._when_idle = when_idle if self._n_waiting else None
            return not self._n_waiting

    def stop(self) -> None:
        """End once all is written, with the colours that the terminal had."""
        self.write(RESET)
        super().stop()

    def run(self) -> None:
        """Write until the app ends, or the terminal does."""
        try:
            while (text := self._queue.get()) is not None:
                self._file.write(text)
                if self._queue.empty():
                    self._file.flush()
                self._written()
            self._file.flush()
        except OSError:
            os.kill(os.getpid(), signal.SIGHUP)
            while self._queue.get() is not None:
                pass

    def _written(self) -> None:
        with self._lock:
            self._n_waiting -= 1
            when_idle = None if self._n_waiting else self._when_idle
            if when_idle is not None:
                self._when_idle = None
        if when_idle is not None:
            when_idle()


def is_hung_up(descriptor: int) -> bool:
    """Whether the terminal behind a descriptor is gone."""
    line = select.poll()
    line.register(descriptor, 0)
    return bool(line.poll(0))


async def hung_up(descriptor: int) -> None:
    """Wait until the terminal behind a descriptor is gone, also where nobody sends a signal about it."""
    while not is_hung_up(descriptor):
        await asyncio.sleep(LOOK_EVERY_S)


def install() -> None:
    """Let Textual write through this from now on."""
    setattr(linux_driver, "WriterThread", PatientWriter)  # noqa: B010 - the driver does not export it
