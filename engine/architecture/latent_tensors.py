"""The tensors of attention whose keys and values are made of a latent vector, under GGUF's names."""

from __future__ import annotations

from collections.abc import Iterator

from engine.architecture.config import Attention
from engine.architecture.latent import Latent

KEYS_AND_VALUES = "attn_kv_b"
"""What makes keys and values of the latent vector, where one tensor does."""

KEYS, VALUES = "attn_k_b", "attn_v_b"
"""What does else: a matrix for each head; that of keys makes of a query what reads the latent vector."""

OF_QUERIES = "attn_q_b"
"""What makes queries of the normed vector that they are made of, where they are."""

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def first_matrices(latent: Latent) -> list[str]:
    """The matrices that read the layer's input, whose results lie side by side in this order."""
    return ["attn_q_a" if latent.query_rank else "attn_q", "attn_kv_a_mqa"]


def keys_and_values_shape(attention: Attention, latent: Latent) -> tuple[int, int]:
    """That of the tensor that makes both."""
    return attention.n_heads * (latent.plain_dim + latent.value_dim), latent.rank


def latent_shapes(attention: Attention, latent: Latent, dim: int) -> Shapes:
    """All of them with their shapes, but for the layer's norm."""
    heads, q_dim = attention.n_heads, attention.n_heads * attention.query_dim
    query, kv = first_matrices(latent)
    yield f"{query}.weight", (latent.query_rank or q_dim, dim)
    if latent.query_rank:
        yield "attn_q_a_norm.weight", (latent.query_rank,)
        yield f"{OF_QUERIES}.weight", (q_dim, latent.query_rank)
    yield f"{kv}.weight", (attention.head_dim, dim)
    yield "attn_kv_a_norm.weight", (latent.rank,)
    if latent.in_one:
        yield f"{KEYS_AND_VALUES}.weight", keys_and_values_shape(attention, latent)
    else:
        yield f"{KEYS}.weight", (heads, latent.rank, latent.plain_dim)
        yield f"{VALUES}.weight", (heads, latent.value_dim, latent.rank)
    yield "attn_output.weight", (dim, heads * latent.value_dim)
