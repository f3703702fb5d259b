"""The steps of a forward pass by name: each writes a kernel and its parameters down in the program.

Shapes are those of one token's row, in float32 where nothing else is said. With outputs_only, a step computes only for
the positions whose logits are wanted, the batch's last ones, and puts those from row 0 on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.architecture.config import ModelConfig
from engine.architecture.xielu import Xielu
from engine.errors import UnsupportedModelError
from engine.forward.alibi import head_slopes
from engine.forward.kv_cache import KVCache
from engine.forward.program import Activations, Program, Rows, float_bits
from engine.forward.rope import Frequencies
from engine.forward.weights import LayerWeights, ModelWeights, Vector
from engine.kernels import records
from engine.kernels.records import ATTENTION, FIXED, PER_OUTPUT, PER_TOKEN
from engine.kernels.sizes import BLOCK, LANES
from engine.machine_code import Function, address_of, step
from engine.panels import Matrix

CHUNK_BYTES = 48 << 10
"""Weights of one chunk of a matrix product: long enough to hide its claim, short enough to share evenly."""

ROWS_TOGETHER = 2
"""Tokens of one chunk of the work between the products."""

CAPPED_TOGETHER = 256
"""Vectors of logits of one chunk."""

ACTIVATIONS = {
    "silu": records.SILU,
    "gelu": records.GELU,
    "clamped": records.CLAMPED,
    "relu2": records.SQUARED_RELU,
    "relu": records.RELU,
}


def query_rows(p: Program, cache: KVCache) -> Rows:
    """Queries by key-value head, then token, then head of the group: the rows that attention takes together.

    A row is one head's query: head_dim numbers in the form that the product with the cache's keys reads; a shape's
    record says how many bytes one takes. A key-value head has batch_size · n_heads / n_kv_heads of them and
    SPARE_QUERIES more. There is room for the largest of the layers.
    """
    parts = (part.record for part in cache.parts.values())
    n_bytes = max((int(record[records.KV_HEADS] * record[records.Q_HEAD_BYTES]) for record in parts), default=0)
    array = np.zeros(n_bytes, np.uint8)
    p.keep(array)
    return Rows(array, n_bytes)


class GatedBuffers:
    """What a gated unit of one width works with. gate_up: (2·width,). h: what it gives, (width,)."""

    def __init__(self, p: Program, width: int, rows: int | None = None) -> None:
        self.gate_up = p.floats(2 * width, rows)
        # Over the gates, unless those are followed by what must be zeros there.
        self.h = Activations(p, width, rows, floats=None if width % BLOCK else self.gate_up)


def add_rotary_tables(p: Program, layers: Sequence[tuple[Frequencies, float]]) -> list[Rows]:
    """Steps: cosines and sines for the batch's positions, (rope_dim,) each; returns where each layer's will be.

    layers: frequencies and magnitude of each; those that share an array share a table.
    """
    tables: dict[int, Rows] = {}
    for frequencies, magnitude in layers:
        if id(frequencies) not in tables:
            table = tables[id(frequencies)] = p.floats(2 * frequencies.size)
            p.keep(frequencies)
            where = (table.address, address_of(frequencies), frequencies.size, float_bits(magnitude))
            p.add(step("rotary.rotary_table"), PER_TOKEN, 0, 64, *where)
    return [tables[id(frequencies)] for frequencies, _ in layers]


def add_per_token(p: Program, function: Function, *parameters: int, outputs_only: bool = False) -> None:
    """A step whose units are the batch's tokens, a few of them together."""
    p.add(function, PER_OUTPUT if outputs_only else PER_TOKEN, 0, ROWS_TOGETHER, *parameters)


def add_embedding(p: Program, config: ModelConfig, weights: ModelWeights, x: Rows) -> None:
    """Steps: each token's row of the embedding, plus its position's vector, then normed, as far as the model does so.

    x: (dim,). Where layers' results are scaled before they are added, x is kept divided by that scale instead: norms do
    not notice, if their epsilon is divided by its square (see `add_norm`).
    Raises UnsupportedModelError for vectors of an odd width.
    """
    add_token_rows(p, weights.embedding, x, config.embedding_scale / config.residual_scale)
    if weights.positions is not None:
        if config.dim % LANES:
            raise UnsupportedModelError(
                f"The model has vectors of {config.dim} numbers for positions; this engine wants multiples of {LANES}.",
                "Choose another model.",
            )
        add_per_token(p, step("positions.add_positions"), *x.where, address_of(weights.positions), config.dim)
    if weights.embedding_norm is not None:
        add_norm(p, config, x, None, weights.embedding_norm, x)


