"""The forward pass of every architecture, written down as a program of steps. Comments give shapes per token.

Source: Touvron et al. 2023, with grouped-query attention (Ainslie et al. 2023). What other architectures do differently
is data (engine/architecture/architectures.py), and None in the weights of those that do without.
"""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.forward.altup_steps import (
    Streams,
    add_correction,
    add_cutoff,
    add_laurel,
    add_merge,
    add_prediction,
    add_streams,
    add_to_others,
)
from engine.forward.buffers import Buffers
from engine.forward.expert_steps import add_experts, add_normed_experts
from engine.forward.kv_cache import KVCache
from engine.forward.latent_steps import add_latent_attention
from engine.forward.per_layer_steps import add_per_layer, add_per_layer_inputs
from engine.forward.program import Program, Rows
from engine.forward.recurrent_state import RecurrentState
from engine.forward.recurrent_steps import add_recurrence
from engine.forward.rope import layer_frequencies
from engine.forward.steps import (
    add_attention,
    add_bias,
    add_embedding,
    add_factors,
    add_gate,
    add_logit_cap,
    add_long_norms,
    add_norm,
    add_post_norm,
    add_products,
    add_qkv_limit,
    add_query_gates,
    add_query_split,
    add_rotary_tables,
    add_rotation,
    add_skip,
    add_sub_norm,
)
from engine.forward.weights import LayerWeights, ModelWeights


def forward(
    p: Program, config: ModelConfig, weights: ModelWeights, cache: KVCache, state: RecurrentState | None
) -> Rows:
    """Write down the forward pass; returns the buffer of logits.

    A layer's results are added to the residual stream by the step that norms it for the next part.
    """
    b = Buffers(p, config, weights, cache, state)
    x, x_norm, delta = b.x, b.x_norm, b.delta
    rotary = add_rotary_tables(p, layer_frequencies(config, weights.rope_divisors_for(config, cache.max_seq_len)))
    add_embedding(p, config, weights, x)  # (dim,)
    if b.skip is not None:
        add_norm(p, config, x, None, None, b.skip)
    per_layer = add_per_layer_inputs(p, config, weights.per_layer, x, b.free) if weights.per_layer else None
    streams = add_streams(p, config, weights.altup, x, x_norm)
    added, added_norm, scale = None, None, 1.0
    for i, layer in enumerate(weights.layers):
        add_prediction(p, layer.altup, streams)
        if layer.wo is not None:
            add_norm(p, config, x, added, layer.attn_norm, x_norm, delta_norm=added_norm, scale=scale)
            scale = _mix(p, config, layer, i, b, rotary[i], cache, state, streams)  # (dim,)
            added, added_norm = delta, add_post_norm(p, config, layer.attn_post_norm, delta)
        if config.feeds_forward(i):
            normed = None if config.architecture.parallel else x_norm
            if config.architecture.parallel and layer.ffn_norm is not None:
                add_norm(p, config, x, None, layer.ffn_norm, x_norm)
            add_norm(p, config, x, added, layer.ffn_norm, normed, delta_norm=added_norm, scale=scale)
            _feed_forward(p, config, layer, b)  # (dim,)
            add_skip(p, config, layer.skip, b.skip, delta)
            added, added_norm, scale = delta, add_post_norm(p, config, layer.ffn_post_norm, delta), layer.scale
        if layer.per_layer is not None and per_layer is not None:
            add_norm(p, config, x, delta, None, per_layer.x, delta_norm=layer.ffn_post_norm)
            add_correction(p, layer.altup, streams, per_layer.x)
            added_norm = add_per_layer(p, layer.per_layer, i, per_layer, delta)  # (dim,)
            if streams is not None:
                add_to_others(p, config, streams, delta, added_norm)
                added = None
        if config.ends_loop(i):
            add_norm(p, config, x, added, weights.output_norm, x, delta_norm=added_norm, scale=scale)
            added, added_norm, scale = None, None, 1.0
    if streams is not None and weights.altup is not None:
        add_merge(p, config, weights.altup, streams, x_norm, b.free)
    add_norm(p, config, x, added, weights.output_norm, x_norm, delta_norm=added_norm, scale=scale, outputs_only=True)
    add_products(p, [weights.output], x_norm, b.logits, outputs_only=True)  # (vocab_size,)
    add_bias(p, weights.output_bias, b.logits, outputs_only=True)
    add_logit_cap(p, config, b.logits)
    return b.logits


