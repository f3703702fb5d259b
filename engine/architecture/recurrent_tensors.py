"""The tensors of a layer without attention, under the names that GGUF has for them."""

from __future__ import annotations

from collections.abc import Iterator

from engine.architecture.recurrence import Recurrence
from engine.architecture.state_space import StateSpace


def input_matrices(recurrence: Recurrence) -> list[str]:
    """The matrices that read the layer's input, whose results lie side by side in this order."""
    if isinstance(recurrence, StateSpace):
        return ["ssm_in"]
    if not recurrence.value_heads:
        return ["shortconv.in_proj"]
    return ["attn_qkv", "attn_gate", *(["ssm_ba"] if recurrence.gates_by_key_head else ["ssm_beta", "ssm_alpha"])]


def output_matrix(recurrence: Recurrence) -> str:
    """The matrix that makes the layer's result."""
    return "ssm_out" if recurrence.value_heads else "shortconv.out_proj"


def recurrent_shapes(recurrence: Recurrence, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """All of them with their shapes, but for the norm before the layer, and what `optional_shapes` has."""
    r = recurrence
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
    if isinstance(r, StateSpace):
        yield "ssm_dt.bias", (r.value_heads,)
        yield "ssm_a", (r.value_heads, 1)
        yield "ssm_d", (r.value_heads, 1)
        if not r.beside_attention:
            yield _group_norms(r)
    elif r.value_heads:
        yield "ssm_dt.bias", (r.value_heads,)
        yield "ssm_a", (r.value_heads,)
        yield "ssm_norm.weight", (r.state_dim,)


def optional_shapes(recurrence: Recurrence) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What such a layer may have."""
    if isinstance(recurrence, StateSpace):
        yield "ssm_conv1d.bias", (recurrence.channels,)
        if recurrence.beside_attention:
            yield _group_norms(recurrence)


def _group_norms(recurrence: StateSpace) -> tuple[str, tuple[int, ...]]:
    return "ssm_norm.weight", (recurrence.key_heads, recurrence.dim // recurrence.key_heads)
