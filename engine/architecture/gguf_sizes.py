"""What a file's metadata says of each layer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from engine.checkpoints import Metadata


def sizes_of_layers(
    meta: Metadata, key: str, n_layers: int, default: Sequence[int] | None = None, *, low: int = 1, high: int
) -> Sequence[int]:
    """A size that may be given once or for each layer."""
    value = meta.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, array):
        return [meta.integer(key, low=low, high=high)] * n_layers
    sizes = elements_of_layers(meta, key, value, n_layers)
    return [Metadata({key: size}, meta.path).integer(key, low=low, high=high) for size in sizes]


def elements_of_layers(meta: Metadata, key: str, values: Sequence[float], n_layers: int) -> Sequence[float]:
    """The elements of a list for the layers; it may have more for the blocks behind them, which guess."""
    n_blocks = meta.get(f"{meta.get('general.architecture')}.block_count")
    if len(values) not in (n_layers, n_blocks):
        raise meta.error(f"{key} has {len(values)} elements, it should have {n_layers}.")
    return values[:n_layers]
