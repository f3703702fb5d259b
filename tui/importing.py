"""Ctrl+C while modules are imported: the end of the process, at once and without a word.

A KeyboardInterrupt there is a traceback, if nobody is there yet to catch it, or whatever the module makes of it whose
code it falls into: msgspec crashes where it comes while a decoder is made.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """End the process on Ctrl+C inside; where something else than Python's own handler awaits the signal, leave it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
