"""How each layer attends, by a file's metadata, with every number checked."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from engine.architectures import Architecture
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_HEADS, MAX_LAYERS, MAX_WIDTH
from engine.config import Attention
from engine.errors import UnsupportedModelError
from engine.gguf_recurrence import delta_net_layers
from engine.kernels.sizes import BLOCK, LANES


def layers_attention(meta: Metadata, architecture: Architecture, n_layers: int, dim: int) -> tuple[Attention, ...]:
    """How each layer attends. Raises ModelFileError for numbers that do not fit, UnsupportedModelError for others."""
    arch = architecture.name
    n_heads = sizes_of_layers(meta, f"{arch}.attention.head_count", n_layers, high=MAX_HEADS)
    least = 0 if architecture.recurrent else 1
    n_kv_heads = sizes_of_layers(meta, f"{arch}.attention.head_count_kv", n_layers, n_heads, low=least, high=MAX_HEADS)
    if architecture.recurrent == "delta net":
        recurrent_layers = delta_net_layers(meta, arch, n_layers)
        n_kv_heads = [0 if recurrent else heads for heads, recurrent in zip(n_kv_heads, recurrent_layers, strict=True)]
    windows = _windows(meta, architecture, n_layers)
    turned = _turned(meta, architecture, windows)
    head_dim = _head_dim(meta, arch, dim, n_heads[0])
    rope_dim = meta.integer(f"{arch}.rope.dimension_count", head_dim, low=2, high=head_dim)
    if rope_dim % 2 or head_dim % 2:
        raise meta.error(f"{arch}.rope.dimension_count is {rope_dim} in a head of {head_dim}; both should be even.")
    for heads, kv_heads in zip(n_heads, n_kv_heads, strict=True):
        if kv_heads and heads % kv_heads:
            raise meta.error(f"{heads} heads cannot share {kv_heads} key-value heads evenly.")
    layers = tuple(
        Attention(
            n_heads=n_heads[i],
            n_kv_heads=n_kv_heads[i],
            head_dim=head_dim,
            rope_dim=rope_dim if turned[i] else 0,
            window=windows[i],
        )
        for i in range(n_layers)
    )
    _check_widths(meta, layers)
    if architecture.query_gates and head_dim % LANES:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has gates for heads of {head_dim}; this engine wants a multiple of {LANES}.",
            "Choose another model.",
        )
    return layers


def _check_widths(meta: Metadata, layers: Sequence[Attention]) -> None:
    """Layers of different widths share their rows, so none may leave a block of them half filled."""
    widths = {layer.q_dim for layer in layers}
    if len(widths) > 1 and any(width % BLOCK for width in widths):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has layers with queries of {min(widths)} to {max(widths)} numbers; where they "
            f"differ, this engine wants multiples of {BLOCK}.",
            "Choose another model.",
        )


def sizes_of_layers(
    meta: Metadata, key: str, n_layers: int, default: Sequence[int] | None = None, *, low: int = 1, high: int
) -> Sequence[int]:
    """A size that may be given once or for each layer."""
    value = meta.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, array):
        return [meta.integer(key, low=low, high=high)] * n_layers
    if len(value) != n_layers:
        raise meta.error(f"{key} has {len(value)} elements, it should have {n_layers}.")
    return [Metadata({key: size}, meta.path).integer(key, low=low, high=high) for size in value]


def _head_dim(meta: Metadata, arch: str, dim: int, n_heads: int) -> int:
    given = meta.optional_integer(f"{arch}.attention.key_length", low=1, high=MAX_WIDTH)
    if given is None and dim % n_heads:
        raise meta.error(f"{n_heads} heads do not divide the width {dim}.")
    head_dim = given or dim // n_heads
    value_dim = meta.integer(f"{arch}.attention.value_length", head_dim, low=1, high=MAX_WIDTH)
    if value_dim != head_dim:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has keys of {head_dim} and values of {value_dim}; this engine wants one size.",
            "Choose another model.",
        )
    return head_dim


def _turned(meta: Metadata, architecture: Architecture, windows: Sequence[int]) -> tuple[bool, ...]:
    """Which layers turn queries and keys; with scales in the file, it may say that none does."""
    every, n_layers = architecture.unturned_every, len(windows)
    if architecture.scales_in_file and meta.get(f"{architecture.name}.rope.scaling.finetuned") is False:
        return (False,) * n_layers
    if architecture.unturned_without_window and any(windows):
        return tuple(window > 0 for window in windows)
    return tuple(every == 0 or i % every < every - 1 for i in range(n_layers))


def _windows(meta: Metadata, architecture: Architecture, n_layers: int) -> tuple[int, ...]:
    """How many positions each layer sees, 0 for all."""
    key = f"{architecture.name}.attention.sliding_window"
    window = meta.integer(key, architecture.window, low=0, high=2**32 - 1)
    pattern = meta.get(f"{key}_pattern")
    if isinstance(pattern, (tuple, array)):
        if len(pattern) != n_layers:
            raise meta.error(f"{key}_pattern has {len(pattern)} elements, it should have {n_layers}.")
        return tuple(window if windowed else 0 for windowed in pattern)
    every = meta.integer(f"{key}_pattern", architecture.window_every, low=0, high=MAX_LAYERS)
    return tuple(window if every == 0 or i % every < every - 1 else 0 for i in range(n_layers))
