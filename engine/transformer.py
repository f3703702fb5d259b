"""The transformer: its forward pass as a program of steps, and the state that a conversation leaves in its cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.errors import ContextFullError
from engine.expert_steps import ExpertBuffers, add_experts, add_normed_experts
from engine.kernels.records import FEW_TOKENS
from engine.kernels.sizes import BLOCK, TILE_BYTES, attention_scratch_bytes
from engine.kv_cache import KVCache
from engine.per_layer_steps import add_per_layer, add_per_layer_inputs
from engine.program import Activations, Program, Rows
from engine.query_gates import add_query_gates, add_query_split
from engine.recurrent_state import RecurrentState, recurrent_state
from engine.recurrent_steps import add_recurrence, recurrent_buffers
from engine.reports import ReportKernels
from engine.rope import layer_frequencies
from engine.steps import (
    GatedBuffers,
    add_attention,
    add_bias,
    add_embedding,
    add_gate,
    add_logit_cap,
    add_norm,
    add_products,
    add_rotary_tables,
    add_rotation,
    add_wide_norms,
    query_rows,
)
from engine.team import Team
from engine.weights import ModelWeights

MAX_OUTPUTS = 64
"""Positions of a batch that can give logits."""


class Transformer:
    """Weights, cache and program of one model; `evaluate` is all there is to do with it.

    batch_size: tokens that go through together. cached_ids: the tokens whose keys and values the cache holds.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: ModelWeights,
        max_seq_len: int,
        batch_size: int,
        threads: int,
        kv_name: str = "f16",
        report: ReportKernels = lambda done, total, name: None,
    ) -> None:
        self.config, self.weights = config, weights
        self.max_seq_len, self.batch_size = max_seq_len, batch_size
        self.cached_ids: list[int] = []
        self.state = recurrent_state(config, weights, self.cached_ids)
        self.cache = KVCache(config, batch_size, max_seq_len, kv_name)
        program = Program(batch_size)
        logits = forward(program, config, weights, self.cache, self.state)
        self._logits = [logits.row(i, config.vocab_size) for i in range(min(batch_size, MAX_OUTPUTS))]
        self._program = program
        head_dim = max((shape.head_dim for shape in config.shapes), default=0)
        self._team = Team(program.compile(report), threads, max(TILE_BYTES, attention_scratch_bytes(head_dim)))

    def expect(self, n_positions: int) -> None:
        """Make room in the cache for a text of so many tokens at once, rather than double it again and again."""
        self.cache.reserve(min(n_positions, self.max_seq_len), keep=bool(self.cached_ids))

    def reach(self, n: int) -> int:
        """The last position up to n from which the tokens in the cache can be followed by others, or read again."""
        return n if self.state is None else self.state.reach(n)

    def parts(self, start: int, end: int, shared: int) -> Iterator[tuple[int, int]]:
        """The batches in which positions start…end are best read; whoever takes one reads it before the next.

        shared: how many tokens the cache had in common with the text. Where a model cannot go back to any position, the
        state is kept there, since other texts may have the same beginning, and at the end, with a last batch so short
        that any place in it can be come back to: a next text may differ from where an answer's header begins.
        """
        places = () if self.state is None else (shared, end - FEW_TOKENS)
        while start < end:
            stop = min([start + self.batch_size, end, *(place for place in places if place > start)])
            yield start, stop
            if self.state is not None and stop in (shared, end):
                self.state.remember()
            start = stop

    def evaluate(self, ids: Sequence[int], pos: int) -> NDArray[np.float32]:
        """Read tokens at positions pos…, forgetting what the cache held from there on.

        Returns the last one's logits (vocab_size,): a view, valid until the next call.
        """
        return self.evaluate_last(ids, pos, 1)[0]

    def evaluate_last(self, ids: Sequence[int], pos: int, n_out: int) -> list[NDArray[np.float32]]:
        """As evaluate, with the logits of each of the last n_out tokens, at most MAX_OUTPUTS."""
        self._check(ids, pos, n_out)
        self.cache.reserve(pos + len(ids), keep=pos > 0)
        if self.state is not None:
            self.state.go_to(pos)
        del self.cached_ids[pos:]
        tokens = np.array(ids, np.int64)
        last = max(n_out, (len(ids) - 1) % self.batch_size + 1)
        start = 0
        while start < len(ids):
            rest = len(ids) - start
            end = start + (rest if rest == last else min(self.batch_size, rest - last))
            self._team.run(tokens[start:end], pos + start, n_out if rest == last else 1)
            if self.state is not None:
                self.state.went_on(pos + start, end - start)
            self.cached_ids.extend(ids[start:end])
            start = end
        return self._logits[:n_out]

    def _check(self, ids: Sequence[int], pos: int, n_out: int) -> None:
        """Kernels trust what they get, so nothing out of range goes there."""
        if not 0 <= pos <= len(self.cached_ids):
            raise ValueError(f"position {pos} does not follow the {len(self.cached_ids)} tokens in the cache")
        if self.reach(pos) != pos:
            raise ValueError(f"the state of position {pos} is not there any more, that of {self.reach(pos)} is")
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