def add_token_rows(p: Program, matrix: Matrix, out: Rows, scale: float) -> None:
    """A step: each token's row of a matrix, times scale. out: (columns,)."""
    add_per_token(p, step("matmul.embed", matrix.plan.format.name), *matrix.where, *out.where, float_bits(scale))


def add_norm(
    p: Program,
    config: ModelConfig,
    x: Rows,
    delta: Rows | None,
    weight: Vector | None,
    out: Activations | Rows | None,
    *,
    delta_norm: Vector | None = None,
    scale: float = 1.0,
    outputs_only: bool = False,
) -> None:
    """A step: add delta (normed by delta_norm, if there is one) to x, times scale; then norm x into out.

    x, delta, out: (dim,); x is changed in place, and so is delta if it is normed. weight, delta_norm: (dim,), for
    all tokens; without weight, out is x. It may be x itself, or None. Both norms have config.norm_eps, for x as
    `add_embedding` has it; that of delta is an RMS norm. weight is followed by the bias where norms
    take the mean away or have one.
    """
    flags = records.OUTPUTS_ONLY if outputs_only else 0
    flags |= _centred(config) or (records.BIASED if config.architecture.norm_biases else 0)
    if config.norm_part != config.dim:
        flags |= config.norm_part // LANES << records.NORM_PARTS_AT
    added = (*delta.where, address_of(delta_norm)) if delta else (0, 0, 0)
    constants = float_bits(config.norm_eps / config.residual_scale**2) | float_bits(scale) << 32
    norm = (address_of(weight), config.dim | flags, constants)
    where = (*x.where, *added, *norm, *_results(out))
    add_per_token(p, step("rows.residual_norm"), *where, outputs_only=outputs_only)


