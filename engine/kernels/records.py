"""The layout of the records that kernels read: a step, the batch of tokens that runs through it, and attention's shape.

All are rows of int64; addresses are those of buffers that the program keeps alive.
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
N_TOKENS, POS, N_OUT, TOKENS, SCRATCH, SCRATCH_BYTES, THREADS, STEPS, N_STEPS, CLAIMS = range(10)
"""The batch: how many tokens, the first one's position, how many of the last ones give logits, where their ids lie;
scratch memory and its size for each thread; the number of threads; the program's first step and their number; each
thread's claim."""

FEW_TOKENS = 8
"""Batches of up to so many tokens are taken like one token alone: weights are read once, unpacked as they come, and
attention is split over the cache. Larger ones unpack weights to tiles, and split attention over the tokens."""

BLOCK_BYTES = 48
"""A block of 32 quantised activations: 32 int8, float32 scale, int32 sums of either half, the whole sum as
float32."""
SCALE_AT, SUM_AT, FLOAT_SUM_AT = 32, 36, 44

WORD_BLOCK_BYTES = 68
"""A block of 32 activations as words: 32 int16 of up to 14 bits, float32 scale."""
WORD_SCALE_AT = 64

X_BLOCK_BYTES = {"floats": 4 * 32, "bytes": BLOCK_BYTES, "words": WORD_BLOCK_BYTES}
"""Bytes of a block of activations, by the form that a weight format reads."""

SHAPE_FIELDS = 20
(
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    HEAD_PAD,
    ROTARY_PAIRS,
    HALF_APART,
    Q_HEAD_BYTES,
    Q_ROW_BYTES,
    Q_SCALE,
    CAPACITY,
    CACHE,
    KEY_PAIR_BYTES,
    VALUES_AT,
    SCALES_AT,
    RANGE_BYTES,
    PARTIALS,
    NORMED_TURNED,
    UNIT_VALUES,
    KEYS_AS_VALUES,
    VALUE_DIM,
) = range(SHAPE_FIELDS)
"""The shape record of attention: heads; key-value heads; their width and the width padded to whole blocks; rotated
pairs, and whether a pair's parts lie half a head apart (NeoX) or side by side; bytes of a key-value head's part of the
query rows, and of one of them; the factor for queries (float32 bits). Then the cache (see cache_layout): positions
reserved, its address, bytes of two panels of keys, where a range's values and their scales begin, bytes of a range.
Then the address of partial results. Last, whether queries and keys are normed after they are turned, whether values are
normed, whether they are the keys' product, and how wide they are."""

STORED_BEFORE = -1
"""In place of the cache's layer: the layer reads keys and values that an earlier one has stored."""

SILU, GELU, CLAMPED, SQUARED_RELU, RELU, LIMITED = range(6)
"""Activations of the gated unit: CLAMPED is OpenAI's, which keeps both sides small and adds 1 to up; LIMITED is SILU of
both within a limit, which is in the upper half of the number (float32 bits)."""
ACTIVATION_MASK = (1 << 32) - 1

OUTPUTS_ONLY = 1 << 32
"""Added to a row's width: of a batch only the output positions count."""

CENTRED = 1 << 33
"""Added to a row's width: its mean is taken away before it is normed (LayerNorm), and a bias is added afterwards."""

BIASED = 1 << 34
"""Added to a row's width: its mean stays, but a bias is added after its norm."""

NORM_PARTS_AT = 40
"""From this bit on, a row's width has how many vectors of the row are normed by themselves, 0 for the whole row."""

CHUNK_BITS = 20
CHUNK_MASK = (1 << CHUNK_BITS) - 1
CLOSED = CHUNK_MASK
"""The phase number of a ticket when no run is open."""

UNIT_BITS = 18
MOST_UNITS = (1 << UNIT_BITS) - 1
"""What the number of a unit takes in a claim, and the most units of a step: a vocabulary of four million tokens."""

STATE_FIELDS = 64
TICKET, LEFT = 0, 16
"""The team's state, each on a cache line of its own: the ticket, and the phase's chunks that are not done yet."""

MASK_BYTES = 128
"""A set of processors, as the C library has it: a bit each."""

WORD, SERIAL, PROCESSOR = range(3)
ALLOWED, CHOSEN = 64, 64 + MASK_BYTES
CLAIM_BYTES = 64 + 2 * MASK_BYTES
"""A thread's claim, from a cache line on: its fields (see claims.py), and at so many bytes two sets of processors."""

PLAN_FIELDS = 3
PLAN_UNITS, PLAN_CHUNKS, PLAN_ROUNDS = range(PLAN_FIELDS)
"""The plan of a step for this batch: its units, its chunks, and how many rounds of one share a thread begin them."""
