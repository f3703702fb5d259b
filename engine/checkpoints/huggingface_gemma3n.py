"""Gemma 3n in Hugging Face's format: its streams in `config.json`, and their matrices among the weights.

Source: Gemma3nTextConfig in the transformers repository, and llama.cpp's converter.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, joined_rows
from engine.checkpoints.limits import MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPARSE_LAYERS, USUAL_SPARSITY = 10, 0.95
"""How many of the first layers leave gates out if the configuration does not say, and which share of them."""

PER_LAYER_TABLE = "per_layer_token_embd.weight"

_SQUARE = re.compile(r"(altup_proj|altup_unembd_proj)\.(\d)\.weight")


def gemma3n_keys(values: Metadata, n_layers: int) -> dict[str, object]:
    """Keys of a GGUF, without the architecture's name."""
    return {
        "altup.num_inputs": values.integer("altup_num_inputs", 4, low=2, high=MAX_WIDTH),
        "altup.active_idx": values.integer("altup_active_idx", 0, low=0, high=MAX_WIDTH),
        "attention.shared_kv_layers": values.integer("num_kv_shared_layers", 15, low=0, high=MAX_LAYERS),
        "embedding_length_per_layer_input": values.integer("hidden_size_per_layer_input", 256, low=1, high=MAX_WIDTH),
        "activation_sparsity_scale": array("f", map(_deviations, _sparsities(values, n_layers))),
    }


def _sparsities(values: Metadata, n_layers: int) -> list[float]:
    """The share of gates that each layer leaves out."""
    name = "activation_sparsity_pattern"
    given = values.get(name)
    if given is None:
        return [USUAL_SPARSITY if i < SPARSE_LAYERS else 0.0 for i in range(n_layers)]
    shares = given if isinstance(given, list) else [given] * n_layers
    if len(shares) != n_layers:
        raise values.error(f"{name} has {len(shares)} elements, it should have {n_layers}.")
    return [Metadata({name: share}, values.path).real(name, low=0.0, high=0.9999) for share in shares]


def _deviations(share: float) -> float:
    """Above how many standard deviations the rest of normally distributed numbers are."""
    return NormalDist().inv_cdf(share) if share > 0.0 else -math.inf


def join_squares(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same tensors, but one (streams - 1, dim, dim) for all streams' matrices, and a row for each token.

    What each layer gets of a token has rows for those of texts alone; the others get zeros.
    Raises ModelFileError where a matrix is missing, or where they differ in shape or type.
    """
    joined: dict[str, TensorInfo] = {}
    squares: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in tensors.items():
        found = _SQUARE.fullmatch(name)
        if found is None:
            joined[name] = tensor
        else:
            squares.setdefault(f"{found[1]}.weight", {})[int(found[2])] = tensor
    for name, parts in squares.items():
        shapes = {part.shape for part in parts.values()}
        if sorted(parts) != list(range(len(parts))) or len(shapes) > 1:
            path = next(iter(parts.values())).path
            raise ModelFileError(f"{path}: the matrices {name} are not whole.", "Fetch all parts of the model.")
        below = joined_rows(name, [parts[i] for i in range(len(parts))])
        joined[name] = replace(below, shape=(len(parts), *parts[0].shape))
    embedding, table = joined.get("token_embd.weight"), joined.get(PER_LAYER_TABLE)
    if embedding is not None and table is not None and len(table.shape) == 2:
        joined[PER_LAYER_TABLE] = _with_rows(table, embedding.shape[0])
    return joined


def _with_rows(table: TensorInfo, n_rows: int) -> TensorInfo:
    """Plain numbers with rows of zeros behind them, if there are fewer than so many."""
    missing, (height, width) = n_rows - table.shape[0], table.shape
    if missing <= 0 or not table.type.is_float:
        return table

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        made = np.zeros((count, table.type.row_bytes(width)), np.uint8)
        last = min(first + count, height)
        if first < last:
            made[: last - first] = read_rows(table, first, last - first)
        return made

    return derived(table, make_rows, shape=(n_rows, width), kind=table.type)
