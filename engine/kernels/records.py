"""The layout of the records that kernels read: a step of the program, and the batch of tokens that runs through it.

Both are rows of int64; addresses are those of buffers that the program keeps alive.
"""

from __future__ import annotations

STEP_FIELDS = 16
KERNEL, UNIT_KIND, UNITS, CHUNK_UNITS = 0, 1, 2, 3
"""Address of the kernel; how its units are counted; their number or divisor; the least units of a chunk."""
P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11 = range(4, 16)
"""A step's own parameters; each kernel names them."""

FIXED, PER_TOKEN, PER_OUTPUT, ATTENTION = 0, 1, 2, 3
"""Kinds of units: a fixed number (matrix panels); the batch's tokens; its output positions; attention's parts."""

BATCH_FIELDS = 16
N_TOKENS, POS, N_OUT, TOKENS, SCRATCH, SCRATCH_BYTES, THREADS, STEPS, N_STEPS = range(9)
"""The batch: how many tokens, the first one's position, how many of the last ones give logits, where their ids lie;
scratch memory and its size for each thread; the number of threads; the program's first step and their number."""

BLOCK_BYTES = 48
"""A block of 32 quantised activations: 32 int8, float32 scale, int32 sums of either half, float32 scale · sum."""
SCALE_AT, SUM_AT, SCALED_SUM_AT = 32, 36, 44
