"""The sizes of attention whose keys and values are made of one latent vector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latent:
    """What makes queries, and the latent vector that all heads' keys and values are made of.

    rank: width of the latent vector. plain_dim: width of the part of a query, and of a key, that is not turned; behind
    it is a part that is, of which all heads share the keys'. value_dim: width of a head's values. query_rank: queries
    are made of a normed vector of this width, 0 if of the layer's input itself. in_one: one tensor has the rows of each
    head's plain keys, then those of its values; else each has one, that of keys with a head's columns as rows.
    Source: DeepSeek-V2 (2024), where the widths are called kv_lora_rank, qk_nope_head_dim, v_head_dim, q_lora_rank.
    """

    rank: int
    plain_dim: int
    value_dim: int
    query_rank: int = 0
    in_one: bool = False