def forward(
    p: Program, config: ModelConfig, weights: ModelWeights, cache: KVCache, state: RecurrentState | None
) -> Rows:
    """Write down the forward pass of a LLaMA-family model; returns the buffer of logits.

    Comments give shapes per token. Source: Touvron et al. 2023, with grouped-query attention (Ainslie et al. 2023);
    what other architectures do differently is data (engine/architectures.py), and None in the weights of those
    that do without.
    """
    dim = config.dim
    x, x_norm, delta = p.floats(dim), Activations(p, dim), p.floats(dim)
    q_rows = query_rows(p, cache)
    mixed_dim, parallel = max(map(config.mixed_dim, range(config.n_layers))), config.architecture.parallel
    att = x_norm if mixed_dim == dim and not parallel else Activations(p, mixed_dim)  # x_norm is in qkv by then
    logits = p.floats(config.vocab_size, MAX_OUTPUTS)
    experts = ExpertBuffers(p, config, config.experts) if config.experts is not None else None
    widths = dict.fromkeys(layer.w_down.columns for layer in weights.layers if layer.w_down is not None)
    units = {width: GatedBuffers(p, width) for width in widths}
    widest = max([*units.values(), *([experts.unit] if experts else [])], key=lambda unit: unit.gate_up.array.size)
    has_padding = widest.h.width % BLOCK or any(shape.head_dim % BLOCK for shape in config.shapes)
    first_dim = max(map(config.first_dim, range(config.n_layers)))
    free = None if has_padding else widest.gate_up
    qkv = p.floats(first_dim, over=free)
    gates = p.floats(mixed_dim) if config.architecture.query_gates else None
    recurrent = recurrent_buffers(p, config, state)
    p.keep(cache, weights)

    rotary = add_rotary_tables(p, layer_frequencies(config, weights.rope_divisors_for(config, cache.max_seq_len)))
    add_embedding(p, config, weights.embedding, x)  # (dim,)
    per_layer = add_per_layer_inputs(p, config, weights.per_layer, x, free) if weights.per_layer else None
    added, added_norm, scale = None, None, 1.0
    for i, layer in enumerate(weights.layers):
        add_norm(p, config, x, added, layer.attn_norm, x_norm, delta_norm=added_norm, scale=scale)
        add_products(p, layer.wqkv, x_norm, qkv)  # (qkv_dim,)
        if state is not None and layer.recurrent is not None:
            add_recurrence(p, config, i, state, recurrent, qkv, att)  # (recurrence.dim,)
        else:
            add_query_split(p, config, i, qkv, gates)
            add_wide_norms(p, config, layer, i, qkv)
            add_rotation(p, config, layer, i, qkv, rotary[i], cache, q_rows)
            add_attention(p, config, layer, i, q_rows, cache, att)  # (q_dim,)
            add_query_gates(p, config, i, gates, att)
        add_products(p, [layer.wo], att, delta)  # (dim,)
        add_bias(p, layer.wo_bias, delta)

        add_norm(p, config, x, delta, layer.ffn_norm, None if parallel else x_norm, delta_norm=layer.attn_post_norm)
        if layer.w_down is not None:  # the feed-forward layer, or what is shared beside experts
            unit = units[layer.w_down.columns]
            add_products(p, layer.w_gate_up, x_norm, unit.gate_up)  # (2·hidden_dim,)
            add_bias(p, layer.gate_up_bias, unit.gate_up)
            add_gate(p, config, unit)  # (hidden_dim,)
            add_products(p, [layer.w_down], unit.h, delta)  # (dim,)
            add_bias(p, layer.down_bias, delta)
        if layer.experts is not None and experts is not None:
            if (norms := layer.experts.norms) is not None:
                add_normed_experts(p, config, layer.experts, norms, experts, x, x_norm, delta)  # (dim,)
            else:
                add_experts(p, config, layer.experts, experts, x_norm, delta, beside=layer.w_down is not None)  # (dim,)
        added, added_norm, scale = delta, layer.ffn_post_norm, layer.scale
        if layer.per_layer is not None and per_layer is not None:
            add_norm(p, config, x, delta, None, per_layer.x, delta_norm=layer.ffn_post_norm)
            added_norm = add_per_layer(p, config, layer.per_layer, i, per_layer, delta)  # (dim,)
    add_norm(p, config, x, added, weights.output_norm, x_norm, delta_norm=added_norm, scale=scale, outputs_only=True)
    add_products(p, [weights.output], x_norm, logits, outputs_only=True)  # (vocab_size,)
    add_logit_cap(p, config, logits)
    return logits
