"""The steps of a feed-forward layer of experts, and the buffers that all such layers share."""

from __future__ import annotations

import numpy as np

from engine.architecture.config import Experts, ModelConfig
from engine.forward.program import Activations, Program, Rows, float_bits
from engine.forward.steps import (
    ACTIVATIONS,
    CHUNK_BYTES,
    GatedBuffers,
    add_bias,
    add_norm,
    add_per_token,
    add_products,
    add_words,
)
from engine.forward.weights import ExpertNorms, ExpertWeights, Vector
from engine.kernels import routing as records
from engine.kernels.records import FIXED, LIMITED
from engine.kernels.sizes import BLOCK, LANES
from engine.machine_code import address_of, step
from engine.panels import Matrix


class ExpertBuffers:
    """What the experts of every layer work with. Rows of pairs: one for each token and expert of its choice.

    logits: the router's results, per token; probabilities, scores: (n_experts,) per token, where shares are not simply
    the softmax over those chosen. x: (dim,); unit: of hidden_dim; y: (dim,); all per pair. routed, result: (dim,) per
    token: what the router reads, None if that is what experts read, and what these give where an ordinary feed-forward
    layer is beside them. routing: the record that kernels read.
    """

    def __init__(self, p: Program, config: ModelConfig, experts: Experts) -> None:
        n_experts, n_used = experts.count, experts.used
        n_rows = records.pair_rows(p.max_tokens, n_experts, n_used)
        self.experts = experts
        self.logits, self.probabilities, self.scores = (p.floats(n_experts + 1) for _ in range(3))
        self.x = Activations(p, config.dim, n_rows)
        self.unit = GatedBuffers(p, experts.hidden_dim, n_rows)
        self.y = p.floats(config.dim, n_rows)
        architecture = config.architecture
        has_own = architecture.dense_beside_experts or architecture.early_routing
        self.routed = Activations(p, config.dim) if has_own else None
        if architecture.dense_beside_experts:
            self.result = p.floats(config.dim)
        choices = np.zeros((p.max_tokens, n_used, records.CHOICE_FIELDS), np.int64)
        groups = np.zeros(records.groups_fields(n_experts), np.int64)
        self.routing = np.zeros(records.ROUTING_FIELDS, np.int64)
        self.routing[records.N_EXPERTS], self.routing[records.N_USED] = n_experts, n_used
        self.routing[records.CHOICES], self.routing[records.CHOICES_STRIDE] = choices.ctypes.data, choices.strides[0]
        self.routing[records.GROUPS] = groups.ctypes.data
        p.keep(choices, groups, self.routing)


