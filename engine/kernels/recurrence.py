"""The record of a layer with a state of fixed size instead of a cache of all positions. Nothing here needs Numba."""

from __future__ import annotations

from engine.kernels.records import FEW_TOKENS
from engine.kernels.sizes import LANES

RECURRENCE_FIELDS = 31
(
    PROGRESS,
    TAPS,
    TAP_WEIGHTS,
    CHANNELS,
    SOURCE_AT,
    FACTOR_AT,
    HISTORY,
    HISTORY_STRIDE,
    HISTORY_ROWS,
    KEY_HEADS,
    VALUE_HEADS,
    STATE_DIM,
    KEYS_IN_TURN,
    STATES,
    PENDING,
    PENDING_STRIDE,
    TIME_BIAS,
    TIME_SCALE,
    HEAD_NORM,
    NORM_EPS,
    HEAD_DIM,
    TAP_BIAS,
    SKIPS,
    DECAYS_AT,
    SIGMOID_GATES,
    WRITTEN_AT,
    WRITTEN_NORM,
    READ_NORM,
    STEP_AT,
    STEP_DIM,
    STEP_NORM,
) = range(RECURRENCE_FIELDS)
"""Where the position of the state lies, one int64 for all layers. The convolution: its width, its weights (width,
channels), its channels, at which byte of a row its input begins, and at which byte what that is multiplied by first
(-1: nothing); its latest inputs, a ring of rows, one for a position modulo their number.
A delta net has more: heads of keys (and queries) and of values, the width of both; whether value heads take key heads
in turn, or as many neighbours as there are share one; the states, those of 16 columns of values together (value heads,
STATE_DIM / 16, STATE_DIM, 16); rows of what the state does not hold yet, a ring of PENDING_ROWS; what is added to the
time step of each value head and multiplied by it; the weight of the norm of a head's results, and its epsilon (float32
bits). Where each number of a key has a decay of its own (Kimi Delta Attention), DECAYS_AT is the byte at which those of
all value heads begin in what a token brings (0: heads have one), and TIME_BIAS is for each of them, too; SIGMOID_GATES:
results are multiplied by their gates' sigmoid, not by SiLU.
A state space (Mamba-2) has its heads where those of values are, in HEAD_DIM their width, and where those of keys are
the groups that have what is written and read in common; STATE_DIM is the width of that, and a state (heads,
HEAD_DIM / 16, STATE_DIM, 16). TIME_BIAS and TIME_SCALE are as above, and so is HEAD_NORM, a weight for each number (0:
no norm). Then what is added to the convolution's sums (0: nothing), and what of its input each head adds to its
results.
A selective scan (Mamba-1) has a head of one number for each channel, and TIME_SCALE for each number of its state, in
the order of the states, (heads / 16, STATE_DIM, 16). Of the small product that what is written and read is made of:
the byte of a row at which what is written begins, what is read being behind it, and the weights of their norms (0: no
norm); the byte at which what time steps are made of begins, its width, and its norm's weight."""

PENDING_ROWS = 2 * FEW_TOKENS
"""Positions that are kept while those behind them are computed: a few of either."""


def history_rows(taps: int) -> int:
    """Positions whose inputs a convolution of that width needs, when it goes on from any of the last FEW_TOKENS."""
    return taps - 1 + FEW_TOKENS


GATES = 3
DECAY, BETA, MATCH = range(GATES)
"""What a delta net knows of each value head of a token: by what its state is multiplied, which share of what is new is
taken in, and the product of its key and query."""


def decays_at(key_heads: int, value_heads: int, state_dim: int) -> int:
    """Where the decays of each number lie in what one token brings for the state of such a delta net, in float32."""
    return -(-memory_floats(key_heads, value_heads, state_dim) // LANES) * LANES


def memory_floats(key_heads: int, value_heads: int, state_dim: int) -> int:
    """float32 of what one token brings for the state: keys, values (then what they change), gates."""
    return (key_heads + value_heads) * state_dim + GATES * value_heads


def scan_floats(groups: int, heads: int, head_dim: int, state_dim: int) -> int:
    """float32 of what one token brings for the state of a state space: what is written where, and each head's decay."""
    return groups * state_dim + heads * head_dim + heads


def channel_floats(channels: int, state_dim: int) -> int:
    """float32 of what one token brings for a selective scan: what is written, and each channel's value and time."""
    return state_dim + 2 * channels
