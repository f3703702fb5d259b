"""`python -P -m engine.conversion`: one conversion. Its request is a line on stdin, its messages are lines on stdout.

The end of stdin, SIGTERM and SIGINT end it early; then nothing of the new file is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from engine.conversion.messages import (
    Conversion,
    ConversionFailed,
    ConversionNote,
    ConversionProgress,
    Converted,
    Message,
)
from engine.conversion.plan import plan_conversion
from engine.conversion.stopping import Stop, StoppedError
from engine.cores import default_threads
from engine.errors import EngineError
from engine.kernel_cache import use_kernel_cache
from engine.process.peak_memory import peak_rss_bytes
from engine.process.streams import take_wire

DONE, FAILED, STOPPED = 0, 1, 130

MOST_THREADS = 8
"""Unless more are asked for: some gigabytes a second, which no disk keeps up with, and memory for every thread."""

Tell = Callable[[Message], None]


def main() -> int:
    """Carry out the conversion that stdin asks for; returns the exit code."""
    requests, wire = take_wire()
    encoder = msgspec.json.Encoder()

    def tell(message: Message) -> None:
        wire.write(encoder.encode(message) + b"\n")
        wire.flush()

    conversion = msgspec.json.decode(requests.readline(), type=Conversion)
    stop = _stop_asked_by(requests)
    try:
        done = _convert(conversion, stop, tell)
    except BrokenPipeError:
        return STOPPED
    except EngineError as error:
        with contextlib.suppress(BrokenPipeError):
            tell(ConversionFailed(text=error.message, hint=error.hint))
        return STOPPED if isinstance(error, StoppedError) else FAILED
    # Whoever asked may be gone by now: the new file is there all the same.
    with contextlib.suppress(BrokenPipeError):
        tell(done)
    return DONE


def _stop_asked_by(requests: BinaryIO) -> Stop:
    """What signals and the end of stdin, which is the end of whoever started this, ask for."""
    stop = Stop()

    def watch() -> None:
        while requests.read(1):
            pass
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    threading.Thread(target=watch, name="stdin", daemon=True).start()
    return stop


def _convert(conversion: Conversion, stop: Stop, tell: Tell) -> Converted:
    started_s = time.monotonic()
    plan = plan_conversion(conversion)
    if plan.requantized:
        kinds = " and ".join(plan.requantized)
        tell(
            ConversionNote(text=f"The source has weights in {kinds}; what precision they have lost does not come back.")
        )
    tell(ConversionProgress(stage="compiling", done_bytes=0, total_bytes=plan.bytes_in))
    use_kernel_cache(conversion.cache_dir)

    from engine.conversion.run import run

    run(plan, conversion.threads or min(MOST_THREADS, default_threads()), stop, tell)
    return Converted(
        tensors=plan.n_tensors,
        bytes_in=plan.bytes_in,
        bytes_out=plan.layout.size,
        seconds=round(time.monotonic() - started_s, 3),
        peak_rss_mb=round(peak_rss_bytes(os.getpid()) / 1e6, 1),
    )


if __name__ == "__main__":
    sys.exit(main())
