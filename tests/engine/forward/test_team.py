"""The team gives every unit of work out once, whatever the numbers of units and threads."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pytest
from numba import types

from engine.forward.team import Team
from engine.kernels.atomics import atomic_add, atomic_load, pause
from engine.kernels.claims import begin_writing, claim_of, finish_writing, hold
from engine.kernels.memory import field, load_i64, store_i64
from engine.kernels.records import (
    BATCH_FIELDS,
    CHUNK_BITS,
    CHUNK_UNITS,
    CLOSED,
    FEW_TOKENS,
    FIXED,
    KERNEL,
    LEFT,
    N_STEPS,
    P0,
    P1,
    P2,
    PER_TOKEN,
    PLAN_CHUNKS,
    PLAN_FIELDS,
    STATE_FIELDS,
    STEP_FIELDS,
    TICKET,
    UNIT_KIND,
    UNITS,
)
from engine.kernels.team import CHUNKS_EACH, MOST_PANELS, finish

MOST_UNITS = 3000
COUNTS, CALLS = P0, P1


@numba.cfunc(types.void(*(types.int64,) * 5))
def count(step, batch, first, last, thread):
    """Add one to the count of every unit, and to the number of calls of this thread."""
    for unit in range(first, last):
        at = field(step, COUNTS) + 8 * unit
        store_i64(at, load_i64(at) + 1)
    at = field(step, CALLS) + 8 * thread
    store_i64(at, load_i64(at) + 1)


DONE, LATE, STOPPED = 0, 8, 16
LONG_ENOUGH = 100_000_000
"""Looks at a number, which take seconds: whoever waits in vain fails the test, and does not hang."""


@numba.cfunc(types.void(*(types.int64,) * 5))
def count_unless_taken_over(step, batch, first, last, thread):
    """As count, holding its units; the first thread is put aside in its first chunk until all units are counted."""
    numbers, claim = field(step, P2), claim_of(batch, thread)
    units = field(step, UNITS)
    hold(claim, first, last)
    if atomic_add(numbers + STOPPED, 1) == 0:
        for _ in range(LONG_ENOUGH):
            if atomic_load(numbers + DONE) == units:
                break
            pause()
        if begin_writing(claim):
            atomic_add(numbers + LATE, 1)
        return
    for unit in range(first, last):
        if not begin_writing(claim):
            return
        at = field(step, COUNTS) + 8 * unit
        store_i64(at, load_i64(at) + 1)
        finish_writing(claim, unit + 1)
        atomic_add(numbers + DONE, 1)


class Counted:
    """A program of one step that counts."""

    def __init__(self, kind: int, units: int, least: int, threads: int, kernel: int = count.address) -> None:
        self.counts = np.zeros(MOST_UNITS, np.int64)
        self.calls = np.zeros(threads, np.int64)
        self.numbers = np.zeros(3, np.int64)
        table = np.zeros((1, STEP_FIELDS), np.int64)
        table[0, [KERNEL, UNIT_KIND, UNITS, CHUNK_UNITS]] = kernel, kind, units, least
        table[0, [COUNTS, CALLS, P2]] = [a.ctypes.data for a in (self.counts, self.calls, self.numbers)]
        self.team = Team(table, threads, 0)

    def run(self, n_tokens: int) -> None:
        self.team.run(np.zeros(n_tokens, np.int64), 0, 1)


@pytest.fixture(params=[1, 2, 3, 7])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


@pytest.mark.parametrize("units", [1, 2, 5, 64, 257, 3000])
@pytest.mark.parametrize("least", [1, 3, 50])
@pytest.mark.parametrize("n_tokens", [1, FEW_TOKENS, FEW_TOKENS + 1])
def test_every_unit_is_done_once(units: int, least: int, n_tokens: int, threads: int) -> None:
    counted = Counted(FIXED, units, least, threads)
    counted.run(n_tokens)
    counted.team.close()
    assert counted.counts.tolist() == [1] * units + [0] * (MOST_UNITS - units)


def test_a_few_tokens_get_large_shares_and_a_prompt_chunks_of_some_panels() -> None:
    counted = Counted(FIXED, MOST_UNITS, 1, 2)
    counted.run(FEW_TOKENS)
    assert counted.calls.sum() < 30
    counted.calls[:] = 0
    counted.run(FEW_TOKENS + 1)
    counted.team.close()
    assert counted.calls.sum() == MOST_UNITS // MOST_PANELS


def test_a_prompt_leaves_every_thread_some_chunks() -> None:
    counted = Counted(FIXED, 32, 1, 2)
    counted.run(FEW_TOKENS + 1)
    counted.team.close()
    assert counted.calls.sum() == 2 * CHUNKS_EACH


def test_tokens_are_units_too() -> None:
    counted = Counted(PER_TOKEN, 0, 4, 2)
    counted.run(37)
    counted.team.close()
    assert counted.counts.sum() == 37
    assert counted.calls.sum() == 10


@pytest.mark.parametrize("units", [2, 64, 257])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_whoever_waits_takes_over_from_a_thread_that_was_put_aside(units: int, threads: int) -> None:
    counted = Counted(FIXED, units, 1, threads, count_unless_taken_over.address)
    counted.run(1)
    counted.team.close()
    assert counted.counts[:units].tolist() == [1] * units
    assert counted.numbers[LATE // 8] == 0


@numba.cfunc(types.void(*(types.int64,) * 5))
def finish_chunk(state, plan, batch, ticket, thread):
    """As a thread does after a chunk."""
    finish(state, plan, batch, ticket, thread)


@pytest.mark.parametrize("chunks_of_next_run", [1, 2, 3])
def test_who_counts_its_chunk_last_but_one_does_not_look_at_the_plan(chunks_of_next_run: int) -> None:
    """A thread may be put aside when it has counted, and the plan be that of another run when it goes on."""
    state, plan, batch = (np.zeros(n, np.int64) for n in (STATE_FIELDS, PLAN_FIELDS, BATCH_FIELDS))
    records = [int(each.ctypes.data) for each in (state, plan, batch)]
    run = 7 << 2 * CHUNK_BITS
    state[TICKET], state[LEFT] = run, 2
    plan[PLAN_CHUNKS], batch[N_STEPS] = chunks_of_next_run, 1
    finish_chunk.ctypes(*records, run, 0)
    assert state[TICKET] == run
    finish_chunk.ctypes(*records, run, 0)
    assert state[TICKET] == run | CLOSED << CHUNK_BITS
