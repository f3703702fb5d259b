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
from queue import Queue
from typing import IO

from textual.drivers import linux_driver
from textual.drivers._writer_thread import WriterThread

LOOK_EVERY_S = 1.0
"""How often to look whether the terminal is still there: while nothing is drawn, nothing else would tell."""


class PatientWriter(WriterThread):
    """Queues without a limit, since a frame left out would garble the screen; a screen is drawn a few times a second.

    When the terminal is gone, the rest is thrown away, and the process gets the SIGHUP that it may have missed.
    """

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file)
        self._queue: Queue[str | None] = Queue()

    def run(self) -> None:
        """Write until the app ends, or the terminal does."""
        try:
            super().run()
        except OSError:
            os.kill(os.getpid(), signal.SIGHUP)
            while self._queue.get() is not None:
                pass


async def hung_up(descriptor: int) -> None:
    """Wait until the terminal behind a descriptor is gone, also where nobody sends a signal about it."""
    line = select.poll()
    line.register(descriptor, 0)
    while not line.poll(0):
        await asyncio.sleep(LOOK_EVERY_S)


def install() -> None:
    """Let Textual write through this from now on."""
    setattr(linux_driver, "WriterThread", PatientWriter)  # noqa: B010 - the driver does not export it
