"""A thread leaves the processor that it shares with another of its team, and may run anywhere afterwards."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from numba import types

from engine.kernels.processors import is_here, move_away, note_processor
from engine.kernels.records import BATCH_FIELDS, CLAIM_BYTES, CLAIMS, PROCESSOR, THREADS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads stay where the system puts them")

NOWHERE = -1


@numba.cfunc(types.int64(types.int64, types.int64))
def leave(batch, thread):
    return move_away(batch, thread)


@numba.cfunc(types.int64(types.int64))
def note_and_ask(claim):
    note_processor(claim)
    return is_here(claim)


class Crew:
    """The claims of some threads, each last seen on a processor."""

    def __init__(self, seen_on: list[int]) -> None:
        self.claims = np.zeros((len(seen_on), CLAIM_BYTES // 8), np.int64)
        self.claims[:, PROCESSOR] = seen_on
        self.batch = np.zeros(BATCH_FIELDS, np.int64)
        self.batch[[CLAIMS, THREADS]] = self.claims.ctypes.data, len(seen_on)

    def leave(self, thread: int) -> bool:
        """Call it on a thread of its own, and look at where that may run."""
        before = os.sched_getaffinity(0)
        left = bool(leave.ctypes(self.batch.ctypes.data, thread))
        assert os.sched_getaffinity(0) == before
        return left

    def place(self, thread: int) -> int:
        return int(self.claims[thread, PROCESSOR])


def on_a_thread(function, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def test_a_thread_knows_where_it_is() -> None:
    crew = Crew([NOWHERE])
    assert on_a_thread(note_and_ask.ctypes, crew.claims.ctypes.data)
    assert crew.place(0) in os.sched_getaffinity(0)


def test_it_goes_where_nobody_of_the_team_is() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one processor")
    crew = Crew([*allowed[:-1], allowed[0]])
    assert on_a_thread(crew.leave, len(allowed) - 1)
    assert crew.place(len(allowed) - 1) in allowed


def test_it_stays_where_every_processor_has_a_thread() -> None:
    crew = Crew(sorted(os.sched_getaffinity(0)))
    before = crew.claims.copy()
    assert not on_a_thread(crew.leave, 0)
    assert crew.claims[:, PROCESSOR].tolist() == before[:, PROCESSOR].tolist()


def test_it_goes_only_where_it_may() -> None:
    def pinned() -> tuple[bool, set[int]]:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return Crew([min(os.sched_getaffinity(0))] * 2).leave(1), os.sched_getaffinity(0)

    left, allowed = on_a_thread(pinned)
    assert not left
    assert len(allowed) == 1
