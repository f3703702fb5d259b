"""A matrix with gates and then values of each head, as PLaMo 2 has it."""

from __future__ import annotations

from dataclasses import replace

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import rows_of_each


def values_and_gates(both: TensorInfo, n_heads: int) -> list[TensorInfo]:
    """The rows of all heads' values, and those of all their gates, a matrix each.

    both: (n_heads · 2 · head_dim, columns), whose rows the heads share evenly.
    """
    rows, columns = both.shape
    width = rows // n_heads // 2
    heads = replace(both, shape=(n_heads, 2 * width, columns))
    parts = {"values": range(width, 2 * width), "gates": range(width)}
    halves = (rows_of_each(heads, f"{both.name}.{name}", part) for name, part in parts.items())
    return [replace(half, shape=(rows // 2, columns)) for half in halves]