def add_experts(
    p: Program,
    config: ModelConfig,
    layer: ExpertWeights,
    buffers: ExpertBuffers,
    x: Activations,
    out: Rows,
    *,
    beside: bool = False,
) -> None:
    """Steps: out = the sum of each token's chosen experts, times their shares. x, out: (dim,) per token.

    beside: what is in out stays in the sum, times the sigmoid of the router's last row if it has one more than experts.
    Where there is buffers.routed, the router reads that.
    """
    b, routing, hidden = buffers, address_of(buffers.routing), buffers.experts.hidden_dim
    add_products(p, layer.router, b.routed or x, b.logits)  # (n_experts,), or one more
    add_bias(p, layer.router_bias, b.logits)
    _add_choice(p, layer, b, routing)
    p.add(step("experts.group_tokens"), FIXED, 1, 1, routing)
    gate_up, h = b.unit.gate_up, b.unit.h
    add_words(p, layer.w_gate_up, x)
    for reads in sorted({matrix.plan.format.reads for matrix in layer.w_gate_up}):
        source, target = x.form(reads), b.x.form(reads)
        add_per_token(p, step("experts.gather_rows"), source.address, target.address, source.stride, routing)
    for i, matrix in enumerate(layer.w_gate_up):
        _add_product(p, b, matrix, b.x, gate_up, i * hidden)  # (hidden_dim,)
    if config.architecture.early_shares:
        # A product's factor may as well come after it.
        add_per_token(p, step("experts.weigh_pairs"), *gate_up.where, 2 * hidden // LANES, routing)
    _add_biases(p, layer.gate_up_bias, gate_up, 2 * hidden, routing)
    up_at = 0 if config.architecture.ungated else hidden
    activation = ACTIVATIONS[config.architecture.activation]
    if layer.limit:
        activation = LIMITED | float_bits(layer.limit) << 32
    add_per_token(p, step("experts.gate_pairs"), *gate_up.where, up_at, hidden, *h.where, activation, routing)
    if layer.w_down.plan.format.reads == "words":
        widened = (*h.floats.where, *h.words.where, -(-hidden // BLOCK))
        add_per_token(p, step("experts.widen_pairs"), *widened, routing)
    _add_product(p, b, layer.w_down, h, b.y, 0)  # (dim,)
    _add_biases(p, layer.down_bias, b.y, config.dim, routing)
    has_gate = sum(matrix.rows for matrix in layer.router) > b.experts.count
    gates = b.logits.behind(b.experts.count).where if has_gate else (0, 0)
    add_per_token(p, step("experts.sum_pairs"), *b.y.where, *out.where, config.dim, routing, int(beside), *gates)


def add_normed_experts(
    p: Program,
    config: ModelConfig,
    layer: ExpertWeights,
    norms: ExpertNorms,
    buffers: ExpertBuffers,
    x: Rows,
    x_norm: Activations,
    out: Rows,
) -> None:
    """Steps: out, what an ordinary feed-forward layer gave, normed, + what experts give of x, normed before and after.

    x, out: (dim,); x is the residual stream. x_norm: (dim,), which has served its turn. Source: Gemma 4 (Google 2026).
    """
    add_norm(p, config, out, None, norms.beside, out)
    add_norm(p, config, x, None, norms.router, buffers.routed)
    add_norm(p, config, x, None, norms.before, x_norm)
    add_experts(p, config, layer, buffers, x_norm, buffers.result)
    add_norm(p, config, out, buffers.result, None, None, delta_norm=norms.after)


def _add_choice(p: Program, layer: ExpertWeights, b: ExpertBuffers, routing: int) -> None:
    """Steps: the router's results to each token's choices and their shares."""
    experts = b.experts
    factors = (float_bits(experts.scale), address_of(layer.scales))
    plain = layer.choice_bias is None and experts.groups == 1 and experts.gating == "softmax" and experts.normed
    if plain:
        choice = (*b.logits.where, routing, 0, 0, *factors)
    else:
        rows = (*b.logits.where, b.probabilities.address, *b.scores.where)
        how = (
            address_of(layer.choice_bias),
            experts.count,
            int(experts.gating == "sigmoid"),
            experts.groups,
            experts.groups_used,
        )
        add_per_token(p, step("experts.score_experts"), *rows, *how)
        choice = (*b.scores.where, routing, b.probabilities.address, int(experts.normed), *factors)
    add_per_token(p, step("experts.choose_experts"), *choice)


def _add_biases(p: Program, biases: Vector | None, rows: Rows, width: int, routing: int) -> None:
    """A step: every pair's row += its expert's part of the biases, if there are some."""
    if biases is not None:
        add_per_token(p, step("experts.add_biases"), *rows.where, address_of(biases), width // LANES, routing)


def _add_product(p: Program, b: ExpertBuffers, matrix: Matrix, x: Activations, y: Rows, offset: int) -> None:
    """A step: every pair's row times its expert's part of a matrix, to y from column `offset` on."""
    plan = matrix.plan
    panels = plan.n_panels // b.experts.count
    chunk = max(1, CHUNK_BYTES // (plan.panel_bytes * b.experts.used))
    product = step("experts.expert_product", plan.format.name)
    activations = (*x.form(plan.format.reads).where, *y.behind(offset).where)
    p.add(product, FIXED, panels, chunk, *matrix.where, *activations, panels, address_of(b.routing))
