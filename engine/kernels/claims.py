"""What a thread still has to do of its chunk, kept where the others see it, so that they can take it over.

The system may put a thread aside for milliseconds in the middle of a chunk, and everybody would wait for it. A kernel
that holds its units here computes some of them to its scratch memory, and writes them to where others read them only
while nobody can take them from it. Whoever waits takes over all that is not written yet; the thread that was put aside
then finds out before it writes, and leaves.

A claim's word has a serial number, which tells apart two claims of the same units, the phase, whether results are being
written, the next unit, and the end: both 0 where the kernel holds nothing.
"""

from __future__ import annotations

from engine.kernels.atomics import atomic_load, compare_and_swap, publish
from engine.kernels.jit import inner
from engine.kernels.memory import field, store_i64
from engine.kernels.records import CLAIM_BYTES, CLAIMS, MOST_UNITS, SERIAL, THREADS, UNIT_BITS, WORD

_PHASE_BITS = 12
_NEXT_AT = UNIT_BITS
_WRITING = 1 << (2 * UNIT_BITS)
_PHASE_AT = 2 * UNIT_BITS + 1
_SERIAL_AT = _PHASE_AT + _PHASE_BITS
_PHASE_MASK = (1 << _PHASE_BITS) - 1
"""Room for the units of any step, and for programs of four thousand steps; in later ones, nobody takes over."""

NOTHING, TAKEN = 0, -1
"""Words of a claim that holds nothing, and of one whose units somebody else has taken over."""


@inner
def claim_of(batch, thread):
    """Where a thread's claim lies."""
    return field(batch, CLAIMS) + CLAIM_BYTES * thread


@inner
def begin(claim, phase):
    """A kernel is going to be called for a phase."""
    serial = field(claim, SERIAL) + 1
    store_i64(claim + 8 * SERIAL, serial)
    publish(claim + 8 * WORD, serial << _SERIAL_AT | phase << _PHASE_AT)


@inner
def hold(claim, first, last):
    """Say which units this thread has; from now on others may take them. All else must have been read before."""
    publish(claim + 8 * WORD, field(claim, WORD) | first << _NEXT_AT | last)


@inner
def begin_writing(claim):
    """Keep others from taking the units; False if somebody has."""
    word = atomic_load(claim + 8 * WORD)
    return word != TAKEN and compare_and_swap(claim + 8 * WORD, word, word | _WRITING)


@inner
def finish_writing(claim, following):
    """All units before `following` are written; others may take the rest."""
    word = field(claim, WORD)
    publish(claim + 8 * WORD, word >> _PHASE_AT << _PHASE_AT | following << _NEXT_AT | end_unit(word))


@inner
def settle(claim):
    """Give up the claim; whether this thread itself has done its work."""
    word = atomic_load(claim + 8 * WORD)
    store_i64(claim + 8 * WORD, NOTHING)
    return word != TAKEN


@inner
def next_unit(word):
    """The first unit that is not written."""
    return (word >> _NEXT_AT) & MOST_UNITS


@inner
def end_unit(word):
    """The unit behind the last one."""
    return word & MOST_UNITS


@inner
def find_working(batch, phase, thread):
    """The claim of another thread that is at work for a phase, and its word; or 0."""
    for other in range(field(batch, THREADS)):
        if other != thread:
            word = atomic_load(claim_of(batch, other) + 8 * WORD)
            if word != TAKEN and word != NOTHING and (word >> _PHASE_AT) & _PHASE_MASK == phase:
                return claim_of(batch, other), word
    return 0, NOTHING


@inner
def take_over(claim, word):
    """Take what a claim's word says, unless that has changed, or nothing can be taken now."""
    is_open = word & _WRITING == 0 and next_unit(word) < end_unit(word)
    return is_open and compare_and_swap(claim + 8 * WORD, word, TAKEN)
