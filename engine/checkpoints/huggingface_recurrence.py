"""Delta nets and short convolutions in Hugging Face's `config.json`, as GGUF's keys without the architecture's name.

Source: the configurations of Qwen 3.5 and LFM2 in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

from array import array

from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

DELTA_NETS = ("qwen35", "qwen35moe", "qwen3next")
"""Architectures most of whose layers are delta nets."""

CONVOLUTIONS = ("lfm2", "lfm2moe")
"""Architectures most of whose layers are short convolutions."""

_SIZES = (
    ("key_head_dim", 128), ("value_head_dim", 128), ("num_value_heads", 32), ("num_key_heads", 16),
    ("conv_kernel_dim", 4),
)  # fmt: skip
"""What a configuration has behind `linear_`, and what transformers has where it has nothing."""


def delta_net_keys(values: Metadata) -> dict[str, object]:
    """Which layers are delta nets, and their sizes."""
    key_dim, value_dim, n_values, n_keys, taps = (
        values.integer(f"linear_{name}", default, low=1, high=MAX_WIDTH) for name, default in _SIZES
    )
    if key_dim != value_dim:
        raise UnsupportedModelError(
            f"{values.path}: keys of {key_dim} and values of {value_dim} (linear_value_head_dim) are not run here.",
            "Choose another model.",
        )
    keys: dict[str, object] = {
        "ssm.conv_kernel": taps,
        "ssm.state_size": key_dim,
        "ssm.group_count": n_keys,
        "ssm.time_step_rank": n_values,
        "ssm.inner_size": n_values * value_dim,
        "full_attention_interval": values.integer("full_attention_interval", 4, low=1, high=MAX_LAYERS),
    }
    types = values.get("layer_types")
    if isinstance(types, list):
        keys["attention.recurrent_layers"] = tuple(kind == "linear_attention" for kind in types)
    return keys


def convolution_keys(values: Metadata, n_layers: int, n_kv_heads: int) -> dict[str, object]:
    """Which layers attend, named by kind or by number, and what the others see."""
    types, numbers = values.get("layer_types"), values.get("full_attn_idxs")
    if isinstance(types, list) and len(types) == n_layers:
        attends = [kind == "full_attention" for kind in types]
    elif isinstance(numbers, list):
        attends = [layer in numbers for layer in range(n_layers)]
    else:
        raise values.error("neither layer_types nor full_attn_idxs says which layers attend.")
    return {
        "attention.head_count_kv": array("i", [n_kv_heads if does else 0 for does in attends]),
        "shortconv.l_cache": values.integer("conv_L_cache", 3, low=1, high=MAX_WIDTH),
    }
