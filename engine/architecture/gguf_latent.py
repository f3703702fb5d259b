"""Attention whose keys and values are made of a latent vector, by a file's metadata, with every number checked."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import replace

from engine.architecture.architecture import Architecture
from engine.architecture.config import Attention, RopeScaling
from engine.architecture.gguf_sizes import sizes_of_layers
from engine.architecture.latent import Latent
from engine.architecture.latent_tensors import KEYS, KEYS_AND_VALUES
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_HEADS, MAX_WIDTH
from engine.errors import UnsupportedModelError
from engine.kernels.sizes import BLOCK


def latent_attention(
    meta: Metadata, architecture: Architecture, n_layers: int, dim: int, tensors: Set[str]
) -> tuple[Attention, ...]:
    """How each layer attends: all that do, do alike. Raises as layers_attention does.

    Newer files have the widths of a head's keys and values behind _mla, since their key_length and value_length are
    those in the cache.
    """
    arch = architecture.name
    n_heads = meta.integer(f"{arch}.attention.head_count", low=1, high=MAX_HEADS)
    ending = "_mla" if f"{arch}.attention.key_length_mla" in meta else ""
    if not ending and f"{arch}.attention.key_length" not in meta and dim % n_heads:
        raise meta.error(f"{n_heads} heads do not divide the width {dim}.")
    key_dim = meta.integer(f"{arch}.attention.key_length{ending}", dim // n_heads, low=1, high=MAX_WIDTH)
    value_dim = meta.integer(f"{arch}.attention.value_length{ending}", dim // n_heads, low=1, high=MAX_WIDTH)
    rope_dim = meta.integer(f"{arch}.rope.dimension_count", low=2, high=key_dim)
    if rope_dim % 2 or rope_dim == key_dim:
        raise meta.error(f"{arch}.rope.dimension_count is {rope_dim}, it should be even and less than {key_dim}.")
    rank = meta.integer(f"{arch}.attention.kv_lora_rank", low=1, high=MAX_WIDTH)
    query_rank = meta.integer(f"{arch}.attention.q_lora_rank", 0, low=0, high=MAX_WIDTH)
    plain_dim = key_dim - rope_dim
    for name, width in (
        ("kv_lora_rank", rank),
        ("q_lora_rank", query_rank),
        ("keys", plain_dim),
        ("values", value_dim),
    ):
        if width % BLOCK:
            raise UnsupportedModelError(
                f"{meta.path or 'The model'} has a latent vector with {name} of {width}; this engine wants multiples "
                f"of {BLOCK}.",
                "Choose another model.",
            )
    apart, together = (any(name.endswith(f".{each}.weight") for name in tensors) for each in (KEYS, KEYS_AND_VALUES))
    latent = Latent(rank, plain_dim, value_dim, query_rank, in_one=not apart and (not ending or together))
    attention = Attention(n_heads, 1, rank + rope_dim, rope_dim, latent=latent)
    if architecture.recurrent is None:
        return (attention,) * n_layers
    heads = sizes_of_layers(meta, f"{arch}.attention.head_count_kv", n_layers, low=0, high=MAX_HEADS)
    without = replace(attention, n_kv_heads=0, latent=None)
    return tuple(attention if count else without for count in heads)


def yarn_in_queries(scaling: RopeScaling, *, turned_too: bool) -> tuple[float, RopeScaling]:
    """What queries are multiplied by, and the scaling of what is turned, where YaRN's factor is of queries.

    The file's logarithm counts a tenth. It is taken for both of DeepSeek's numbers, mscale and mscale_all_dim, so that
    what is turned stays as large as it is; or, with turned_too, mscale is one. So does llama.cpp.
    """
    if scaling.type != "yarn":
        return 1.0, scaling
    growth, multiplier = math.log(max(1.0, scaling.factor)) / 10, 10 * scaling.log_multiplier
    of_turned = multiplier if turned_too else float(multiplier > 0)
    turned = scaling.attn_factor * (1 + growth) / (1 + of_turned * growth)
    return (turned * (1 + multiplier * growth)) ** 2, replace(scaling, log_multiplier=of_turned)
