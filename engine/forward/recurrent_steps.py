"""The steps of a layer without attention, and the buffers that all such layers share."""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.recurrence import Recurrence
from engine.architecture.selective import SelectiveScan
from engine.architecture.state_space import StateSpace
from engine.forward.program import Activations, Program, Rows
from engine.forward.recurrent_state import RecurrentState
from engine.forward.steps import add_per_token, add_products, add_quantizing
from engine.forward.weights import KimiDeltaWeights, RecurrentWeights, SelectiveWeights
from engine.kernels.records import FIXED
from engine.kernels.sizes import LANES
from engine.machine_code import address_of, step


class RecurrentBuffers:
    """What the delta nets of all layers work with, or the state spaces.

    queries: (key_heads · state_dim,); memory: what a token brings for the state, see kernels/recurrence.py. Of a
    selective scan, small: (small_rows,), and steps: (step_dim,), what time steps are made of. Of Kimi Delta Attention,
    keys that have decayed are behind queries; low: (state_dim,) each, what decays and gates are made of, in rows.
    """

    def __init__(self, p: Program, recurrence: Recurrence, rows: Rows) -> None:
        r = recurrence
        self.queries = p.floats(r.key_heads * r.state_dim + (r.dim if isinstance(r, KimiDelta) else 0))
        self.memory = p.floats(r.pending_stride // 4)
        if isinstance(r, SelectiveScan):
            self.small, self.steps = p.floats(r.small_rows), Activations(p, r.step_dim)
        if isinstance(r, KimiDelta):
            parts = (rows.behind(r.low_at), rows.behind(r.low_at + r.state_dim))
            self.low = [Activations(p, r.state_dim, floats=part) for part in parts]


CHANNELS_TOGETHER = 8 * LANES
"""Of one chunk of a selective scan."""


def recurrent_buffers(
    p: Program, config: ModelConfig, state: RecurrentState | None, rows: Rows
) -> RecurrentBuffers | None:
    """The buffers, where a model has more than convolutions; the state is kept with the program.

    rows: what layers make of their input first.
    """
    p.keep(state)
    has_states = config.recurrence is not None and config.recurrence.value_heads
    return RecurrentBuffers(p, config.recurrence, rows) if config.recurrence and has_states else None


def add_recurrence(
    p: Program,
    config: ModelConfig,
    weights: RecurrentWeights,
    index: int,
    state: RecurrentState,
    buffers: RecurrentBuffers | None,
    rows: Rows,
    out: Activations,
) -> None:
    """Steps: what layer index has instead of attention. rows: (recurrence.rows,), out: (recurrence.dim,) per token."""
    assert config.recurrence is not None
    r, record = config.recurrence, address_of(state.records[index])
    where = (*rows.where, record)
    results = out.floats.where
    if buffers is None:
        add_per_token(p, step("short_conv.gated_convolution"), *where, r.gate_at, *out.where)
        p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
        return
    brought = (*buffers.queries.where, *buffers.memory.where)
    if isinstance(r, SelectiveScan) and weights.selective is not None:
        _add_selective_scan(p, r, weights.selective, buffers, rows, record, brought, out)
        return
    if isinstance(r, StateSpace):
        _add_state_space(p, r, rows, record, brought, out)
        return
    if isinstance(r, KimiDelta) and weights.kimi is not None:
        _add_low_rank(p, r, weights.kimi, buffers.low, rows)
    add_per_token(p, step("delta_net.prepare"), *where, *_gate_places(r), *brought)
    p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
    parts = r.state_dim // LANES
    p.add(step("delta_net.run"), FIXED, r.value_heads * parts, parts, record, *brought, *results)
    gates = (rows.address + r.gate_at, rows.stride)
    add_per_token(p, step("delta_net.gate_answers"), *results, record, *gates, *out.quants.where)


def _add_low_rank(p: Program, r: KimiDelta, weights: KimiDeltaWeights, low: list[Activations], rows: Rows) -> None:
    """Steps: decays and gates of what they are made of, both in rows."""
    made = (rows.behind(r.made_at), rows.behind(r.made_at + r.dim))
    for x, matrix, y in zip(low, (weights.w_decays, weights.w_gates), made, strict=True):
        add_quantizing(p, x)
        add_products(p, [matrix], x, y)  # (dim,)


def _add_state_space(
    p: Program, r: StateSpace, rows: Rows, record: int, brought: tuple[int, int, int, int], out: Activations
) -> None:
    """Steps: the same of a state space. brought: where its buffers are."""
    where, results = (*rows.where, record), out.floats.where
    add_per_token(p, step("state_space.prepare"), *where, r.time_at, *brought, *results)
    p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
    parts = r.head_dim // LANES
    p.add(step("state_space.run"), FIXED, r.value_heads * parts, parts, record, *brought, *results)
    _add_gating(p, r, rows, record, out)


def _add_selective_scan(
    p: Program,
    r: SelectiveScan,
    weights: SelectiveWeights,
    buffers: RecurrentBuffers,
    rows: Rows,
    record: int,
    brought: tuple[int, int, int, int],
    out: Activations,
) -> None:
    """Steps: the same of a selective scan. Where the convolution's input was in rows, time steps are then."""
    where, results = (*rows.where, record), out.floats.where
    small, steps = buffers.small, buffers.steps
    add_per_token(p, step("selective_scan.mix"), *where, *out.where)
    p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
    add_products(p, [weights.w_small], out, small)  # (small_rows,)
    add_per_token(p, step("selective_scan.split"), *small.where, record, *brought, *steps.where)
    add_products(p, [weights.w_times], steps, rows)  # (value_heads,)
    timing = step("selective_scan.time_heads" if r.by_head else "selective_scan.time_channels")
    add_per_token(p, timing, *where, *results, *brought[2:])
    run = step("state_space.run" if r.by_head else "selective_scan.run")
    p.add(run, FIXED, r.dim // LANES, CHANNELS_TOGETHER // LANES, record, *brought, *results)
    _add_gating(p, r, rows, record, out)


def _add_gating(p: Program, r: StateSpace, rows: Rows, record: int, out: Activations) -> None:
    """A step: results times what their gates let through, normed where they are."""
    gates = (rows.address + r.gate_at, rows.stride)
    add_per_token(p, step("state_space.gate_results"), *out.floats.where, record, *gates, *out.quants.where)


def _gate_places(r: Recurrence) -> tuple[int, int, int, int]:
    """The bytes at which betas and decays begin, how many are side by side, and bytes from such a group to the next."""
    if isinstance(r, KimiDelta):
        return r.beta_at, 4 * r.made_at, r.value_heads, 0
    begin = r.gate_at + 4 * r.dim
    together = r.value_heads // r.key_heads if r.gates_by_key_head else r.value_heads
    return begin, begin + 4 * together, together, 2 * 4 * together
