"""What the model weighs: matrices in panels and vectors, under the field's names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.architecture.altup import AltUp
from engine.architecture.config import ModelConfig
from engine.architecture.xielu import Xielu
from engine.panels import Matrix, PanelStore

Vector = NDArray[np.float32]
"""float32, padded with zeros to whole blocks of 32."""


@dataclass(frozen=True, slots=True)
class ExpertNorms:
    """Norms around experts that are beside an ordinary feed-forward layer, (dim,) each.

    router: of what the router reads. before, after: of what the experts read and give. beside: of what the other gives.
    """

    router: Vector
    before: Vector
    after: Vector
    beside: Vector


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The experts of one layer, expert below expert.

    router: (n_experts, dim), and with one row more where it has what is shared count for more or less.
    w_gate_up: gate and up, each (n_experts·hidden_dim, dim), or both of an expert together. w_down: (n_experts·dim,
    hidden_dim). What follows is None in models that do not have it. router_bias, choice_bias: (n_experts,), the latter
    for the choice alone. gate_up_bias, down_bias: a row for each expert, one after the other. scales: what their
    results are multiplied by, (n_experts,). factors: what the sum of all results is multiplied by, (dim,). limit:
    within what gates and ups are kept, 0 for no limit.
    """

    router: list[Matrix]
    w_gate_up: list[Matrix]
    w_down: Matrix
    router_bias: Vector | None
    choice_bias: Vector | None
    gate_up_bias: Vector | None
    down_bias: Vector | None
    scales: Vector | None
    factors: Vector | None
    norms: ExpertNorms | None
    limit: float


@dataclass(frozen=True, slots=True)
class PerLayerTable:
    """What each layer gets of a token, width = config.per_layer_dim: engine/forward/per_layer_steps.py.

    embedding: (vocab_size, n_layers·width). projection: (n_layers·width, dim). norm: (width,), by sqrt(2) smaller.
    """

    embedding: Matrix
    projection: Matrix
    norm: Vector


@dataclass(frozen=True, slots=True)
class PerLayerWeights:
    """What a layer makes of it. gate: (width, dim). projection: (dim, width). post_norm: (dim,)."""

    gate: Matrix
    projection: Matrix
    post_norm: Vector


@dataclass(frozen=True, slots=True)
class AltUpTable:
    """What makes several residual streams of an embedding, and one of those again: engine/forward/altup_steps.py.

    embed: ((streams - 1)·dim, dim), each stream's rows below the one before. unembed: (dim, dim) of each.
    """

    altup: AltUp
    embed: Matrix
    unembed: list[Matrix]


@dataclass(frozen=True, slots=True)
class AltUpWeights:
    """What a layer does with them.

    router: (streams, dim), with its norm's weight, and the width that it divides by. predict, correct: (streams, 16),
    what each of its results counts for each coefficient. scale: (dim,). laurel: (rank, dim) and (dim, rank).
    laurel_norm: (dim,). cutoff: how many standard deviations above their mean gates count, None if all do.
    """

    router: Vector
    predict: Vector
    correct: Vector
    scale: Vector
    laurel: list[Matrix]
    laurel_norm: Vector
    cutoff: float | None


@dataclass(frozen=True, slots=True)
class SelectiveWeights:
    """What a selective scan has beside a state space's vectors: engine/kernels/selective_scan.py.

    w_small: (small_rows, dim). w_times: (value_heads, step_dim). step_norm: (step_dim,), written_norm, read_norm:
    (state_dim,), None without norms.
    """

    w_small: Matrix
    w_times: Matrix
    step_norm: Vector | None
    written_norm: Vector | None
    read_norm: Vector | None


@dataclass(frozen=True, slots=True)
class KimiDeltaWeights:
    """What Kimi Delta Attention has beside a delta net's vectors: what makes decays, and gates, (dim, state_dim)."""

    w_decays: Matrix
    w_gates: Matrix


@dataclass(frozen=True, slots=True)
class RecurrentWeights:
    """The vectors of a layer without attention, not padded; its matrices are where attention has its own.

    taps: (width of the convolution, channels). Of a delta net, None without one: time_bias, time_scale (value_heads,);
    head_norm: (state_dim,), or one for all results. Of a state space: tap_bias (channels,), or None; skips (heads,).
    Of a selective scan, whose heads are channels: selective, and time_scale is (channels / 16, state_dim, 16). Of Kimi
    Delta Attention: kimi, and time_bias is (value_heads · state_dim,).
    """

    taps: Vector
    time_bias: Vector | None
    time_scale: Vector | None
    head_norm: Vector | None
    tap_bias: Vector | None
    skips: Vector | None
    selective: SelectiveWeights | None
    kimi: KimiDeltaWeights | None


