"""Threads to share work, as many as the system gives: a container may let a user have few."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)


def thread_pool(threads: int, name: str) -> ThreadPoolExecutor | None:
    """A pool of so many threads, or of those that the system gives, all of them started; None where it gives none."""
    while threads:
        pool, gate, started = ThreadPoolExecutor(threads, name), threading.Event(), 0
        try:
            # While all wait, each that is asked for is a new one.
            for _ in range(threads):
                pool.submit(gate.wait)
                started += 1
            return pool
        except RuntimeError as error:
            log.warning("Of %d threads, the system gives %d: %s", threads, started, error)
        finally:
            gate.set()
        pool.shutdown()
        threads = started
    return None
