"""The steps around attention whose queries have gates beside them, as Qwen3-Next has them; none in other models."""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.forward.program import Activations, Program, Rows
from engine.forward.steps import add_per_token
from engine.machine_code import step


def add_query_split(p: Program, config: ModelConfig, index: int, qkv: Rows, gates: Rows | None) -> None:
    """A step: gates, (q_dim,) per token, out of qkv, where each head has them behind its query, or all behind all."""
    if gates is not None:
        attention = config.attention[index]
        in_turn = not config.architecture.gate_matrix
        heads = (attention.n_heads, attention.head_dim) if in_turn else (1, attention.q_dim)
        add_per_token(p, step("query_gates.split_gates"), *qkv.where, *gates.where, *heads, 2 * attention.kv_dim)


def add_query_gates(p: Program, config: ModelConfig, index: int, gates: Rows | None, out: Activations) -> None:
    """A step: attention's results, (q_dim,) per token, times the gates' sigmoids."""
    if gates is not None:
        add_per_token(p, step("query_gates.gate_heads"), *gates.where, *out.where, config.attention[index].q_dim)
