"""What makes all heads' keys and values of a latent vector, as a matrix for each head."""

from __future__ import annotations

from dataclasses import replace

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import as_floats, columns_as_rows, rows_of_each
from engine.errors import ModelFileError

PLAIN_NUMBERS = ("F32", "F16", "BF16")


def keys_and_values(both: TensorInfo, n_heads: int, plain_dim: int) -> tuple[TensorInfo, TensorInfo]:
    """Of each head's rows, those of its keys and then those of its values, two stacks.

    both: (n_heads·(plain_dim + value_dim), rank). Keys: (n_heads, rank, plain_dim), their columns as rows, since a
    query is multiplied by them to read the latent vector; blocks of quantised weights do not lie so, and become F16.
    Values: (n_heads, value_dim, rank). Raises ModelFileError for rows that the heads do not share evenly.
    """
    if len(both.shape) != 2 or both.shape[0] % n_heads or both.shape[0] // n_heads <= plain_dim:
        raise ModelFileError(
            f"{both.path}: {both.name}, of shape {both.shape}, cannot be taken apart.",
            "The configuration and the weights disagree: fetch both again.",
        )
    width = both.shape[0] // n_heads
    heads = replace(both, shape=(n_heads, width, both.shape[1]))
    numbers = heads if both.type.name in PLAIN_NUMBERS else as_floats(heads, "F16")
    keys = columns_as_rows(rows_of_each(numbers, both.name.replace("kv_b", "k_b"), range(plain_dim)))
    return keys, rows_of_each(heads, both.name.replace("kv_b", "v_b"), range(plain_dim, width))
