"""A team of threads that runs a program of steps, and that no sleeping thread can hold up.

One 64-bit ticket holds (run, phase, next chunk). A thread claims a chunk by compare-and-swap, so a claim for a phase
that is over fails. Who finishes a phase's last chunk runs the steps of a single chunk that follow, and opens the next
phase; a thread that was asleep meanwhile joins whatever phase is open when it wakes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import claims
from engine.kernels.atomics import atomic_add, atomic_load, atomic_store, compare_and_swap, pause
from engine.kernels.emit import I64, Emit
from engine.kernels.jit import exported, inner
from engine.kernels.memory import field, store_i64
from engine.kernels.processors import is_here, move_away, note_processor
from engine.kernels.records import (
    ATTENTION,
    CHUNK_BITS,
    CHUNK_MASK,
    CHUNK_UNITS,
    CLOSED,
    FEW_TOKENS,
    FIXED,
    HEADS,
    KERNEL,
    KV_HEADS,
    LEFT,
    N_OUT,
    N_STEPS,
    N_TOKENS,
    P3,
    PER_OUTPUT,
    PER_TOKEN,
    PLAN_CHUNKS,
    PLAN_FIELDS,
    PLAN_ROUNDS,
    PLAN_UNITS,
    POS,
    STEP_FIELDS,
    STEPS,
    THREADS,
    TICKET,
    UNIT_KIND,
    UNITS,
)
from engine.kernels.simd import emitted
from engine.kernels.sizes import RANGE, ROWS_BLOCK

MOST_PANELS, MOST_ROWS, CHUNKS_EACH = 8, 16, 8
"""Panels of a chunk of a prompt's product, and tokens of one between the products, as long as that leaves every thread
so many chunks."""

PAUSES, YIELDS, NAPS = 2000, 200, 100
"""How long an idle thread looks for work before it goes to sleep: busy first, then giving way to other programs, then
with naps. Whoever it waits for then has most likely been put aside for another program: on the core that a nap leaves
free, the system lets it go on at once."""

PATIENCE = 800
"""After so many looks for work, an idle thread helps another one that has not got any further since the time before.
Some microseconds: longer than a thread takes from one result to the next."""

NAP_US = 5
"""As short as the system has them: it makes 50 of these 5."""

sched_yield = types.ExternalFunction("sched_yield", types.int32())
usleep: Any = types.ExternalFunction("usleep", types.int32(types.uint32))


@emitted(lambda address, step, batch, first, last, thread: types.void(*(types.int64,) * 6))
def call_kernel(
    e: Emit,
    _types: Any,
    address: ir.Value,
    step: ir.Value,
    batch: ir.Value,
    first: ir.Value,
    last: ir.Value,
    thread: ir.Value,
) -> None:
    """Call a kernel by its address."""
    kind = ir.FunctionType(ir.VoidType(), [I64] * 5)
    e.b.call(e.b.inttoptr(address, kind.as_pointer()), [step, batch, first, last, thread])


@inner
def count_units(step, batch):
    """How many independent units of work a step has for this batch."""
    kind, units = field(step, UNIT_KIND), field(step, UNITS)
    n = field(batch, N_TOKENS)
    if kind == FIXED:
        return units
    if kind == PER_TOKEN:
        return n
    if kind == PER_OUTPUT:
        return field(batch, N_OUT)
    shape = field(step, P3)
    kv_heads = field(shape, KV_HEADS)
    if n <= FEW_TOKENS:
        return kv_heads * ((field(batch, POS) + n + RANGE - 1) // RANGE)
    return kv_heads * ((n * (field(shape, HEADS) // kv_heads) + ROWS_BLOCK - 1) // ROWS_BLOCK)


@inner
def halvings(units, least, threads):
    """How many rounds of ever smaller shares a step's units are given out in before its smallest chunks."""
    rounds = 0
    while (units >> (rounds + 1)) >= least * threads:
        rounds += 1
    return rounds


