"""The engine's way out: events, one a line, from any thread."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

from engine.errors import EngineError
from engine.protocol import AnyEvent
from engine.protocol.lines import MAX_LINE_BYTES, event_encoder


class Wire:
    """Writes events, one a line, from any thread. When nobody reads them any more, the process has no reason to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def emit(self, event: AnyEvent) -> None:
        """Write and flush one event. EngineError if it is longer than the other side takes."""
        line = event_encoder.encode(event) + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise EngineError(f"The answer to this has more than {MAX_LINE_BYTES >> 20} MB.", "Ask for less at a time.")
        try:
            with self._lock:
                self._file.write(line)
                self._file.flush()
        except (OSError, ValueError):
            os._exit(0)
