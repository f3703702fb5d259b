"""The steps of models with several residual streams, of which layers compute one. None in others.

Source: Gemma 3n (Google 2025), with AltUp (Baykal et al. 2023) and LAuReL (Menghani et al. 2024).
"""

from __future__ import annotations

import numpy as np

from engine.architecture.config import ModelConfig
from engine.forward.buffers import MAX_OUTPUTS
from engine.forward.program import Activations, Program, Rows, float_bits
from engine.forward.steps import GatedBuffers, add_norm, add_per_token, add_products
from engine.forward.weights import AltUpTable, AltUpWeights, Vector
from engine.kernels import altup_records as records
from engine.machine_code import address_of, step

MEAN_OF_TWO = 0.5**0.5
"""What the sum of attention's result and LAuReL's is multiplied by."""


class Streams:
    """The streams of each token. rows: (streams·dim,). x: (dim,), the active one, where layers find and change it.

    low: (rank,), between LAuReL's two matrices. record: what the steps' kernels share.
    """

    def __init__(self, p: Program, config: ModelConfig, table: AltUpTable, x: Rows) -> None:
        altup = table.altup
        self.count, self.dim = altup.streams, config.dim
        self.rows, self.x, self.low = p.floats(self.count * self.dim), x, Activations(p, altup.rank)
        self.record = np.zeros(records.STREAMS_FIELDS, np.int64)
        self.record[[records.STREAMS, records.STREAMS_STRIDE]] = self.rows.where
        self.record[[records.COUNT, records.ACTIVE, records.WIDTH]] = self.count, altup.active, self.dim
        self.record[[records.ACTIVE_X, records.ACTIVE_X_STRIDE]] = x.where
        self.record[records.ROUTER_EPS] = float_bits(config.norm_eps)
        p.keep(self.record)

    def one(self, index: int) -> Rows:
        """The rows from one stream on."""
        return self.rows.behind(index * self.dim)

    @property
    def address(self) -> int:
        """Of the record."""
        return address_of(self.record)


def add_streams(
    p: Program, config: ModelConfig, table: AltUpTable | None, x: Rows, free: Activations
) -> Streams | None:
    """Steps: the streams of each token: its embedding, and what matrices make of that, as large as it.

    x, free: (dim,); x is the embedding.
    """
    if table is None:
        return None
    streams = Streams(p, config, table, x)
    add_norm(p, config, x, None, None, streams.rows)
    add_norm(p, config, x, None, None, free)
    add_products(p, [table.embed], free, streams.one(1))  # ((streams - 1)·dim,)
    add_per_token(p, step("altup.match"), streams.address)
    return streams


def add_prediction(p: Program, layer: AltUpWeights | None, streams: Streams | None) -> None:
    """A step: guesses for all streams from all of them; the active one's goes to streams.x."""
    if layer is not None and streams is not None:
        where = (streams.address, address_of(layer.router), address_of(layer.predict))
        add_per_token(p, step("altup.predict"), *where)


def add_laurel(
    p: Program,
    config: ModelConfig,
    layer: AltUpWeights | None,
    streams: Streams | None,
    x_norm: Activations,
    product: Rows,
) -> float:
    """Steps: streams.x += LAuReL beside attention: x_norm, and two low-rank matrices' product with it, normed.

    x_norm, product: (dim,), the latter in no use. Returns what the sum with attention's result is multiplied by.
    """
    if layer is None or streams is None:
        return 1.0
    low = streams.low
    add_products(p, [layer.laurel[0]], x_norm, low.floats)  # (rank,)
    norm = (0, low.width, float_bits(config.norm_eps))
    add_per_token(p, step("rows.residual_norm"), *low.floats.where, 0, 0, 0, *norm, *low.where)
    add_products(p, [layer.laurel[1]], low, product)  # (dim,)
    add_norm(p, config, streams.x, product, None, None, delta_norm=layer.laurel_norm)
    add_norm(p, config, streams.x, x_norm.floats, None, None)
    return MEAN_OF_TWO


def add_cutoff(p: Program, layer: AltUpWeights | None, unit: GatedBuffers) -> None:
    """A step: leave out of a gated unit's gates, in place, all but the largest; nothing in layers where all count."""
    if layer is not None and layer.cutoff is not None:
        add_per_token(p, step("altup.cut_gates"), *unit.gate_up.where, unit.h.width, float_bits(layer.cutoff))


def add_correction(p: Program, layer: AltUpWeights | None, streams: Streams | None, out: Activations) -> None:
    """A step: all streams by what the layer has made of streams.x; out = the active one, weighed. out: (dim,)."""
    if layer is not None and streams is not None:
        weights = map(address_of, (layer.router, layer.correct, layer.scale))
        add_per_token(p, step("altup.correct"), streams.address, *weights, *out.where)


def add_to_others(p: Program, config: ModelConfig, streams: Streams, delta: Rows, norm: Vector) -> None:
    """A step: each stream but the first += delta, normed. delta: (dim,), changed in place."""
    added = (*delta.where, address_of(norm), float_bits(config.norm_eps))
    add_per_token(p, step("altup.add_to_others"), streams.address, *added)


def add_merge(
    p: Program, config: ModelConfig, table: AltUpTable, streams: Streams, copied: Activations, free: Rows | None
) -> None:
    """Steps: streams.x = the mean of all streams, for the output positions.

    Those but the first go through a matrix each, and are made as large as the active one. copied: (dim,). free: rows in
    no use, whose memory is taken if it is large enough.
    """
    product = p.floats((streams.count - 1) * streams.dim, MAX_OUTPUTS, over=free)
    for i, matrix in enumerate(table.unembed):
        add_norm(p, config, streams.one(1 + i), None, None, copied, outputs_only=True)
        add_products(p, [matrix], copied, product.behind(i * streams.dim), outputs_only=True)  # (dim,)
    add_per_token(p, step("altup.merge"), streams.address, *product.where, outputs_only=True)