def _mix(
    p: Program,
    config: ModelConfig,
    layer: LayerWeights,
    index: int,
    b: Buffers,
    rotary: Rows,
    cache: KVCache,
    state: RecurrentState | None,
    streams: Streams | None,
) -> float:
    """Steps: b.delta = what layer index makes of b.x_norm and of other positions: attention, a state, or both.

    Where it has a single matrix, it makes it of b.x_norm alone. Returns what that is multiplied by when it is added to
    the residual stream.
    """
    if config.architecture.early_routing and b.experts is not None:
        add_norm(p, config, b.x, None, None, b.experts.routed)
    add_products(p, layer.wqkv, b.x_norm, b.qkv)  # (qkv_dim,)
    scale = add_laurel(p, config, layer.altup, streams, b.x_norm, b.delta)
    if config.has_one_matrix(index) and layer.wo is not None:
        add_products(p, [layer.wo], b.x_norm, b.delta)  # (dim,)
    elif config.attention[index].n_kv_heads and layer.wo is not None:
        _attend(p, config, layer, index, b, rotary, cache)  # (q_dim,)
        add_products(p, [layer.wo], b.mixed, b.delta)  # (dim,)
        add_bias(p, layer.wo_bias, b.delta)
        add_factors(p, layer.wo_factors, b.delta)
    if state is not None and layer.recurrent is not None:
        _recur(p, config, layer, index, b, state)  # (dim,)
    return scale


def _attend(
    p: Program, config: ModelConfig, layer: LayerWeights, index: int, b: Buffers, rotary: Rows, cache: KVCache
) -> None:
    """Steps: b.mixed = the attention of layer index for b.qkv, whose keys and values go to the cache."""
    if layer.latent is not None and b.latent is not None:
        add_latent_attention(p, config, layer, index, b.latent, b.qkv, rotary, cache, b.q_rows, b.mixed)
        return
    add_factors(p, layer.qkv_factors, b.qkv)
    gates = add_query_split(p, config, index, b.qkv, b.gates)
    add_qkv_limit(p, config, index, b.qkv)
    add_long_norms(p, config, layer, index, b.qkv)
    add_rotation(p, config, layer, index, b.qkv, rotary, cache, b.q_rows)
    add_attention(p, config, layer, index, b.q_rows, cache, b.mixed)  # (q_dim,)
    add_query_gates(p, config, index, gates, b.mixed)
    add_sub_norm(p, config, layer.attn_sub_norm, b.mixed)


def _recur(p: Program, config: ModelConfig, layer: LayerWeights, index: int, b: Buffers, state: RecurrentState) -> None:
    """Steps: b.delta = what layer index has instead of attention, for b.qkv, or beside it, for the end of b.qkv."""
    last, attended = layer.w_state or layer.wo, config.attended_dim(index)
    assert last is not None and layer.recurrent is not None
    if attended:
        add_norm(p, config, b.x, b.delta, None, None)
    rows = b.qkv.behind(attended)
    add_recurrence(p, config, layer.recurrent, index, state, b.recurrent, rows, b.mixed)  # (recurrence.dim,)
    add_products(p, [last], b.mixed, b.delta)  # (dim,)


def _feed_forward(p: Program, config: ModelConfig, layer: LayerWeights, b: Buffers) -> None:
    """Steps: b.delta = the feed-forward layer for b.x_norm, or experts, or both."""
    if layer.w_down is not None:  # the feed-forward layer, or what is shared beside experts
        unit = b.units[layer.w_down.columns]
        add_products(p, layer.w_gate_up, b.x_norm, unit.gate_up)  # (2·hidden_dim,)
        add_factors(p, layer.gate_up_factors, unit.gate_up)
        add_bias(p, layer.gate_up_bias, unit.gate_up)
        add_cutoff(p, layer.altup, unit)
        add_gate(p, config, unit, layer.xielu)  # (hidden_dim,)
        add_sub_norm(p, config, layer.ffn_sub_norm, unit.h)
        add_products(p, [layer.w_down], unit.h, b.delta)  # (dim,)
        add_bias(p, layer.down_bias, b.delta)
        add_factors(p, layer.down_factors, b.delta)
    if layer.experts is None or b.experts is None:
        return
    if (norms := layer.experts.norms) is not None:
        add_normed_experts(p, config, layer.experts, norms, b.experts, b.x, b.x_norm, b.delta)  # (dim,)
    else:
        add_experts(p, config, layer.experts, b.experts, b.x_norm, b.delta, beside=layer.w_down is not None)  # (dim,)
        add_factors(p, layer.experts.factors, b.delta)
