"""On which processor a thread runs, and how it leaves one that it shares with another of the team.

A system with more programs than processors may put two threads of the team on one, and another program on the other,
each processor as busy as it finds fair: the team then has one processor, and not one and a half.
"""

from __future__ import annotations

import sys
from typing import Any

from numba import types

from engine.kernels.claims import claim_of
from engine.kernels.jit import inner
from engine.kernels.memory import field, load_u8, store_i64
from engine.kernels.records import ALLOWED, CHOSEN, MASK_BYTES, PROCESSOR, THREADS

if sys.platform == "linux":
    _get_processor: Any = types.ExternalFunction("sched_getcpu", types.int32())
    _get_allowed: Any = types.ExternalFunction("sched_getaffinity", types.int32(types.int32, types.uint64, types.int64))
    _set_allowed: Any = types.ExternalFunction("sched_setaffinity", types.int32(types.int32, types.uint64, types.int64))

    @inner
    def note_processor(claim):
        """Write down where the calling thread runs, for the others."""
        store_i64(claim + 8 * PROCESSOR, _get_processor())

    @inner
    def is_here(claim):
        """Whether that thread was last seen on the processor that the calling one is on."""
        return field(claim, PROCESSOR) == _get_processor()

    @inner
    def move_away(batch, thread):
        """Go on on an allowed processor where no thread of the team was last seen; False if there is none."""
        claim = claim_of(batch, thread)
        allowed, chosen = claim + ALLOWED, claim + CHOSEN
        if _get_allowed(0, MASK_BYTES, allowed) < 0:
            return False
        for processor in range(8 * MASK_BYTES):
            if load_u8(allowed + processor // 8) >> (processor % 8) & 1 and not _is_taken(batch, processor):
                for i in range(MASK_BYTES // 8):
                    store_i64(chosen + 8 * i, (1 << (processor % 64)) if i == processor // 64 else 0)
                moved = _set_allowed(0, MASK_BYTES, chosen) == 0
                _set_allowed(0, MASK_BYTES, allowed)
                note_processor(claim)
                return moved
        return False

    @inner
    def _is_taken(batch, processor):
        for other in range(field(batch, THREADS)):
            if field(claim_of(batch, other), PROCESSOR) == processor:
                return True
        return False

else:

    @inner
    def note_processor(claim):
        """Nobody tells."""

    @inner
    def is_here(claim):
        """Nobody tells."""
        return False

    @inner
    def move_away(batch, thread):
        """Nobody can."""
        return False
