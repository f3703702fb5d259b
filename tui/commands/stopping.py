"""Long commands that are stopped: Ctrl-C and SIGTERM end them in order, and what is left is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from tui.commands.output import say


@contextmanager
def stoppable(left: Callable[[], str]) -> Iterator[None]:
    """End what happens inside on Ctrl-C or SIGTERM, say in one line what is left, and exit as interrupted."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        say(left())
        raise click.Abort from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
