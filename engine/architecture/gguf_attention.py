"""How each layer attends, by a file's metadata, with every number checked."""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set
from dataclasses import replace

from engine.architecture.architecture import Architecture
from engine.architecture.config import Attention
from engine.architecture.gguf_latent import latent_attention
from engine.architecture.gguf_recurrence import delta_net_layers
from engine.architecture.gguf_sizes import elements_of_layers, sizes_of_layers
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_HEADS, MAX_LAYERS, MAX_WIDTH
from engine.errors import UnsupportedModelError
from engine.kernels.sizes import BLOCK, LANES

WITHOUT_ATTENTION = Attention(n_heads=0, n_kv_heads=0, head_dim=1, rope_dim=0)
"""Of each layer, where none attends."""


def layers_attention(
    meta: Metadata, architecture: Architecture, n_layers: int, dim: int, tensors: Set[str]
) -> tuple[Attention, ...]:
    """How each layer attends. Raises ModelFileError for numbers that do not fit, UnsupportedModelError for others.

    tensors: the names of those that there are.
    """
    if architecture.latent:
        return latent_attention(meta, architecture, n_layers, dim, tensors)
    arch = architecture.name
    least = 0 if architecture.recurrent or architecture.skips else 1
    least_heads = 0 if architecture.scans or architecture.skips else 1
    n_heads = sizes_of_layers(meta, f"{arch}.attention.head_count", n_layers, low=least_heads, high=MAX_HEADS)
    n_kv_heads = sizes_of_layers(meta, f"{arch}.attention.head_count_kv", n_layers, n_heads, low=least, high=MAX_HEADS)
    if architecture.recurrent == "delta net":
        recurrent_layers = delta_net_layers(meta, arch, n_layers)
        n_kv_heads = [0 if recurrent else heads for heads, recurrent in zip(n_kv_heads, recurrent_layers, strict=True)]
    if not any(n_kv_heads) and architecture.scans:
        return (WITHOUT_ATTENTION,) * n_layers
    windows = _windows(meta, architecture, n_layers)
    turned = _turned(meta, architecture, windows)
    first = next((heads for heads in n_heads if heads), 1)
    if f"{arch}.attention.key_length" not in meta and dim % first:
        raise meta.error(f"{first} heads do not divide the width {dim}.")
    wide = _head_dims(meta, architecture, "", dim // first, None)
    local = _head_dims(meta, architecture, "_swa", *wide)
    layers = []
    for i in range(n_layers):
        if n_kv_heads[i] and (n_heads[i] % n_kv_heads[i] or not n_heads[i]):
            raise meta.error(f"{n_heads[i]} heads cannot share {n_kv_heads[i]} key-value heads evenly.")
        head_dim, rope_dim = local if windows[i] else wide
        layers.append(
            Attention(
                n_heads=n_heads[i],
                n_kv_heads=n_kv_heads[i],
                head_dim=head_dim,
                rope_dim=rope_dim if turned[i] else 0,
                keys_as_values=architecture.unit_values
                and not tensors & {f"blk.{i}.attn_v.weight", f"blk.{i}.attn_qkv.weight"},
                window=windows[i],
                chunked=architecture.chunks and windows[i] > 0,
            )
        )
    shared = _with_shared_keys(meta, arch, layers) if architecture.shared_keys else tuple(layers)
    _check_widths(meta, shared)
    if architecture.query_gates and wide[0] % LANES:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has gates for heads of {wide[0]}; this engine wants a multiple of {LANES}.",
            "Choose another model.",
        )
    return shared * n_loops(meta, architecture, n_layers)


