"""The steps of a layer without attention, and the buffers that all such layers share."""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.architecture.recurrence import Recurrence
from engine.architecture.state_space import StateSpace
from engine.forward.program import Activations, Program, Rows
from engine.forward.recurrent_state import RecurrentState
from engine.forward.steps import ROWS_TOGETHER
from engine.kernels.records import FIXED, PER_TOKEN
from engine.kernels.recurrence import memory_floats, scan_floats
from engine.kernels.sizes import LANES
from engine.machine_code import step


class RecurrentBuffers:
    """What the delta nets of all layers work with, or the state spaces.

    queries: (key_heads · state_dim,); memory: what a token brings for the state, see kernels/recurrence.py.
    """

    def __init__(self, p: Program, recurrence: Recurrence) -> None:
        r = recurrence
        self.queries = p.floats(r.key_heads * r.state_dim)
        floats = memory_floats(r.key_heads, r.value_heads, r.state_dim)
        if isinstance(r, StateSpace):
            floats = scan_floats(r.key_heads, r.value_heads, r.head_dim, r.state_dim)
        self.memory = p.floats(floats)


def recurrent_buffers(p: Program, config: ModelConfig, state: RecurrentState | None) -> RecurrentBuffers | None:
    """The buffers, where a model has more than convolutions; the state is kept with the program."""
    p.keep(state)
    has_states = config.recurrence is not None and config.recurrence.value_heads
    return RecurrentBuffers(p, config.recurrence) if config.recurrence and has_states else None


def add_recurrence(
    p: Program,
    config: ModelConfig,
    index: int,
    state: RecurrentState,
    buffers: RecurrentBuffers | None,
    rows: Rows,
    out: Activations,
) -> None:
    """Steps: what layer index has instead of attention. rows: (recurrence.rows,), out: (recurrence.dim,) per token."""
    assert config.recurrence is not None
    r, record = config.recurrence, int(state.records[index].ctypes.data)
    where = (rows.address, rows.stride, record)
    results = (out.floats.address, out.floats.stride)
    quantized = (out.quants.address, out.quants.stride)
    if buffers is None:
        p.add(
            step("short_conv.gated_convolution"), PER_TOKEN, 0, ROWS_TOGETHER, *where, r.gate_at, *results, *quantized
        )
        p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
        return
    queries, memory = buffers.queries, buffers.memory
    brought = (queries.address, queries.stride, memory.address, memory.stride)
    if isinstance(r, StateSpace):
        _add_state_space(p, r, rows, record, brought, out)
        return
    p.add(step("delta_net.prepare"), PER_TOKEN, 0, ROWS_TOGETHER, *where, *_gate_places(r), *brought)
    p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
    parts = r.state_dim // LANES
    p.add(step("delta_net.run"), FIXED, r.value_heads * parts, parts, record, *brought, *results)
    gates = (rows.address + r.gate_at, rows.stride)
    p.add(step("delta_net.gate_answers"), PER_TOKEN, 0, ROWS_TOGETHER, *results, record, *gates, *quantized)


def _add_state_space(
    p: Program, r: StateSpace, rows: Rows, record: int, brought: tuple[int, int, int, int], out: Activations
) -> None:
    """Steps: the same of a state space. brought: where its buffers are."""
    where, results = (rows.address, rows.stride, record), (out.floats.address, out.floats.stride)
    p.add(step("state_space.prepare"), PER_TOKEN, 0, ROWS_TOGETHER, *where, r.time_at, *brought, *results)
    p.add(step("short_conv.keep_inputs"), FIXED, 1, 1, *where)
    parts = r.head_dim // LANES
    p.add(step("state_space.run"), FIXED, r.value_heads * parts, parts, record, *brought, *results)
    gates = (rows.address + r.gate_at, rows.stride)
    quantized = (out.quants.address, out.quants.stride)
    p.add(step("state_space.gate_results"), PER_TOKEN, 0, ROWS_TOGETHER, *results, record, *gates, *quantized)


def _gate_places(r: Recurrence) -> tuple[int, int, int, int]:
    """The bytes at which betas and decays begin, how many are side by side, and bytes from such a group to the next."""
    begin = r.gate_at + 4 * r.dim
    together = r.value_heads // r.key_heads if r.gates_by_key_head else r.value_heads
    return begin, begin + 4 * together, together, 2 * 4 * together
