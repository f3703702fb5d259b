"""A system that gives no more than so many threads at once, as a container may."""

from __future__ import annotations

import threading

import pytest


def give_threads(monkeypatch: pytest.MonkeyPatch, n_threads: int) -> None:
    """Refuse to start more than n_threads besides those that are there."""
    start, others = threading.Thread.start, threading.active_count()

    def start_few(thread: threading.Thread) -> None:
        if threading.active_count() - others >= n_threads:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
