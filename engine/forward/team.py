"""Threads that run programs together, and sleep between answers."""

from __future__ import annotations

import threading
from struct import Struct

import numpy as np

from engine.errors import EngineError
from engine.forward.program import LINE_BYTES, aligned_zeros
from engine.kernels.records import (
    BATCH_FIELDS,
    CHUNK_BITS,
    CLAIM_BYTES,
    CLAIMS,
    CLOSED,
    N_STEPS,
    N_TOKENS,
    PLAN_FIELDS,
    SCRATCH,
    SCRATCH_BYTES,
    STATE_FIELDS,
    STEPS,
    THREADS,
    TICKET,
)
from engine.machine_code import function, prepare

_GIVEN = Struct("=4q")
"""What a run is given of its batch: N_TOKENS, POS, N_OUT and TOKENS, which follow each other."""

LEAD = function("team.lead", "void", *("int64",) * 4)
FOLLOW = function("team.follow", "void", *("int64",) * 4)
FUNCTIONS = (LEAD, FOLLOW)


class Team:
    """A leader (whoever calls `run`) and threads - 1 followers."""

    def __init__(self, table: np.ndarray, threads: int, scratch_bytes: int) -> None:
        prepare(FUNCTIONS, lambda done, total, name: None)
        self.threads = threads
        self._state = np.zeros(STATE_FIELDS, np.int64)
        self._plan = np.zeros(PLAN_FIELDS * len(table), np.int64)
        self._table = np.ascontiguousarray(table)
        each = -(-scratch_bytes // LINE_BYTES) * LINE_BYTES
        self._scratch = aligned_zeros(threads * each).reshape(threads, each)
        self._batch = np.zeros(BATCH_FIELDS, np.int64)
        self._batch[[STEPS, N_STEPS, THREADS]] = self._table.ctypes.data, len(table), threads
        self._batch[[SCRATCH, SCRATCH_BYTES]] = self._scratch.ctypes.data, self._scratch.strides[0]
        self._claims = aligned_zeros(threads * CLAIM_BYTES)
        self._batch[CLAIMS] = self._claims.ctypes.data
        self._arguments = tuple(int(a.ctypes.data) for a in (self._state, self._plan, self._batch))
        self._runs = 0
        self._running = self._closing = False
        self._asleep = 0
        self._wake = threading.Condition()
        self._state[TICKET] = CLOSED << CHUNK_BITS
        self._followers: list[threading.Thread] = []
        self._start_followers()

    def _start_followers(self) -> None:
        """Raises EngineError where the system gives no more threads; those that it gave end then."""
        try:
            for number in range(1, self.threads):
                thread = threading.Thread(target=self._follow, args=(number,), name=f"team-{number}", daemon=True)
                thread.start()
                self._followers.append(thread)
        except RuntimeError as error:
            self.close()
            raise EngineError(
                f"The system refuses to start {self.threads} threads.",
                "Ask for fewer, in the settings or by --threads.",
            ) from error

    def run(self, tokens: np.ndarray, pos: int, n_out: int) -> None:
        """Run the program for a batch: int64 token ids at positions pos…, logits for the last n_out of them."""
        _GIVEN.pack_into(self._batch.data, 8 * N_TOKENS, tokens.size, pos, n_out, tokens.ctypes.data)
        self._runs += 1
        self._running = True
        try:
            if self._asleep:
                with self._wake:
                    self._wake.notify_all()
            LEAD(*self._arguments, self._runs)
        finally:
            self._running = False

    def _follow(self, number: int) -> None:
        while not self._closing:
            FOLLOW(*self._arguments, number)
            with self._wake:
                self._asleep += 1
                while not self._running and not self._closing:
                    self._wake.wait()
                self._asleep -= 1

    def close(self) -> None:
        """End the followers; no run may be going on."""
        self._closing = True
        with self._wake:
            self._wake.notify_all()
        for thread in self._followers:
            thread.join()
