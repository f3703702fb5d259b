"""Alternating updates: a residual stream of several, of which each layer computes one and guesses the others.

Source: Baykal et al. 2023 (AltUp), Menghani et al. 2024 (LAuReL), as Gemma 3n (Google 2025) has both.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.architecture.architecture import Architecture
from engine.checkpoints import Metadata, TensorInfo
from engine.checkpoints.limits import MAX_WIDTH
from engine.errors import UnsupportedModelError
from engine.kernels.altup_records import MOST_STREAMS
from engine.kernels.sizes import BLOCK

LAUREL = ("laurel_l", "laurel_r")
"""The matrices of the way around attention."""

EMBED, UNEMBED = "altup_proj", "altup_unembd_proj"
"""Matrices of a square for each stream but the first: what makes it of the embedding, and what goes into the output."""

_SPARSE_LAYERS, _USUAL_CUTOFF = 10, 1.6448533535003662
"""How many of the first layers leave gates out where the file does not say, and those below which: the normal
distribution's 95 of 100."""


@dataclass(frozen=True, slots=True)
class AltUp:
    """The streams of a model.

    streams: how many there are. active: which of them layers compute. rank: width of the way around attention.
    cutoffs: for each layer, by how many standard deviations gates have to be above their mean to count, None where
    all do.
    """

    streams: int
    active: int
    rank: int
    cutoffs: tuple[float | None, ...]


def altup_from_gguf(
    meta: Metadata,
    architecture: Architecture,
    dim: int,
    hidden_dims: Sequence[int],
    tensors: Mapping[str, TensorInfo],
) -> AltUp | None:
    """The streams by a file's metadata, with every number checked; None for an architecture that has one."""
    if not architecture.altup:
        return None
    arch = architecture.name
    streams = meta.integer(f"{arch}.altup.num_inputs", 4, low=2, high=MAX_WIDTH)
    first = tensors.get(f"blk.0.{LAUREL[0]}.weight")
    if streams > MOST_STREAMS or any(width % BLOCK for width in (dim, *hidden_dims)):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has {streams} streams of {dim}; this engine runs up to {MOST_STREAMS}, of "
            f"widths in multiples of {BLOCK}.",
            "Choose another model.",
        )
    return AltUp(
        streams=streams,
        active=meta.integer(f"{arch}.altup.active_idx", 0, low=0, high=streams - 1),
        rank=first.shape[0] if first is not None and 0 < first.shape[0] <= MAX_WIDTH else BLOCK,
        cutoffs=_cutoffs(meta, f"{arch}.activation_sparsity_scale", len(hidden_dims)),
    )


def _cutoffs(meta: Metadata, key: str, n_layers: int) -> tuple[float | None, ...]:
    values = meta.get(key)
    if values is None:
        return tuple(_USUAL_CUTOFF if i < _SPARSE_LAYERS else None for i in range(n_layers))
    if not isinstance(values, array) or len(values) != n_layers or any(not value < 1e3 for value in values):
        raise meta.error(f"{key} should be a list of {n_layers} numbers.")
    return tuple(None if value == -math.inf else float(value) for value in values)


def altup_shapes(altup: AltUp, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors outside of the layers, with their shapes."""
    yield from ((f"{name}.weight", (altup.streams - 1, dim, dim)) for name in (EMBED, UNEMBED))


def layer_shapes(altup: AltUp, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Those of a layer."""
    n = altup.streams
    yield "altup_router.weight", (n, dim)
    yield "altup_router_norm.weight", (dim,)
    yield "altup_predict_coef.weight", (n * n, n)
    yield "altup_correct_coef.weight", (n, n)
    yield "altup_correct_scale.weight", (dim,)
    yield f"{LAUREL[0]}.weight", (altup.rank, dim)
    yield f"{LAUREL[1]}.weight", (dim, altup.rank)
    yield "laurel_post_norm.weight", (dim,)