def add_products(
    p: Program, matrices: Sequence[Matrix], x: Activations, y: Rows, *, outputs_only: bool = False
) -> None:
    """Steps: y = matrices · x, their outputs side by side.

    matrices: (rows, columns) each. x: (columns,), in the form that each matrix's format reads. y: (sum of their rows,).
    """
    add_words(p, matrices, x, outputs_only=outputs_only)
    offset = 0
    for matrix in matrices:
        plan = matrix.plan
        product = step("matmul.matmul", plan.format.name)
        chunk = max(2, CHUNK_BYTES // plan.panel_bytes)
        rows = (*x.form(plan.format.reads).where, *y.behind(offset).where)
        p.add(product, FIXED, plan.n_panels, chunk, *matrix.where, *rows, int(outputs_only))
        offset += plan.rows


def add_bias(p: Program, bias: Vector | None, rows: Rows, *, outputs_only: bool = False) -> None:
    """A step: rows += bias, if there is one."""
    if bias is not None:
        where = (*rows.where, address_of(bias), -(-bias.size // LANES))
        add_per_token(p, step("rows.add_vector"), *where, outputs_only=outputs_only)


def add_factors(p: Program, factors: Vector | None, rows: Rows) -> None:
    """A step: rows *= factors, number by number, if there are some."""
    if factors is not None:
        add_per_token(p, step("rows.multiply_vector"), *rows.where, address_of(factors), -(-factors.size // LANES))


def add_skip(p: Program, config: ModelConfig, factor: float, embedding: Rows | None, delta: Rows) -> None:
    """A step: delta += factor · embedding, where a model has such. embedding, delta: (dim,)."""
    if embedding is not None:
        where = (*delta.where, *embedding.where, -(-config.dim // LANES))
        add_per_token(p, step("rows.add_scaled"), *where, float_bits(factor))


def add_sub_norm(p: Program, config: ModelConfig, weight: Vector | None, x: Activations) -> None:
    """A step: RMS norm of x in place, if there is a weight. weight, x: (x.width,)."""
    if weight is not None:
        norm = (address_of(weight), x.width, float_bits(config.norm_eps))
        add_per_token(p, step("rows.residual_norm"), *x.floats.where, 0, 0, 0, *norm, *x.where)


def add_quantizing(p: Program, x: Activations) -> None:
    """A step: quantise float32 that are there already."""
    add_per_token(p, step("latent.quantize_rows"), *x.where, -(-x.width // BLOCK))


def add_post_norm(p: Program, config: ModelConfig, weight: Vector | None, delta: Rows) -> Vector | None:
    """A step: RMS norm of what is added to the stream, in place, where such norms have an epsilon of their own.

    Else nothing. Returns what is left to be done: by what weight `add_norm` shall norm it. weight, delta: (dim,).
    """
    eps = config.architecture.post_norm_eps
    if weight is None or eps is None:
        return weight
    norm = (address_of(weight), config.dim, float_bits(eps))
    add_per_token(p, step("rows.residual_norm"), *delta.where, 0, 0, 0, *norm, *_results(delta))
    return None


def add_words(p: Program, matrices: Sequence[Matrix], x: Activations, *, outputs_only: bool = False) -> None:
    """A step: x as words, if one of the matrices reads those."""
    if any(matrix.plan.format.reads == "words" for matrix in matrices):
        where = (*x.floats.where, *x.words.where, matrices[0].plan.n_blocks)
        add_per_token(p, step("rows.widen"), *where, outputs_only=outputs_only)


def add_query_split(p: Program, config: ModelConfig, index: int, qkv: Rows, gates: Rows | None) -> Rows | None:
    """A step: gates, (q_dim,) per token, out of qkv, where each head has them behind its query; returns where they are.

    Those that have a matrix of their own are at the end of qkv, and stay there. Source: Qwen3-Next (2025).
    """
    attention = config.attention[index]
    if gates is None or config.architecture.gate_matrix:
        return qkv.behind(attention.qkv_dim) if config.architecture.query_gates else None
    sizes = (attention.n_heads, attention.head_dim, 2 * attention.kv_dim)
    add_per_token(p, step("query_gates.split_gates"), *qkv.where, *gates.where, *sizes)
    return gates


def add_query_gates(p: Program, config: ModelConfig, index: int, gates: Rows | None, out: Activations) -> None:
    """A step: attention's results, (q_dim,) per token, times the gates' sigmoids, or softplus.

    gates: (q_dim,), or (n_heads,) where each head has one.
    """
    if gates is not None:
        architecture, attention = config.architecture, config.attention[index]
        how = (int(bool(architecture.head_gates)), float_bits(architecture.gate_softplus))
        where = (*gates.where, *out.where)
        add_per_token(p, step("query_gates.gate_heads"), *where, attention.n_heads, attention.head_dim, *how)


def add_qkv_limit(p: Program, config: ModelConfig, index: int, qkv: Rows) -> None:
    """A step: queries, keys and values of layer index within the model's limit, in place, if it has one."""
    if config.qkv_limit:
        vectors = -(-config.attention[index].qkv_dim // LANES)
        add_per_token(p, step("positions.clamp"), *qkv.where, vectors, float_bits(config.qkv_limit))


def add_long_norms(p: Program, config: ModelConfig, layer: LayerWeights, index: int, qkv: Rows) -> None:
    """Steps: norm queries and keys in place where their norms have weights for all heads.

    That is all of a token's queries together, and all its keys, or each head as the residual stream.
    qkv: (q_dim + 2·kv_dim,). layer: its q_norm is (q_dim,), its k_norm (kv_dim,), its qkv_bias is not added yet.
    """
    architecture, attention = config.architecture, config.attention[index]
    if not architecture.long_qk_norms:
        return
    add_bias(p, layer.qkv_bias, qkv)
    width = attention.head_dim | _centred(config)
    heads = ((layer.q_norm, 0, attention.n_heads), (layer.k_norm, attention.q_dim, attention.n_kv_heads))
    for norm, offset, count in heads:
        part, n_parts = (attention.head_dim * count, 1) if architecture.wide_qk_norms else (width, count)
        how = (address_of(norm), part, float_bits(config.norm_eps), n_parts)
        add_per_token(p, step("rows.norm_parts"), *qkv.behind(offset).where, *how)


def add_rotation(
    p: Program,
    config: ModelConfig,
    layer: LayerWeights,
    index: int,
    qkv: Rows,
    rotary: Rows,
    cache: KVCache,
    q_rows: Rows,
) -> None:
    """A step: bias and norms of each head where the model has them, then rotate; keys and values go to the cache.

    qkv: (qkv_dim,), the queries of all heads, then keys, then values, as far as the layer has matrices for them;
    changed in place. layer: its qkv_bias is (qkv_dim,), and there is none where values are the keys' product; its
    q_norm and k_norm are (head_dim,), unless `add_long_norms` has done with them. rotary: (rope_dim,), from
    `add_rotary_tables`.
    q_rows: where queries go, scaled as config says for their positions; see `query_rows`. cache: takes a key and a
    value, (head_dim,) each, for every key-value head and position of the batch, in its own type and layout; nothing
    from a layer that shares those of another, whose qkv are the queries alone. LANES positions share the cache's lines:
    two threads that write the same lines take them from each other (three times as long).
    """
    part, place = cache.place(index)
    stored_at = place if config.attention[index].shared_from is None else records.STORED_BEFORE
    where = (*qkv.where, rotary.address, address_of(part.record), stored_at, q_rows.address)
    vectors = (layer.qkv_bias, layer.q_norm, layer.k_norm)
    done = config.architecture.long_qk_norms  # by add_long_norms
    before = (*(0 if done else address_of(vector) for vector in vectors), float_bits(config.norm_eps))
    growth = (_growth(config, index), config.query_growth_span)
    p.add(step("rotary.rotate_and_store", cache.kv_name), PER_TOKEN, 0, LANES, *where, *before, *growth)


def add_attention(
    p: Program,
    config: ModelConfig,
    layer: LayerWeights,
    index: int,
    q_rows: Rows,
    cache: KVCache,
    out: Activations,
) -> None:
    """Steps: attention of layer index over its cache: softmax of queries · keys, then the values in that proportion.

    q_rows: as `add_rotation` leaves them. out: (q_dim,). A token sees itself and all before it, or as many positions in
    all as the layer's window has, or those of its own chunk. Scores are softly capped at ±config.attn_softcap, unless
    that is 0.
    layer: its sinks are (n_heads,). Where the model has slopes, a position's distance times its head's is taken off.
    """
    attention, (part, place) = config.attention[index], cache.place(index)
    window = -attention.window if attention.chunked else attention.window
    what = (q_rows.address, place, window, address_of(part.record), float_bits(config.attn_softcap))
    slopes = head_slopes(attention.n_heads, config.alibi) if config.alibi else None
    p.keep(slopes)
    results = (*out.where, address_of(layer.sinks), address_of(slopes))
    group = str(attention.n_heads // attention.n_kv_heads)
    p.add(step("attention.attend", cache.kv_name, group), ATTENTION, 0, 1, *what, *results)
    add_per_token(p, step("attention.merge"), *what, *results)


def add_gate(p: Program, config: ModelConfig, unit: GatedBuffers, xielu: Xielu | None) -> None:
    """A step: activation(gate) · up, number by number, from unit.gate_up to unit.h; activation(up) without a gate.

    xielu: the activation of the layer, where layers have their own.
    """
    hidden = unit.h.width
    if xielu is not None:
        above = float_bits(xielu.squared) | float_bits(xielu.slope) << 32
        numbers = (above, float_bits(xielu.exponential))
        add_per_token(p, step("xielu.activate"), *unit.gate_up.where, hidden, *unit.h.where, *numbers)
        return
    up_at = 0 if config.architecture.ungated else hidden
    activation = ACTIVATIONS[config.architecture.activation]
    add_per_token(p, step("rows.gate"), *unit.gate_up.where, up_at, hidden, *unit.h.where, activation)


def add_logit_cap(p: Program, config: ModelConfig, logits: Rows) -> None:
    """A step: the final soft cap, in place; nothing without one."""
    if config.final_softcap:
        vectors = -(-config.vocab_size // LANES)
        cap = float_bits(config.final_softcap)
        p.add(step("softcap.cap_logits"), FIXED, vectors, CAPPED_TOGETHER, *logits.where, cap)


def _growth(config: ModelConfig, index: int) -> int:
    """How queries of layer index grow with their position, as its kernel has it."""
    if not config.architecture.growth_unturned:
        return float_bits(config.query_growth)
    return 0 if config.attention[index].rope_dim else float_bits(config.query_growth) | 1 << 32


def _centred(config: ModelConfig) -> int:
    """The flag of norms that take the mean away."""
    return records.CENTRED if config.architecture.norm == "layer" else 0


def _results(out: Activations | Rows | None) -> tuple[int, int, int, int]:
    """Where a kernel writes activations; rows are for float32 alone, None for nothing."""
    if out is None:
        return 0, 0, 0, 0
    if isinstance(out, Rows):
        return *out.where, 0, 0
    return out.where