def n_loops(meta: Metadata, architecture: Architecture, n_layers: int) -> int:
    """How often a text goes through so many layers."""
    if not architecture.loops:
        return 1
    return meta.integer(f"{architecture.name}.num_loops", 1, low=1, high=MAX_LAYERS // n_layers)


def _with_shared_keys(meta: Metadata, arch: str, layers: Sequence[Attention]) -> tuple[Attention, ...]:
    """The last layers read the keys and values of the last ones before them that have a window, or have none, as they.

    Source: Gemma 3n, where they are called KV shared layers.
    """
    n_shared = meta.integer(f"{arch}.attention.shared_kv_layers", 0, low=0, high=len(layers) - 1)
    first = len(layers) - n_shared
    last = {layer.window > 0: i for i, layer in enumerate(layers[:first])}
    found = list(layers[:first])
    for layer in layers[first:]:
        source = last.get(layer.window > 0)
        if source is None or layers[source].kv_dim != layer.kv_dim or layers[source].n_heads != layer.n_heads:
            raise meta.error(
                f"{arch}.attention.shared_kv_layers is {n_shared}; no layer has keys for layer {len(found)}."
            )
        found.append(replace(layers[source], shared_from=source))
    return tuple(found)


def _check_widths(meta: Metadata, layers: Sequence[Attention]) -> None:
    """Layers of different widths share their rows, so none may leave a block of them half filled."""
    widths = {layer.q_dim for layer in layers}
    if len(widths) > 1 and any(width % BLOCK for width in widths):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has layers with queries of {min(widths)} to {max(widths)} numbers; where they "
            f"differ, this engine wants multiples of {BLOCK}.",
            "Choose another model.",
        )


def _head_dims(
    meta: Metadata, architecture: Architecture, ending: str, head_dim: int, rope_dim: int | None
) -> tuple[int, int]:
    """Width of a head, and of the part of it that is turned, by the keys with this ending; and what they are if not."""
    arch = architecture.name
    head_dim = meta.integer(f"{arch}.attention.key_length{ending}", head_dim, low=1, high=MAX_WIDTH)
    value_dim = meta.integer(f"{arch}.attention.value_length{ending}", head_dim, low=1, high=MAX_WIDTH)
    if value_dim != head_dim:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has keys of {head_dim} and values of {value_dim}; this engine wants one size.",
            "Choose another model.",
        )
    key = f"{arch}.rope.dimension_count{ending}"
    whole = architecture.turned_whole
    rope_dim = head_dim if whole else meta.integer(key, rope_dim or head_dim, low=2, high=head_dim)
    if rope_dim % 2 or head_dim % 2:
        raise meta.error(f"{key} is {rope_dim} in a head of {head_dim}; both should be even.")
    return head_dim, rope_dim


def _turned(meta: Metadata, architecture: Architecture, windows: Sequence[int]) -> tuple[bool, ...]:
    """Which layers turn queries and keys: files of Granite may say it of each, or that none does."""
    every, n_layers = architecture.unturned_every, len(windows)
    if architecture.unturned:
        return (False,) * n_layers
    pattern = meta.get(f"{architecture.name}.attention.rope_pattern")
    if isinstance(pattern, (tuple, array)):
        turned = elements_of_layers(meta, f"{architecture.name}.attention.rope_pattern", pattern, n_layers)
        return tuple(bool(each) for each in turned)
    if architecture.turning_in_file and meta.get(f"{architecture.name}.rope.scaling.finetuned") is False:
        return (False,) * n_layers
    if architecture.unturned_without_window and any(windows):
        key = f"{architecture.name}.leading_dense_block_count"
        dense = meta.integer(key, 0, low=0, high=MAX_LAYERS) if architecture.dense_turned else 0
        return tuple(window > 0 or i < dense for i, window in enumerate(windows))
    return tuple(every == 0 or i % every < every - 1 for i in range(n_layers))


def _windows(meta: Metadata, architecture: Architecture, n_layers: int) -> tuple[int, ...]:
    """How many positions each layer sees, 0 for all."""
    key = f"{architecture.name}.attention.sliding_window"
    window = meta.integer(key, architecture.window, low=0, high=2**32 - 1)
    pattern = meta.get(f"{key}_pattern")
    if isinstance(pattern, (tuple, array)):
        of_layers = elements_of_layers(meta, f"{key}_pattern", pattern, n_layers)
        return tuple(window if windowed else 0 for windowed in of_layers)
    every = meta.integer(f"{key}_pattern", architecture.window_every, low=0, high=MAX_LAYERS)
    whole = 0 if architecture.whole_first else every - 1
    return tuple(window if every == 0 or i % every != whole else 0 for i in range(n_layers))
