"""The transformer: its forward pass as a program of steps, and the state that a conversation leaves in its cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.errors import ContextFullError
from engine.kernels.attention import attend, attention_scratch_bytes, merge
from engine.kernels.formats import BLOCK
from engine.kernels.matmul import TILE_BYTES, embed, matmul
from engine.kernels.records import ATTENTION, FIXED, PER_OUTPUT, PER_TOKEN
from engine.kernels.rows import (
    HALF_APART,
    HEAD_DIM,
    HEAD_PAD,
    HEADS,
    KV_HEADS,
    OUTPUTS_ONLY,
    Q_HEAD_BYTES,
    Q_SCALE,
    ROTARY_PAIRS,
    SHAPE_FIELDS,
    WINDOW,
    residual_norm,
    rotary_table,
    rotate_and_store,
    silu_gate,
)
from engine.kv_cache import KVCache
from engine.panels import Matrix
from engine.program import Program, Rows, float_bits
from engine.rope import rotary_frequencies
from engine.team import Team
from engine.weights import ModelWeights, Vector

MAX_OUTPUTS = 64
"""Positions of a batch that can give logits."""

CHUNK_BYTES = 48 << 10
"""Weights of one chunk of a matrix product: long enough to hide its claim, short enough to share evenly."""

ROWS_TOGETHER = 4
"""Tokens of one chunk of the work between the products."""


class Transformer:
    """Weights, cache and program of one model; `evaluate` is all there is to do with it.

    batch_size: tokens that go through together. cached_ids: the tokens whose keys and values the cache holds.
    """

    def __init__(
        self, config: ModelConfig, weights: ModelWeights, max_seq_len: int, batch_size: int, threads: int
    ) -> None:
        self.config, self.weights = config, weights
        self.max_seq_len, self.batch_size = max_seq_len, batch_size
        self.cached_ids: list[int] = []
        self._shape = attention_shape(config, batch_size)
        self.cache = KVCache(
            self._shape, config.n_layers, config.n_heads, config.n_kv_heads, config.head_dim, max_seq_len
        )
        program = Program(batch_size)
        self._logits = forward(program, config, weights, self._shape)
        self._program = program
        self._team = Team(program.table(), threads, max(TILE_BYTES, attention_scratch_bytes(config.head_dim)))

    def evaluate(self, ids: Sequence[int], pos: int) -> NDArray[np.float32]:
        """Read tokens at positions pos…, forgetting what the cache held from there on.

        Returns the last one's logits (vocab_size,): a view, valid until the next call.
        """
        return self.evaluate_last(ids, pos, 1)[0]

    def evaluate_last(self, ids: Sequence[int], pos: int, n_out: int) -> list[NDArray[np.float32]]:
        """As evaluate, with the logits of each of the last n_out tokens, at most MAX_OUTPUTS."""
        self._check(ids, pos, n_out)
        self.cache.reserve(pos + len(ids))
        del self.cached_ids[pos:]
        tokens = np.array(ids, np.int64)
        last = max(n_out, (len(ids) - 1) % self.batch_size + 1)
        start = 0
        while start < len(ids):
            rest = len(ids) - start
            end = start + (rest if rest == last else min(self.batch_size, rest - last))
            self._team.run(tokens[start:end], pos + start, n_out if rest == last else 1)
            self.cached_ids.extend(ids[start:end])
            start = end
        return [self._logits.row(i, self.config.vocab_size) for i in range(n_out)]

    def _check(self, ids: Sequence[int], pos: int, n_out: int) -> None:
        """Kernels trust what they get, so nothing out of range goes there."""
        if not 0 <= pos <= len(self.cached_ids):
            raise ValueError(f"position {pos} does not follow the {len(self.cached_ids)} tokens in the cache")
        if pos + len(ids) > self.max_seq_len:
            raise ContextFullError(pos + len(ids), self.max_seq_len)
        if not 1 <= n_out <= min(len(ids), MAX_OUTPUTS, self.batch_size):
            raise ValueError(f"{n_out} outputs asked of {len(ids)} tokens")
        if min(ids) < 0 or max(ids) >= self.config.vocab_size:
            raise ValueError(f"token ids go from 0 to {self.config.vocab_size - 1}")

    def close(self) -> None:
        """End the threads and give the memory back."""
        self._team.close()
        self.weights.close()


def forward(p: Program, config: ModelConfig, weights: ModelWeights, shape: NDArray[np.int64]) -> Rows:
    """Write down the forward pass of a LLaMA-family model; returns the buffer of logits.

    Comments give shapes per token. Source: Touvron et al. 2023, with grouped-query attention (Ainslie et al. 2023).
    """
    dim, hidden = config.dim, config.hidden_dim
    x, x_norm, x_quant = p.floats(dim), p.floats(dim), p.quants(dim)
    qkv, q_rows = p.floats(config.q_dim + 2 * config.kv_dim), query_rows(p, config)
    att, att_quant, delta = p.floats(config.q_dim), p.quants(config.q_dim), p.floats(dim)
    gate_up, h, h_quant = p.floats(2 * hidden), p.floats(hidden), p.quants(hidden)
    logits = p.floats(config.vocab_size, MAX_OUTPUTS)
    rotary = p.floats(config.rope_dim)

    add_rotary_table(p, config, weights, rotary)
    add_embedding(p, weights.embedding, x)  # (dim,)
    added = None
    for i, layer in enumerate(weights.layers):
        add_norm(p, config, x, added, layer.attn_norm, x_norm, x_quant)
        add_products(p, layer.wqkv, x_norm, x_quant, qkv)  # (q_dim + 2·kv_dim,)
        p.add(
            rotate_and_store,
            PER_TOKEN,
            0,
            ROWS_TOGETHER,
            qkv.address,
            qkv.stride,
            rotary.address,
            shape.ctypes.data,
            i,
            q_rows.address,
        )
        att_parameters = (
            q_rows.address,
            i,
            0,
            shape.ctypes.data,
            0,
            att.address,
            att.stride,
            att_quant.address,
            att_quant.stride,
        )
        p.add(attend, ATTENTION, 0, 1, *att_parameters)
        p.add(merge, PER_TOKEN, 0, ROWS_TOGETHER, *att_parameters)  # (q_dim,)
        add_products(p, [layer.wo], att, att_quant, delta)  # (dim,)

        add_norm(p, config, x, delta, layer.ffn_norm, x_norm, x_quant)
        add_products(p, layer.w_gate_up, x_norm, x_quant, gate_up)  # (2·hidden_dim,)
        p.add(
            silu_gate,
            PER_TOKEN,
            0,
            ROWS_TOGETHER,
            gate_up.address,
            gate_up.stride,
            hidden,
            hidden,
            h.address,
            h.stride,
            h_quant.address,
            h_quant.stride,
        )  # (hidden_dim,)
        add_products(p, [layer.w_down], h, h_quant, delta)  # (dim,)
        added = delta
    add_norm(p, config, x, added, weights.output_norm, x_norm, x_quant, outputs_only=True)
    add_products(p, [weights.output], x_norm, x_quant, logits, outputs_only=True)  # (vocab_size,)
    p.keep(x, x_norm, x_quant, qkv, q_rows, att, att_quant, delta, gate_up, h, h_quant, rotary, shape, weights)
    return logits


def attention_shape(config: ModelConfig, batch_size: int) -> NDArray[np.int64]:
    """The shape record of attention; the cache adds its part."""
    shape = np.zeros(SHAPE_FIELDS, np.int64)
    group = config.n_heads // config.n_kv_heads
    pad = -(-config.head_dim // BLOCK) * BLOCK
    shape[HEADS], shape[KV_HEADS] = config.n_heads, config.n_kv_heads
    shape[HEAD_DIM], shape[HEAD_PAD] = config.head_dim, pad
    shape[ROTARY_PAIRS], shape[HALF_APART] = config.rope_dim // 2, config.rope_order == "neox"
    shape[Q_HEAD_BYTES] = (batch_size * group + BLOCK) * pad * 4
    shape[Q_SCALE] = float_bits(config.head_dim**-0.5)
    shape[WINDOW] = config.sliding_window or 0
    return shape


def query_rows(p: Program, config: ModelConfig) -> Rows:
    """Queries by key-value head, then token, then head of the group: the rows that attention takes together."""
    group = config.n_heads // config.n_kv_heads
    pad = -(-config.head_dim // BLOCK) * BLOCK
    array = np.zeros(config.n_kv_heads * (p.max_tokens * group + BLOCK) * pad * 4, np.uint8)
    return Rows(array, pad * 4)


def add_rotary_table(p: Program, config: ModelConfig, weights: ModelWeights, rotary: Rows) -> None:
    """A step: cosines and sines for the batch's positions."""
    frequencies, magnitude = rotary_frequencies(config, weights.rope_divisors)
    p.keep(frequencies)
    p.add(
        rotary_table, PER_TOKEN, 0, 64, rotary.address, frequencies.ctypes.data, frequencies.size, float_bits(magnitude)
    )


