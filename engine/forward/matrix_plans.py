"""Which of a file's tensors make which of the model's matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.architecture.altup import EMBED, LAUREL, UNEMBED
from engine.architecture.config import Attention, Experts, ModelConfig
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.latent_tensors import KEYS, KEYS_AND_VALUES, OF_QUERIES, VALUES, first_matrices
from engine.architecture.model_tensors import QKV, QUERY_GATES
from engine.architecture.recurrent_tensors import LOW_RANK, STEPS_AND_GROUPS, TIME_STEPS, input_matrices, output_matrix
from engine.architecture.selective import SelectiveScan
from engine.checkpoints import TensorInfo
from engine.checkpoints.head_halves import values_and_gates
from engine.checkpoints.latents import keys_and_values
from engine.panels import MatrixPlan, plan_matrix
from engine.panels.layout import plan_side_by_side

PER_LAYER = ("per_layer_token_embd", "per_layer_model_proj")
"""The matrices of what each layer gets of a token."""

Plans = dict[str, list[MatrixPlan]]
"""By the weights' names; what reads the same input is as few matrices as its types allow."""


def matrix_plans(config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> Plans:
    """All matrices in the order of the prepared file. Names are those of ModelWeights; a layer's follow on blk.N."""
    plans = {"embedding": [plan_matrix("embedding", tensors["token_embd.weight"])]}
    if not config.tied:
        plans["output"] = [plan_matrix("output", tensors["output.weight"])]
    for i in range(config.n_own_layers):
        plans |= {f"blk.{i}.{name}": group for name, group in _Layer(i, config, tensors).plans().items()}
    if config.per_layer_dim:
        plans |= {name: [plan_matrix(name, tensors[f"{name}.weight"])] for name in PER_LAYER}
    if config.altup is not None:
        for name in (EMBED, UNEMBED):
            squares = tensors[f"{name}.weight"]
            below = replace(squares, shape=(squares.n_rows, config.dim))
            plans[name] = [plan_matrix(name, below)]
    return plans


class _Layer:
    """The plans of a layer's matrices, by the names that LayerWeights has for them."""

    def __init__(self, index: int, config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> None:
        self._index = index
        self._config = config
        self._tensors = tensors

    def plans(self) -> Plans:
        experts = self._config.experts_of(self._index)
        plans = self._attention()
        if self._config.per_layer_dim:
            parts = ("inp_gate", "proj")
            plans["per_layer"] = [self._matrix(f"per_layer.{part}", self._tensor(part)) for part in parts]
        if self._config.altup is not None:
            plans["laurel"] = [self._matrix(part, self._tensor(part)) for part in LAUREL]
        if experts is not None:
            plans |= self._experts(experts)
        return plans | self._feed_forward(experts)

    def _attention(self) -> Plans:
        """Or what stands in its place, or both; nothing in a layer that is a feed-forward one alone."""
        config, attention = self._config, self._config.attention[self._index]
        if config.has_one_matrix(self._index):
            return {"wo": [self._matrix("wo", self._tensor("attn_output"))]}
        qkv: Sequence[str] = QKV[: len(attention.widths)]
        if config.qkv_in_one and len(qkv) == len(QKV):
            qkv = ["attn_qkv"]
        if config.architecture.gate_matrix and config.architecture.query_gates:
            qkv = [*qkv, QUERY_GATES]
        if attention.latent is not None:
            qkv = first_matrices(attention.latent)
        inputs, outputs = (list(qkv), ["attn_output"]) if attention.n_kv_heads else ([], [])
        if recurrence := config.recurrence_of(self._index):
            inputs, outputs = [*inputs, *input_matrices(recurrence)], [*outputs, output_matrix(recurrence)]
        if not inputs:
            return {}
        names = ("wo", "w_state")[: len(outputs)]
        return {
            "wqkv": self._side_by_side("wqkv", *self._inputs(inputs)),
            **{name: [self._matrix(name, self._tensor(source))] for name, source in zip(names, outputs, strict=True)},
            **self._latent(attention),
            **self._in_state(),
        }

    def _inputs(self, names: Sequence[str]) -> list[TensorInfo]:
        """What reads the layer's input, values before gates where these go by heads."""
        recurrence, sources = self._config.recurrence_of(self._index), list(map(self._tensor, names))
        if isinstance(recurrence, SelectiveScan) and recurrence.by_head:
            return values_and_gates(sources[0], recurrence.value_heads)
        return sources

    def _in_state(self) -> Plans:
        """The matrices between the first and the last of a selective scan, or of Kimi Delta Attention."""
        recurrence, sources = self._config.recurrence_of(self._index), {}
        if isinstance(recurrence, SelectiveScan):
            sources = {"w_small": STEPS_AND_GROUPS, "w_times": TIME_STEPS}
        elif isinstance(recurrence, KimiDelta):
            sources = dict(zip(("w_decays", "w_gates"), (made for _, made in LOW_RANK), strict=True))
        return {name: [self._matrix(name, self._tensor(source))] for name, source in sources.items()}

    def _latent(self, attention: Attention) -> Plans:
        """What makes queries, keys and values where these are made of a latent vector."""
        latent = attention.latent
        if latent is None:
            return {}
        if latent.in_one:
            keys, values = keys_and_values(self._tensor(KEYS_AND_VALUES), attention.n_heads, latent.plain_dim)
        else:
            keys, values = self._tensor(KEYS), self._tensor(VALUES)
        plans = {"w_keys": [self._stacked("w_keys", keys)], "w_values": [self._stacked("w_values", values)]}
        if latent.query_rank:
            plans["w_queries"] = [self._matrix("w_queries", self._tensor(OF_QUERIES))]
        return plans

    def _experts(self, experts: Experts) -> Plans:
        router = [self._tensor("ffn_gate_inp")]
        if experts.shared_dim and self._config.architecture.gated_shared:
            router.append(replace(self._tensor("ffn_gate_inp_shexp"), shape=(1, self._config.dim)))
        return {
            "router": self._side_by_side("router", *router),
            "w_gate_up_exps": [self._stack(part) for part in self._expert_parts(experts)],
            "w_down_exps": [self._stack("down")],
        }

    def _expert_parts(self, experts: Experts) -> Sequence[str]:
        if self._config.architecture.ungated:
            return ("up",)
        return ("gate_up",) if experts.in_one else ("gate", "up")

    def _feed_forward(self, experts: Experts | None) -> Plans:
        """What all tokens go through, alone or beside experts."""
        architecture = self._config.architecture
        if not self._config.feeds_forward(self._index):
            return {}
        if experts is None:
            up_alone = architecture.gate_in_up or architecture.ungated
            return self._unit(["ffn_up"] if up_alone else ["ffn_gate", "ffn_up"], "ffn_down", "")
        if architecture.dense_beside_experts:
            return self._unit(["ffn_gate", "ffn_up"], "ffn_down", "_beside")
        if experts.shared_dim:
            up = ["ffn_up_shexp"] if architecture.ungated else ["ffn_gate_shexp", "ffn_up_shexp"]
            return self._unit(up, "ffn_down_shexp", "_shexp")
        return {}

    def _unit(self, gate_up: Sequence[str], down: str, ending: str) -> Plans:
        """The matrices of a gated unit; the ending tells them from those of experts."""
        return {
            "w_gate_up": self._side_by_side(f"w_gate_up{ending}", *map(self._tensor, gate_up)),
            "w_down": [self._matrix(f"w_down{ending}", self._tensor(down))],
        }

    def _stack(self, part: str) -> MatrixPlan:
        """One matrix, expert below expert."""
        return self._stacked(f"w_{part}", self._tensor(f"ffn_{part}_exps"))

    def _stacked(self, name: str, stacked: TensorInfo) -> MatrixPlan:
        """One matrix of a stack."""
        count, rows, columns = stacked.shape
        return self._matrix(name, replace(stacked, shape=(count * rows, columns)))

    def _tensor(self, name: str) -> TensorInfo:
        return self._tensors[f"blk.{self._index}.{name}.weight"]

    def _matrix(self, name: str, source: TensorInfo) -> MatrixPlan:
        return plan_matrix(f"{self._index}.{name}", source)

    def _side_by_side(self, name: str, *sources: TensorInfo) -> list[MatrixPlan]:
        return plan_side_by_side(f"{self._index}.{name}", *sources)