@inner
def make_plan(plan, batch):
    """Write each step's units, chunks and rounds.

    A few tokens read more than they compute, and memory gives most to who reads on where it was: so in each round every
    thread gets one share, together half of what is left, and only the end goes out in small chunks, for all to finish
    together. Prompts compute more than they read; small chunks keep what they write in the cache, but those of some
    panels read their activations once for all of them, and neighbouring tokens would share what two threads write.
    """
    threads = field(batch, THREADS)
    for i in range(field(batch, N_STEPS)):
        step = field(batch, STEPS) + i * STEP_FIELDS * 8
        units = count_units(step, batch)
        least = max(1, field(step, CHUNK_UNITS))
        rounds = 0
        kind = field(step, UNIT_KIND)
        if field(batch, N_TOKENS) <= FEW_TOKENS and (kind == FIXED or kind == ATTENTION):
            rounds = halvings(units, least, threads)
        elif kind == FIXED:
            least = max(least, min(MOST_PANELS, units // (threads * CHUNKS_EACH)))
        elif kind == PER_TOKEN:
            least = max(least, min(MOST_ROWS, units // (threads * CHUNKS_EACH)))
        chunks = rounds * threads + max(1, ((units >> rounds) + least - 1) // least)
        entry = plan + 8 * PLAN_FIELDS * i
        store_i64(entry + 8 * PLAN_UNITS, units)
        store_i64(entry + 8 * PLAN_CHUNKS, min(chunks, CHUNK_MASK - 1))
        store_i64(entry + 8 * PLAN_ROUNDS, rounds)


@inner
def chunks_of(plan, phase):
    """How many chunks a step has."""
    return field(plan, PLAN_FIELDS * phase + PLAN_CHUNKS)


@inner
def run_units(batch, phase, first, last, thread):
    """Some units of one step; False if another thread has taken over what was left of them."""
    step = field(batch, STEPS) + phase * STEP_FIELDS * 8
    claim = claims.claim_of(batch, thread)
    note_processor(claim)
    claims.begin(claim, phase)
    call_kernel(field(step, KERNEL), step, batch, first, last, thread)
    return claims.settle(claim)


@inner
def run_chunk(plan, batch, phase, chunk, thread):
    """One chunk of one step; False as run_units."""
    threads, rounds = field(batch, THREADS), field(plan, PLAN_FIELDS * phase + PLAN_ROUNDS)
    units, parts = field(plan, PLAN_FIELDS * phase + PLAN_UNITS), chunks_of(plan, phase) - rounds * threads
    past, left, part = rounds, units >> rounds, chunk - rounds * threads
    if part < 0:
        past, part, parts = chunk // threads, chunk % threads, threads
        left = (units >> past) - (units >> (past + 1))
    begin = units - (units >> past)
    return run_units(batch, phase, begin + left * part // parts, begin + left * (part + 1) // parts, thread)


@inner
def advance(state, plan, batch, run, phase, thread):
    """Run the single-chunk steps from `phase` on, then open the next phase, or close the run."""
    n_steps = field(batch, N_STEPS)
    while phase < n_steps and chunks_of(plan, phase) == 1:
        run_chunk(plan, batch, phase, 0, thread)
        phase += 1
    if phase == n_steps:
        phase = CLOSED
    else:
        atomic_store(state + 8 * LEFT, chunks_of(plan, phase))
    atomic_store(state + 8 * TICKET, ((run << CHUNK_BITS) | phase) << CHUNK_BITS)


@inner
def finish(state, plan, batch, ticket, thread):
    """Count a chunk of a ticket's phase as done; whoever was the last one goes on to the next phase.

    Nobody waits for the others once they have counted: what they look at by then may be another run's.
    """
    if atomic_add(state + 8 * LEFT, -1) == 1:
        phase = (ticket >> CHUNK_BITS) & CHUNK_MASK
        advance(state, plan, batch, ticket >> (2 * CHUNK_BITS), phase + 1, thread)


@inner
def help_out(state, plan, batch, ticket, seen, thread):
    """Look after another thread that is at work, and got no further since `seen` was said of it.

    Leave the processor to it if it waits for this one; else take over what is left of its chunk. Returns what is to be
    said of it, and whether anything could be done.
    """
    phase = (ticket >> CHUNK_BITS) & CHUNK_MASK
    claim, word = claims.find_working(batch, phase, thread)
    same_phase = atomic_load(state + 8 * TICKET) >> CHUNK_BITS == ticket >> CHUNK_BITS
    if claim == 0 or word != seen or not same_phase:
        return word, False
    if is_here(claim) and move_away(batch, thread):
        return word, True
    if not claims.take_over(claim, word):
        return word, False
    if run_units(batch, phase, claims.next_unit(word), claims.end_unit(word), thread):
        finish(state, plan, batch, ticket, thread)
    return claims.NOTHING, True


@inner
def wait(idle):
    """Wait a moment before looking for work again, after so many looks in vain."""
    if idle < PAUSES:
        pause()
    elif idle < PAUSES + YIELDS:
        sched_yield()
    else:
        usleep(NAP_US)


@inner
def work(state, plan, batch, thread, leader):
    """Claim and run chunks: the leader until the run is closed, the others until nothing was to do for long."""
    idle, seen = 0, claims.NOTHING
    while True:
        ticket = atomic_load(state + 8 * TICKET)
        phase = (ticket >> CHUNK_BITS) & CHUNK_MASK
        chunk = ticket & CHUNK_MASK
        if phase == CLOSED:
            if leader:
                return
        elif chunk < chunks_of(plan, phase):
            if compare_and_swap(state + 8 * TICKET, ticket, ticket + 1):
                idle = 0
                if run_chunk(plan, batch, phase, chunk, thread):
                    finish(state, plan, batch, ticket, thread)
            continue
        elif idle >= PAUSES or idle % PATIENCE == PATIENCE - 1:
            seen, helped = help_out(state, plan, batch, ticket, seen, thread)
            if helped:
                idle = 0
                continue
        wait(idle)
        idle += 1
        if idle == PAUSES + YIELDS + NAPS and not leader:
            return


@exported
def lead(state, plan, batch, run):
    """Run the whole program once, together with whoever follows."""
    make_plan(plan, batch)
    advance(state, plan, batch, run, 0, 0)
    work(state, plan, batch, 0, True)


@exported
def follow(state, plan, batch, thread):
    """Help with every run that is opened, until there was none for a while."""
    work(state, plan, batch, thread, False)
