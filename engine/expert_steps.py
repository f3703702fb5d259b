"""The steps of a feed-forward layer of experts, and the buffers that all such layers share."""

from __future__ import annotations

import numpy as np

from engine.config import ModelConfig
from engine.kernels import routing as records
from engine.kernels.records import FIXED, PER_TOKEN
from engine.kernels.sizes import BLOCK, LANES
from engine.machine_code import step
from engine.panels import Matrix
from engine.program import Activations, Program, Rows
from engine.steps import ACTIVATIONS, CHUNK_BYTES, ROWS_TOGETHER, add_bias, add_products, add_words, gated
from engine.weights import LayerWeights, Vector


class ExpertBuffers:
    """What the experts of every layer work with. Rows of pairs: one for each token and expert of its choice.

    logits: (n_experts,) per token. x: (dim,); gate_up: (2·hidden_dim,); h: (hidden_dim,); y: (dim,);
    all per pair. routing: the record that kernels read.
    """

    def __init__(self, p: Program, config: ModelConfig) -> None:
        n_experts, n_used = config.n_experts, config.n_experts_used
        n_rows = records.pair_rows(p.max_tokens, n_experts, n_used)
        self.logits = p.floats(n_experts)
        self.x = Activations(p, config.dim, n_rows)
        self.gate_up = p.floats(2 * config.hidden_dim, n_rows)
        self.h = gated(p, self.gate_up, config.hidden_dim, n_rows)
        self.y = p.floats(config.dim, n_rows)
        choices = np.zeros((p.max_tokens, n_used, records.CHOICE_FIELDS), np.int64)
        groups = np.zeros(records.groups_fields(n_experts), np.int64)
        self.routing = np.zeros(records.ROUTING_FIELDS, np.int64)
        self.routing[records.N_EXPERTS], self.routing[records.N_USED] = n_experts, n_used
        self.routing[records.CHOICES], self.routing[records.CHOICES_STRIDE] = choices.ctypes.data, choices.strides[0]
        self.routing[records.GROUPS] = groups.ctypes.data
        p.keep(choices, groups, self.routing)


def add_experts(
    p: Program, config: ModelConfig, layer: LayerWeights, buffers: ExpertBuffers, x: Activations, out: Rows
) -> None:
    """Steps: out = the sum of each token's chosen experts, times their shares. x, out: (dim,) per token."""
    assert layer.router is not None
    b, routing, hidden = buffers, int(buffers.routing.ctypes.data), config.hidden_dim
    add_products(p, [layer.router], x, b.logits)  # (n_experts,)
    add_bias(p, layer.router_bias, b.logits)
    p.add(step("experts.choose_experts"), PER_TOKEN, 0, ROWS_TOGETHER, b.logits.address, b.logits.stride, routing)
    p.add(step("experts.group_tokens"), FIXED, 1, 1, routing)
    add_words(p, layer.w_gate_up, x)
    for reads in sorted({matrix.plan.format.reads for matrix in layer.w_gate_up}):
        source, target = x.form(reads), b.x.form(reads)
        where = (source.address, target.address, source.stride, routing)
        p.add(step("experts.gather_rows"), PER_TOKEN, 0, ROWS_TOGETHER, *where)
    for i, matrix in enumerate(layer.w_gate_up):
        _add_product(p, config, matrix, b.x, b.gate_up, i * hidden, routing)  # (hidden_dim,)
    _add_biases(p, layer.gate_up_bias, b.gate_up, 2 * hidden, routing)
    h = b.h
    gated = (b.gate_up.address, b.gate_up.stride, hidden, hidden, h.floats.address, h.floats.stride)
    activation = ACTIVATIONS[config.architecture.activation]
    quantized = (h.quants.address, h.quants.stride, activation, routing)
    p.add(step("experts.gate_pairs"), PER_TOKEN, 0, ROWS_TOGETHER, *gated, *quantized)
    if layer.w_down.plan.format.reads == "words":
        widened = (h.floats.address, h.floats.stride, h.words.address, h.words.stride, -(-hidden // BLOCK))
        p.add(step("experts.widen_pairs"), PER_TOKEN, 0, ROWS_TOGETHER, *widened, routing)
    _add_product(p, config, layer.w_down, h, b.y, 0, routing)  # (dim,)
    _add_biases(p, layer.down_bias, b.y, config.dim, routing)
    sums = (b.y.address, b.y.stride, out.address, out.stride, config.dim, routing)
    p.add(step("experts.sum_pairs"), PER_TOKEN, 0, ROWS_TOGETHER, *sums)


def _add_biases(p: Program, biases: Vector | None, rows: Rows, width: int, routing: int) -> None:
    """A step: every pair's row += its expert's part of the biases, if there are some."""
    if biases is not None:
        where = (rows.address, rows.stride, biases.ctypes.data, width // LANES, routing)
        p.add(step("experts.add_biases"), PER_TOKEN, 0, ROWS_TOGETHER, *where)


def _add_product(
    p: Program, config: ModelConfig, matrix: Matrix, x: Activations, y: Rows, offset: int, routing: int
) -> None:
    """A step: every pair's row times its expert's part of a matrix, to y from column `offset` on."""
    plan = matrix.plan
    source = x.form(plan.format.reads)
    panels = plan.n_panels // config.n_experts
    chunk = max(1, CHUNK_BYTES // (plan.panel_bytes * config.n_experts_used))
    weights = (matrix.address, plan.n_blocks, plan.panel_bytes)
    activations = (source.address, source.stride, y.address + 4 * offset, y.stride)
    p.add(
        step("experts.expert_product", plan.format.name), FIXED, panels, chunk, *weights, *activations, panels, routing
    )
