"""The steps of per-layer embeddings: each layer adds something of its own for each token to the residual stream.

Source: Gemma 3n and Gemma 4 (Google 2025), where they are called PLE.
"""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.forward.program import Activations, Program, Rows, float_bits
from engine.forward.steps import add_norm, add_per_token, add_products, add_token_rows
from engine.forward.weights import PerLayerTable, PerLayerWeights, Vector
from engine.kernels import records
from engine.machine_code import address_of, step


class PerLayerBuffers:
    """What all layers work with. width: of what a layer gets, config.per_layer_dim.

    rows: (width,) for the gate of the layer at hand, then (n_layers·width,): what each layer gets of the token.
    x: (dim,), the residual stream as it is. h: (width,).
    """

    def __init__(self, p: Program, config: ModelConfig) -> None:
        self.width = config.per_layer_dim
        self.rows = p.floats((1 + config.n_layers) * self.width)
        self.x, self.h = Activations(p, config.dim), Activations(p, self.width)

    @property
    def inputs(self) -> Rows:
        """The rows from the first layer's part on."""
        return self.rows.behind(self.width)


def add_per_layer_inputs(
    p: Program, config: ModelConfig, table: PerLayerTable, x: Rows, free: Rows | None
) -> PerLayerBuffers:
    """Steps: what each layer gets: its part of the token's row in the table, and of a product with the embedding.

    x: (dim,), the embedding. free: rows that are in no use yet, whose memory is taken if it is large enough. Both parts
    are weighed alike; table.norm has the factor of one already.
    """
    buffers = PerLayerBuffers(p, config)
    width, parts = buffers.width, config.n_layers
    product = p.floats(parts * width, over=free)
    add_token_rows(p, table.embedding, buffers.inputs, (width / 2) ** 0.5)  # (n_layers·width,)
    add_norm(p, config, x, None, None, buffers.x)  # (dim,)
    add_products(p, [table.projection], buffers.x, product)  # (n_layers·width,)
    # The product is to be divided by sqrt(dim), which a norm does not notice but for its epsilon.
    norm = (address_of(table.norm), float_bits(config.norm_eps * config.dim))
    where = (*buffers.inputs.where, *product.where, parts, width)
    add_per_token(p, step("per_layer.add_normed_parts"), *where, *norm)
    return buffers


def add_per_layer(p: Program, layer: PerLayerWeights, index: int, buffers: PerLayerBuffers, delta: Rows) -> Vector:
    """Steps: delta = what layer index makes of its part of the inputs, to be added with the norm that is returned.

    buffers.x: the residual stream. delta: (dim,).
    """
    rows, h, width = buffers.rows, buffers.h, buffers.width
    add_products(p, [layer.gate], buffers.x, rows)  # (width,)
    add_per_token(p, step("rows.gate"), *rows.where, (1 + index) * width, width, *h.where, records.GELU)
    add_products(p, [layer.projection], h, delta)  # (dim,)
    return layer.post_norm
