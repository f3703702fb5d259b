"""Deci's settings (Nemotron 51B, Super, Ultra, DeciLM 7B), whose layers were searched for one by one, as GGUF's keys.

Source: DeciLMConfig and block_config.py beside those models; DeciModel in llama.cpp's converter.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

_MULTIPLE = 256
"""Of which feed-forward layers' widths are made."""

_UNKNOWN = ("window_length", "num_sink_tokens")
"""What layers' attention may have that is not run here."""

MOST_TIMES = 64.0


def deci_keys(values: Metadata, n_layers: int, n_heads: int, dim: int) -> dict[str, object]:
    """Heads, those of keys, and widths of each layer; 0 for what a layer does not have.

    A layer with heads, but none of keys, has a matrix in the place of attention. Raises ModelFileError and
    UnsupportedModelError.
    """
    blocks = values.get("block_configs")
    if blocks is None:
        return _without_blocks(values, n_layers, n_heads)
    if not isinstance(blocks, list) or len(blocks) != n_layers:
        raise values.error(f"block_configs should have {n_layers} elements, one for each layer.")
    heads, kv_heads, widths = [], [], []
    for layer, block in enumerate(blocks):
        attention, ffn = (_part(block, name, layer, values) for name in ("attention", "ffn"))
        unknown = next((name for name in _UNKNOWN if attention.get(name) is not None), None)
        if unknown is not None:
            raise UnsupportedModelError(
                f"{values.path}: the attention of layer {layer} has {unknown}, which is not run here.",
                "Choose another model.",
            )
        in_group = attention.optional_integer("n_heads_in_group", low=1, high=n_heads)
        if in_group is not None and n_heads % in_group:
            raise attention.error(f"layer {layer}: {n_heads} heads are no whole groups of {in_group}.")
        heads.append(n_heads if in_group or attention.flag("replace_with_linear", False) else 0)
        kv_heads.append(n_heads // in_group if in_group else 0)
        widths.append(_width(ffn, dim))
    return {
        "attention.head_count": array("i", heads),
        "attention.head_count_kv": array("i", kv_heads),
        "feed_forward_length": array("i", widths),
    }


def _without_blocks(values: Metadata, n_layers: int, n_heads: int) -> dict[str, object]:
    """Of DeciLM 7B, whose layers differ in their heads for keys alone."""
    given = values.get("num_key_value_heads_per_layer")
    if given is None:
        return {}
    if not isinstance(given, list) or len(given) != n_layers:
        raise values.error(f"num_key_value_heads_per_layer should have {n_layers} elements.")
    key = "num_key_value_heads_per_layer"
    return {
        "attention.head_count_kv": array(
            "i", [Metadata({key: each}, values.path).integer(key, low=1, high=n_heads) for each in given]
        )
    }


def _part(block: object, name: str, layer: int, values: Metadata) -> Metadata:
    part = block.get(name) if isinstance(block, Mapping) else None
    if not isinstance(part, Mapping):
        raise values.error(f"block_configs: layer {layer} does not say what its {name} is.")
    return Metadata({key: value for key, value in part.items() if value is not None}, values.path)


def _width(ffn: Metadata, dim: int) -> int:
    """The width that so many times the model's has, two thirds of twice it, in whole multiples."""
    if "ffn_mult" not in ffn:
        return 0
    width = int(2 * ffn.real("ffn_mult", low=0.0, high=MOST_TIMES) * dim / 3)
    return min(-(-width // _MULTIPLE) * _MULTIPLE, MAX_WIDTH)
