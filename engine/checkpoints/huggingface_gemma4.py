"""Gemma 4's `config.json`: layers without a window differ from the others in more than that.

Source: Gemma4TextConfig in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

from array import array

from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata

WIDE_HEAD = 512
"""Of layers without a window, if the configuration does not say."""

LEFT_ALONE = 1e30
"""What a frequency is divided by so that nothing turns."""


def gemma4_keys(
    values: Metadata, windowed: tuple[bool, ...], head_dim: int, n_kv_heads: int, hidden_dim: int
) -> dict[str, object]:
    """Keys of a GGUF, without the architecture's name; head_dim, n_kv_heads: of layers with a window."""
    wide, n_layers = wide_head_dim(values, windowed), len(windowed)
    wide_kv_heads = _of_wide_layers(values, windowed).integer(
        "num_key_value_heads",
        values.integer("num_global_key_value_heads", n_kv_heads, low=1, high=MAX_WIDTH),
        low=1,
        high=MAX_WIDTH,
    )
    n_shared = values.integer("num_kv_shared_layers", 0, low=0, high=MAX_LAYERS)
    doubled = n_layers - n_shared if values.flag("use_double_wide_mlp", False) else n_layers
    return {
        "attention.key_length": wide,
        "attention.value_length": wide,
        "attention.key_length_swa": head_dim,
        "attention.value_length_swa": head_dim,
        "rope.dimension_count": wide,
        "rope.dimension_count_swa": head_dim,
        "attention.head_count_kv": array("i", [n_kv_heads if narrow else wide_kv_heads for narrow in windowed]),
        "attention.shared_kv_layers": n_shared,
        "embedding_length_per_layer_input": values.integer("hidden_size_per_layer_input", 0, low=0, high=MAX_WIDTH),
        "feed_forward_length": array("i", [hidden_dim if i < doubled else 2 * hidden_dim for i in range(n_layers)]),
    }


def wide_head_dim(values: Metadata, windowed: tuple[bool, ...]) -> int:
    """Width of a head in layers without a window."""
    default = values.integer("global_head_dim", WIDE_HEAD, low=2, high=MAX_WIDTH)
    return _of_wide_layers(values, windowed).integer("head_dim", default, low=2, high=MAX_WIDTH)


def proportional_divisors(head_dim: int, turned_share: float) -> list[float]:
    """Divisors of rotary frequencies for a head of which only the first pairs of its halves turn."""
    turned = int(head_dim * turned_share / 2)
    return [1.0] * turned + [LEFT_ALONE] * (head_dim // 2 - turned)


def _of_wide_layers(values: Metadata, windowed: tuple[bool, ...]) -> Metadata:
    """What newer configurations say of layers without a window, by the number of each."""
    layers = values.get("per_layer_config")
    for i, narrow in enumerate(windowed):
        own = layers.get(str(i)) if isinstance(layers, dict) and not narrow else None
        if isinstance(own, dict):
            return Metadata({key: value for key, value in own.items() if value is not None}, values.path)
    return Metadata({}, values.path)
