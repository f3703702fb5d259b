"""The tensors of a layer without attention, under the names that GGUF has for them."""

from __future__ import annotations

from collections.abc import Iterator

from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.recurrence import Recurrence
from engine.architecture.selective import SelectiveScan
from engine.architecture.state_space import StateSpace

STEPS_AND_GROUPS = "ssm_x"
"""What makes time steps, what is written and what is read of the convolution's results, in a selective scan."""

TIME_STEPS = "ssm_dt"
"""What makes each channel's time step of the first of these."""

STEP_NORMS = ("ssm_dt_norm", "ssm_b_norm", "ssm_c_norm")
"""What norms these three."""


LOW_RANK = (("ssm_f_a", "ssm_f_b"), ("ssm_g_a", "ssm_g_b"))
"""What makes decays, and gates, in Kimi Delta Attention: each a vector first, and all numbers of that."""

THREE_TAPS = ("ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v")
"""What convolves queries, keys and values there."""


def input_matrices(recurrence: Recurrence) -> list[str]:
    """The matrices that read the layer's input, whose results lie side by side in this order."""
    if isinstance(recurrence, KimiDelta):
        return ["attn_q", "attn_k", "attn_v", *(low for low, _ in LOW_RANK), "ssm_beta"]
    if isinstance(recurrence, StateSpace):
        return ["ssm_in"]
    if not recurrence.value_heads:
        return ["shortconv.in_proj"]
    return ["attn_qkv", "attn_gate", *(["ssm_ba"] if recurrence.gates_by_key_head else ["ssm_beta", "ssm_alpha"])]


def output_matrix(recurrence: Recurrence) -> str:
    """The matrix that makes the layer's result."""
    if isinstance(recurrence, KimiDelta):
        return "attn_output"
    return "ssm_out" if recurrence.value_heads else "shortconv.out_proj"


def recurrent_shapes(recurrence: Recurrence, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """All of them with their shapes, but for the norm before the layer, and what `optional_shapes` has."""
    r = recurrence
    if isinstance(r, KimiDelta):
        yield from _kimi_shapes(r, dim)
        return
    rows = {
        "shortconv.in_proj": r.rows,
        "ssm_in": r.rows,
        "attn_qkv": r.channels,
        "attn_gate": r.dim,
        "ssm_ba": 2 * r.value_heads,
    }
    for name in input_matrices(r):
        yield f"{name}.weight", (rows.get(name, r.value_heads), dim)
    yield f"{output_matrix(r)}.weight", (dim, r.dim)
    yield f"{'ssm_conv1d' if r.value_heads else 'shortconv.conv'}.weight", (r.channels, r.taps)
    if isinstance(r, SelectiveScan):
        yield from _selective_shapes(r)
    elif isinstance(r, StateSpace):
        yield "ssm_dt.bias", (r.value_heads,)
        yield "ssm_a", (r.value_heads, 1)
        yield "ssm_d", (r.value_heads, 1)
        if not r.beside_attention:
            yield _group_norms(r)
    elif r.value_heads:
        yield "ssm_dt.bias", (r.value_heads,)
        yield "ssm_a", (r.value_heads,)
        yield "ssm_norm.weight", (r.state_dim,)


def _kimi_shapes(r: KimiDelta, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("attn_q", "attn_k", "attn_v"):
        yield f"{name}.weight", (r.dim, dim)
    for name in THREE_TAPS:
        yield f"{name}.weight", (r.dim, 1, r.taps)
    for low, made in LOW_RANK:
        yield f"{low}.weight", (r.state_dim, dim)
        yield f"{made}.weight", (r.dim, r.state_dim)
    yield "ssm_beta.weight", (r.value_heads, dim)
    yield "ssm_dt.bias", (r.dim,)
    yield "ssm_a", (r.value_heads, 1)
    yield "ssm_norm.weight", (r.state_dim,)
    yield "attn_output.weight", (dim, r.dim)


def _selective_shapes(r: SelectiveScan) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{STEPS_AND_GROUPS}.weight", (r.small_rows, r.dim)
    yield f"{TIME_STEPS}.weight", (r.value_heads, r.step_dim)
    yield f"{TIME_STEPS}.bias", (r.value_heads,)
    yield "ssm_a", (r.value_heads,) if r.by_head else (r.dim, r.state_dim)
    yield "ssm_d", (r.value_heads,)
    if r.norms == "weights":
        widths = (r.step_dim, r.state_dim, r.state_dim)
        yield from ((f"{name}.weight", (width,)) for name, width in zip(STEP_NORMS, widths, strict=True))


def optional_shapes(recurrence: Recurrence) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What such a layer may have."""
    if isinstance(recurrence, StateSpace):
        yield "ssm_conv1d.bias", (recurrence.channels,)
        if recurrence.beside_attention:
            yield _group_norms(recurrence)


def _group_norms(recurrence: StateSpace) -> tuple[str, tuple[int, ...]]:
    return "ssm_norm.weight", (recurrence.key_heads, recurrence.dim // recurrence.key_heads)
