"""The steps of a feed-forward layer of experts, and the buffers that all such layers share."""

from __future__ import annotations

import numpy as np

from engine.config import ModelConfig
from engine.kernels import routing as records
from engine.kernels.records import FIXED, PER_TOKEN
from engine.machine_code import step
from engine.panels import Matrix
from engine.program import Program, Rows
from engine.steps import ACTIVATIONS, CHUNK_BYTES, ROWS_TOGETHER, add_products
from engine.weights import LayerWeights


class ExpertBuffers:
    """What the experts of every layer work with. Rows of pairs: one for each token and expert of its choice.

    logits: (n_experts,) per token. x, quant: (dim,); gate_up: (2·hidden_dim,); h, h_quant: (hidden_dim,); y: (dim,);
    all per pair. routing: the record that kernels read.
    """

    def __init__(self, p: Program, config: ModelConfig) -> None:
        n_experts, n_used = config.n_experts, config.n_experts_used
        n_rows = records.pair_rows(p.max_tokens, n_experts, n_used)
        self.logits = p.floats(n_experts)
        self.x, self.quant = p.floats(config.dim, n_rows), p.quants(config.dim, n_rows)
        self.gate_up = p.floats(2 * config.hidden_dim, n_rows)
        self.h, self.h_quant = p.floats(config.hidden_dim, n_rows), p.quants(config.hidden_dim, n_rows)
        self.y = p.floats(config.dim, n_rows)
        choices = np.zeros((p.max_tokens, n_used, records.CHOICE_FIELDS), np.int64)
        groups = np.zeros(records.groups_fields(n_experts), np.int64)
        self.routing = np.zeros(records.ROUTING_FIELDS, np.int64)
        self.routing[records.N_EXPERTS], self.routing[records.N_USED] = n_experts, n_used
        self.routing[records.CHOICES], self.routing[records.CHOICES_STRIDE] = choices.ctypes.data, choices.strides[0]
        self.routing[records.GROUPS] = groups.ctypes.data
        p.keep(choices, groups, self.routing)


def add_experts(
    p: Program, config: ModelConfig, layer: LayerWeights, buffers: ExpertBuffers, x: Rows, quant: Rows, out: Rows
) -> None:
    """Steps: out = the sum of each token's chosen experts, times their shares. x, quant, out: (dim,) per token."""
    assert layer.router is not None
    b, routing, hidden = buffers, int(buffers.routing.ctypes.data), config.hidden_dim
    add_products(p, [layer.router], x, quant, b.logits)  # (n_experts,)
    p.add(step("experts.choose_experts"), PER_TOKEN, 0, ROWS_TOGETHER, b.logits.address, b.logits.stride, routing)
    p.add(step("experts.group_tokens"), FIXED, 1, 1, routing)
    for source, target in _needed(layer, (x, b.x), (quant, b.quant)):
        p.add(
            step("experts.gather_rows"),
            PER_TOKEN,
            0,
            ROWS_TOGETHER,
            source.address,
            target.address,
            source.stride,
            routing,
        )
    for i, matrix in enumerate(layer.w_gate_up):
        _add_product(p, config, matrix, b.x, b.quant, b.gate_up, i * hidden, routing)  # (hidden_dim,)
    gated = (b.gate_up.address, b.gate_up.stride, hidden, hidden, b.h.address, b.h.stride)
    activation = ACTIVATIONS[config.architecture.activation]
    quantized = (b.h_quant.address, b.h_quant.stride, activation, routing)
    p.add(step("experts.gate_pairs"), PER_TOKEN, 0, ROWS_TOGETHER, *gated, *quantized)
    _add_product(p, config, layer.w_down, b.h, b.h_quant, b.y, 0, routing)  # (dim,)
    sums = (b.y.address, b.y.stride, out.address, out.stride, config.dim, routing)
    p.add(step("experts.sum_pairs"), PER_TOKEN, 0, ROWS_TOGETHER, *sums)


def _needed(layer: LayerWeights, floats: tuple[Rows, Rows], quants: tuple[Rows, Rows]) -> list[tuple[Rows, Rows]]:
    """Which of the activations gate and up read: as float32, quantised, or both."""
    kinds = {matrix.plan.format.is_float for matrix in layer.w_gate_up}
    return [floats] * (True in kinds) + [quants] * (False in kinds)


def _add_product(
    p: Program, config: ModelConfig, matrix: Matrix, x: Rows, quant: Rows, y: Rows, offset: int, routing: int
) -> None:
    """A step: every pair's row times its expert's part of a matrix, to y from column `offset` on."""
    plan = matrix.plan
    source = x if plan.format.is_float else quant
    panels = plan.n_panels // config.n_experts
    chunk = max(1, CHUNK_BYTES // (plan.panel_bytes * config.n_experts_used))
    weights = (matrix.address, plan.n_blocks, plan.panel_bytes)
    activations = (source.address, source.stride, y.address + 4 * offset, y.stride)
    p.add(
        step("experts.expert_product", plan.format.name), FIXED, panels, chunk, *weights, *activations, panels, routing
    )
