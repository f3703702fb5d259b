"""The steps of attention whose keys and values are made of a latent vector, and the buffers that all layers share.

The cache keeps the latent vector instead of keys and values: a query is multiplied by its head's keys first, and what
attention gives by its head's values. So a position takes little memory, however many heads there are.

Source: DeepSeek-V2 (2024), multi-head latent attention.
"""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.forward.kv_cache import KVCache
from engine.forward.program import Activations, Program, Rows, float_bits
from engine.forward.steps import CHUNK_BYTES, add_attention, add_per_token, add_products, add_quantizing
from engine.forward.weights import LayerWeights, Vector
from engine.kernels.records import FIXED, PER_TOKEN, X_BLOCK_BYTES
from engine.kernels.sizes import BLOCK, LANES
from engine.machine_code import address_of, step
from engine.panels import Matrix


class LatentBuffers:
    """What the layers work with.

    low: (query_rank,), what queries are made of, in the layer's first product; None where they are in that themselves.
    q: (n_heads·query_dim,). plain: (n_heads·plain_dim,), their parts that are not turned. queries: (n_heads·head_dim,),
    as they read the cache. results: (n_heads·rank,), over those.
    """

    def __init__(self, p: Program, config: ModelConfig, qkv: Rows) -> None:
        attention = next(layer for layer in config.attention if layer.latent is not None)
        assert attention.latent is not None
        latent, heads = attention.latent, attention.n_heads
        self.low = Activations(p, latent.query_rank, floats=qkv) if latent.query_rank else None
        self.q = p.floats(heads * attention.query_dim) if latent.query_rank else qkv
        self.plain = Activations(p, heads * latent.plain_dim)
        self.queries = p.floats(heads * attention.head_dim)
        self.results = Activations(p, heads * latent.rank, floats=self.queries)


def latent_buffers(p: Program, config: ModelConfig, qkv: Rows) -> LatentBuffers | None:
    """The buffers, where layers have a latent vector. qkv: what a layer makes of its input first."""
    return LatentBuffers(p, config, qkv) if config.architecture.latent else None


def add_latent_attention(
    p: Program,
    config: ModelConfig,
    layer: LayerWeights,
    index: int,
    b: LatentBuffers,
    qkv: Rows,
    rotary: Rows,
    cache: KVCache,
    q_rows: Rows,
    out: Activations,
) -> None:
    """Steps: out = the attention of layer index for qkv, whose latent vector goes to the cache.

    qkv: what queries are made of, or those, then the latent vector and what is turned of keys, (rank + rope_dim,);
    changed in place. out: (n_heads·value_dim,).
    """
    attention, weights, (part, place) = config.attention[index], layer.latent, cache.place(index)
    latent = attention.latent
    assert latent is not None and weights is not None
    kept, heads = qkv.behind(attention.latent_at), attention.n_heads
    if b.low is not None and weights.query_norm is not None:
        _add_part_norm(p, config, qkv, weights.query_norm, latent.query_rank)
        add_quantizing(p, b.low)
        add_products(p, weights.w_queries, b.low, b.q)  # (n_heads·query_dim,)
    _add_part_norm(p, config, kept, weights.norm, latent.rank)
    plain = b.plain
    sizes = (heads, latent.plain_dim, attention.rope_dim, latent.rank)
    add_per_token(p, step("latent.split_queries"), *b.q.where, *plain.where, *b.queries.where, *sizes)
    _add_head_products(p, weights.w_keys, heads, plain, b.queries, attention.head_dim)
    rows = (*kept.where, *b.queries.where, rotary.address)
    stored = (address_of(part.record), place, q_rows.address)
    growth = (float_bits(config.query_growth), config.query_growth_span)
    p.add(step("latent.rotate_and_store", cache.kv_name), PER_TOKEN, 0, LANES, *rows, *stored, *growth)
    add_attention(p, config, layer, index, q_rows, cache, b.results)  # (n_heads·rank,)
    _add_head_products(p, weights.w_values, heads, b.results, out.floats, latent.value_dim)  # (n_heads·value_dim,)
    add_quantizing(p, out)


def _add_part_norm(p: Program, config: ModelConfig, rows: Rows, weight: Vector, width: int) -> None:
    """A step: norm the first `width` numbers of each row in place."""
    norm = (address_of(weight), width, float_bits(config.norm_eps), 1)
    add_per_token(p, step("rows.norm_parts"), *rows.where, *norm)


def _add_head_products(p: Program, matrix: Matrix, heads: int, x: Activations, y: Rows, y_width: int) -> None:
    """Steps: each head's part of y = its matrix, of those one below the other, times its part of x.

    y_width: numbers from one head's part of y to the next one's; those behind the product's stay.
    """
    plan = matrix.plan
    if plan.format.reads == "words":
        add_per_token(p, step("rows.widen"), *x.floats.where, *x.words.where, x.width // BLOCK)
    rows = (*x.form(plan.format.reads).where, *y.where)
    parts = (plan.n_panels // heads, plan.n_blocks * X_BLOCK_BYTES[plan.format.reads], 4 * y_width)
    chunk = max(2, CHUNK_BYTES // plan.panel_bytes)
    product = step("head_products.head_product", plan.format.name)
    p.add(product, FIXED, plan.n_panels, chunk, *matrix.where, *rows, *parts)
