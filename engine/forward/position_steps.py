"""The steps of models that do otherwise than turn queries and keys; none in others."""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.errors import UnsupportedModelError
from engine.forward.program import Program, Rows, address_of, float_bits
from engine.forward.steps import add_norm, add_per_token
from engine.forward.weights import ModelWeights
from engine.kernels.sizes import LANES
from engine.machine_code import step


def add_to_embedding(p: Program, config: ModelConfig, weights: ModelWeights, x: Rows) -> None:
    """Steps: the embedding += its position's vector, then it is normed, as far as the model does so. x: (dim,).

    Raises UnsupportedModelError for vectors of an odd width.
    """
    if weights.positions is not None:
        if config.dim % LANES:
            raise UnsupportedModelError(
                f"The model has vectors of {config.dim} numbers for positions; this engine wants multiples of {LANES}.",
                "Choose another model.",
            )
        add_per_token(p, step("positions.add_positions"), *x.where, address_of(weights.positions), config.dim)
    if weights.embedding_norm is not None:
        add_norm(p, config, x, None, weights.embedding_norm, x)


def add_qkv_limit(p: Program, config: ModelConfig, index: int, qkv: Rows) -> None:
    """A step: queries, keys and values of layer index within the model's limit, in place, if it has one."""
    if config.qkv_limit:
        vectors = -(-config.attention[index].qkv_dim // LANES)
        add_per_token(p, step("positions.clamp"), *qkv.where, vectors, float_bits(config.qkv_limit))