def add_embedding(p: Program, embedding: Matrix, x: Rows) -> None:
    """A step: each token's row of the embedding."""
    plan = embedding.plan
    p.add(
        embed(plan.format.name),
        PER_TOKEN,
        0,
        ROWS_TOGETHER,
        embedding.address,
        plan.n_blocks,
        plan.panel_bytes,
        x.address,
        x.stride,
        float_bits(1.0),
    )


def add_norm(
    p: Program,
    config: ModelConfig,
    x: Rows,
    delta: Rows | None,
    weight: Vector,
    out: Rows,
    quant: Rows,
    *,
    outputs_only: bool = False,
) -> None:
    """A step: add delta to the residual stream x, then norm it into out and, quantised, into quant."""
    kind, flag = (PER_OUTPUT, OUTPUTS_ONLY) if outputs_only else (PER_TOKEN, 0)
    p.add(
        residual_norm,
        kind,
        0,
        ROWS_TOGETHER,
        x.address,
        x.stride,
        delta.address if delta else 0,
        delta.stride if delta else 0,
        0,
        weight.ctypes.data,
        config.dim | flag,
        float_bits(config.norm_eps),
        out.address,
        out.stride,
        quant.address,
        quant.stride,
    )


def add_products(
    p: Program, matrices: Sequence[Matrix], x: Rows, quant: Rows, y: Rows, *, outputs_only: bool = False
) -> None:
    """Steps: y = matrices · x, their outputs side by side."""
    offset = 0
    for matrix in matrices:
        plan = matrix.plan
        source = x if plan.format.is_float else quant
        chunk = max(1, CHUNK_BYTES // plan.panel_bytes)
        p.add(
            matmul(plan.format.name),
            FIXED,
            plan.n_panels,
            chunk,
            matrix.address,
            plan.n_blocks,
            plan.panel_bytes,
            source.address,
            source.stride,
            y.address + 4 * offset,
            y.stride,
            int(outputs_only),
        )
        offset += plan.rows
