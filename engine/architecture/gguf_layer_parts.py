"""Which parts the layers have, by a file's metadata: whether there is a state, and a feed-forward part."""

from __future__ import annotations

from collections.abc import Sequence

from engine.architecture.architecture import Architecture
from engine.architecture.config import Attention
from engine.architecture.gguf_sizes import sizes_of_layers
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_WIDTH


def recurrent_layers(meta: Metadata, architecture: Architecture, attention: Sequence[Attention]) -> tuple[int, ...]:
    """The layers that have a state, instead of attention or beside it."""
    if architecture.recurrent is None:
        return ()
    layers = range(len(attention))
    if architecture.beside_attention:
        return tuple(layers)
    feeding = feeding_widths(meta, architecture, len(attention)) if architecture.one_part else [0] * len(attention)
    return tuple(i for i in layers if not attention[i].n_kv_heads and not feeding[i])


def feeding_widths(meta: Metadata, architecture: Architecture, n_layers: int) -> Sequence[int]:
    """The feed-forward width of each layer where layers have one part: 0 of those that have another."""
    key = f"{architecture.name}.feed_forward_length"
    return sizes_of_layers(meta, key, n_layers, [0] * n_layers, low=0, high=MAX_WIDTH)