@dataclass(frozen=True, slots=True)
class LatentWeights:
    """What a layer has whose keys and values are made of a latent vector; its first matrices are in wqkv.

    norm: (rank,), of that vector. query_norm: (query_rank,), w_queries: (n_heads·query_dim, query_rank), None and
    nothing where queries are made of the layer's input. w_keys: (n_heads·rank, plain_dim), w_values:
    (n_heads·value_dim, rank), head below head.
    """

    norm: Vector
    query_norm: Vector | None
    w_queries: list[Matrix]
    w_keys: Matrix
    w_values: Matrix


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Matrices are (outputs, inputs); those that read the same input may be one matrix.

    wqkv: (qkv_dim, dim). wo: (dim, q_dim). What follows is None (w_gate_up: nothing) in models that do not
    have it. attn_norm, ffn_norm: (dim,), or weight and bias, (2·dim,). w_gate_up: (2·hidden_dim, dim), half of it
    without a gate. w_down: (dim, hidden_dim); beside experts, both are what all tokens go through, hidden_dim being its
    width.
    recurrent: of a layer that does not attend; wqkv and wo are then its first and its last matrices. Where it stands
    beside attention, its first one is the end of wqkv, and its last one is w_state. In a layer that is a feed-forward
    one alone wqkv is nothing and wo None; where a single matrix is in attention's place, wo is that one, (dim, dim).
    qkv_bias: (qkv_dim,). wo_bias, down_bias: (dim,). gate_up_bias: (2·hidden_dim,). qkv_factors, gate_up_factors: the
    same, what products are multiplied by. attn_sub_norm: (q_dim,), ffn_sub_norm: (hidden_dim,), what wo and w_down read
    is normed by, times what their products are multiplied by.
    q_norm, k_norm: (head_dim,), or (q_dim,) and (kv_dim,) where heads are normed together or each as the stream.
    attn_post_norm, ffn_post_norm: (dim,). wo_factors, down_factors: (dim,), what the results of both are multiplied by.
    sinks: (n_heads,). skip: what the embedding is multiplied by that is added at the layer's end, 0 for none. scale:
    what the residual stream is multiplied by there, 1 in most models.
    """

    attn_norm: Vector | None
    wqkv: list[Matrix]
    wo: Matrix | None
    w_state: Matrix | None
    ffn_norm: Vector | None
    w_gate_up: list[Matrix]
    w_down: Matrix | None
    qkv_bias: Vector | None
    wo_bias: Vector | None
    gate_up_bias: Vector | None
    down_bias: Vector | None
    q_norm: Vector | None
    k_norm: Vector | None
    qkv_factors: Vector | None
    gate_up_factors: Vector | None
    attn_sub_norm: Vector | None
    ffn_sub_norm: Vector | None
    attn_post_norm: Vector | None
    ffn_post_norm: Vector | None
    wo_factors: Vector | None
    down_factors: Vector | None
    sinks: Vector | None
    experts: ExpertWeights | None
    recurrent: RecurrentWeights | None
    latent: LatentWeights | None
    per_layer: PerLayerWeights | None
    altup: AltUpWeights | None
    xielu: Xielu | None
    skip: float
    scale: float


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All weights. embedding, output: (vocab_size, dim), the same matrix where they are tied.

    embedding_norm: as those of a layer, or None. positions: (max_seq_len, dim), what is added to embeddings, or None.
    output_norm: as those of a layer. output_bias: (vocab_size,), what is added to logits, or None.
    rope_divisors: (rope_dim / 2,) what each rotary frequency is divided by, or None. long_rope_divisors: the same for
    contexts longer than the model's original one, where they differ.
    """

    embedding: Matrix
    layers: list[LayerWeights]
    embedding_norm: Vector | None
    positions: Vector | None
    output_norm: Vector
    output: Matrix
    output_bias: Vector | None
    per_layer: PerLayerTable | None
    altup: AltUpTable | None
    rope_divisors: Vector | None
    long_rope_divisors: Vector | None
    store: PanelStore

    def rope_divisors_for(self, config: ModelConfig, max_seq_len: int) -> Vector | None:
        """What rotary frequencies are divided by in a context of so many positions."""
        if self.long_rope_divisors is not None and max_seq_len > config.rope_scaling.original_max_seq_len:
            return self.long_rope_divisors
        return self.rope_divisors

    def close(self) -> None:
        """Give the panels' memory back."""
        self.store.close()
