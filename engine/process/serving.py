"""The engine's process: its main thread from the first command to the end, whatever that comes from.

The main thread does nothing but read, so that the end of stdin (the app is gone) and SIGTERM are noticed in the middle
of any computation.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from engine.kernel_cache import clear_temporary, use_kernel_cache
from engine.process.wire import Wire
from engine.process.worker import OpenModel, Worker
from engine.protocol import Load
from engine.reports import ReportStage

if TYPE_CHECKING:
    from engine.model import LanguageModel

TERMINATING = (signal.SIGTERM, signal.SIGINT)


class _TerminatedError(BaseException):
    """A signal asks the process to end; raised in the main thread."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def open_model(command: Load, report: ReportStage) -> LanguageModel:
    """Import what computes, and load."""
    use_kernel_cache(command.cache_dir)
    from engine import loading

    return loading.load(command, report)


def import_what_computes() -> None:
    """Import what every model needs, while the app is still deciding which one to open."""
    from engine import loading  # noqa: F401
    from engine.answers import generation  # noqa: F401

    gc.freeze()  # modules stay until the end: no collection need look at them again


def serve(
    commands: BinaryIO,
    wire: BinaryIO,
    open_model: OpenModel = open_model,
    prepare: Callable[[], None] = import_what_computes,
) -> NoReturn:
    """Be the engine until the end of `commands`, Shutdown or a signal; then the process ends, whatever it is doing."""
    # A log that cannot be written is no reason to write about that, in the log.
    logging.raiseExceptions = False
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    worker = Worker(Wire(wire), open_model, prepare)
    ended_by = None
    try:
        for number in TERMINATING:
            signal.signal(number, _terminate)
        worker.start()
        worker.read(commands)
        _leave_signals()
    except _TerminatedError as termination:
        ended_by = termination.number
    worker.finish()
    clear_temporary()
    if ended_by is not None:
        os.kill(os.getpid(), ended_by)
    # Not sys.exit: it would wait for a thread in a kernel, and run finalizers while others still compute.
    os._exit(0)


def _terminate(number: int, _frame: object) -> NoReturn:
    # A second one, however soon it comes, ends the process at once.
    _leave_signals()
    raise _TerminatedError(number)


def _leave_signals() -> None:
    for number in TERMINATING:
        signal.signal(number, signal.SIG_DFL)
