"""What the model weighs: matrices in panels and norm vectors, under the field's names.

The one place that knows how GGUF spells them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.architecture.config import ModelConfig
from engine.architecture.model_tensors import QKV, tensor_shapes
from engine.architecture.recurrent_tensors import input_matrices, output_matrix
from engine.checkpoints import Checkpoint, TensorInfo
from engine.checkpoints.rows import read_rows
from engine.errors import UnsupportedModelError
from engine.forward.recurrent_weights import RecurrentWeights, recurrent_weights
from engine.kernels.sizes import BLOCK
from engine.panels import Matrix, MatrixPlan, PanelFolder, PanelStore, open_panels, plan_matrix
from engine.panels.layout import plan_side_by_side

PER_LAYER = ("per_layer_token_embd", "per_layer_model_proj")
"""The matrices of what each layer gets of a token."""

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
    results are multiplied by, (n_experts,).
    """

    router: list[Matrix]
    w_gate_up: list[Matrix]
    w_down: Matrix
    router_bias: Vector | None
    choice_bias: Vector | None
    gate_up_bias: Vector | None
    down_bias: Vector | None
    scales: Vector | None
    norms: ExpertNorms | None


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
class LayerWeights:
    """One layer. Matrices are (outputs, inputs); those that read the same input may be one matrix.

    wqkv: (qkv_dim, dim). wo: (dim, q_dim). What follows is None (w_gate_up: nothing) in models that do not
    have it. attn_norm, ffn_norm: (dim,), or weight and bias, (2·dim,). w_gate_up: (2·hidden_dim, dim), half of it
    without a gate. w_down: (dim, hidden_dim); beside experts, both are what all tokens go through, hidden_dim being its
    width.
    recurrent: of a layer that does not attend; wqkv and wo are then its first and its last matrices.
    qkv_bias: (qkv_dim,). wo_bias, down_bias: (dim,). gate_up_bias: (2·hidden_dim,).
    q_norm, k_norm: (head_dim,), or (q_dim,) and (kv_dim,) where heads are normed together or each as the stream.
    attn_post_norm, ffn_post_norm: (dim,). sinks: (n_heads,). scale: what the residual stream
    is multiplied by at the layer's end, 1 in most models.
    """

    attn_norm: Vector | None
    wqkv: list[Matrix]
    wo: Matrix
    ffn_norm: Vector | None
    w_gate_up: list[Matrix]
    w_down: Matrix | None
    qkv_bias: Vector | None
    wo_bias: Vector | None
    gate_up_bias: Vector | None
    down_bias: Vector | None
    q_norm: Vector | None
    k_norm: Vector | None
    attn_post_norm: Vector | None
    ffn_post_norm: Vector | None
    sinks: Vector | None
    experts: ExpertWeights | None
    recurrent: RecurrentWeights | None
    per_layer: PerLayerWeights | None
    scale: float


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All weights. embedding, output: (vocab_size, dim), the same matrix where they are tied.

    output_norm: as those of a layer. output_bias: (vocab_size,), what is added to logits, or None.
    rope_divisors: (rope_dim / 2,) what each rotary frequency is divided by, or None. long_rope_divisors: the same for
    contexts longer than the model's original one, where they differ.
    """

    embedding: Matrix
    layers: list[LayerWeights]
    output_norm: Vector
    output: Matrix
    output_bias: Vector | None
    per_layer: PerLayerTable | None
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


def load_weights(
    checkpoint: Checkpoint,
    config: ModelConfig,
    folder: PanelFolder | None,
    threads: int,
    report: Callable[[int, int], None],
) -> ModelWeights:
    """Weights from a checkpoint, in panels: mapped from `folder`, or in memory without one."""
    tensors, architecture = _as_configured(checkpoint.tensors, config), config.architecture
    plans: dict[str, list[MatrixPlan]] = {"embedding": [plan_matrix("embedding", tensors["token_embd.weight"])]}
    if not config.tied:
        plans["output"] = [plan_matrix("output", tensors["output.weight"])]
    for i in range(config.n_layers):
        plans |= _layer_plans(i, config, tensors)
    if config.per_layer_dim:
        plans |= {name: [plan_matrix(name, tensors[f"{name}.weight"])] for name in PER_LAYER}
    store = open_panels(checkpoint, [p for group in plans.values() for p in group], folder, threads, report)

    def matrices(name: str) -> list[Matrix]:
        return [store.matrices[plan.name] for plan in plans.get(name, [])]

    def vector(*names: str) -> Vector | None:
        """The vectors that there are, side by side; None if there is none."""
        found = [_values(tensors[name]) for name in names if name in tensors]
        return _padded(np.concatenate(found, axis=-1)) if found else None

    def plain(name: str) -> Vector | None:
        """A vector as it is, or a few."""
        return _values(tensors[name]) if name in tensors else None

    def norm(name: str) -> Vector:
        weight = _padded(_values(tensors[f"{name}.weight"]))
        return weight if architecture.norm == "rms" else _with_bias(weight, vector(f"{name}.bias"))

    def experts(i: int) -> ExpertWeights | None:
        if config.experts_of(i) is None:
            return None
        return ExpertWeights(
            router=matrices(f"{i}.router"),
            w_gate_up=matrices(f"{i}.w_gate_up_exps"),
            w_down=matrices(f"{i}.w_down_exps")[0],
            router_bias=vector(f"blk.{i}.ffn_gate_inp.bias"),
            choice_bias=vector(f"blk.{i}.exp_probs_b.bias"),
            gate_up_bias=vector(*(f"blk.{i}.ffn_{part}_exps.bias" for part in ("gate", "up"))),
            down_bias=vector(f"blk.{i}.ffn_down_exps.bias"),
            scales=vector(f"blk.{i}.ffn_down_exps.scale"),
            norms=_expert_norms(i, config, norm, vector),
        )

    layers = [
        LayerWeights(
            attn_norm=norm(f"blk.{i}.attn_norm") if architecture.pre_norms else None,
            wqkv=matrices(f"{i}.wqkv"),
            wo=matrices(f"{i}.wo")[0],
            ffn_norm=norm(f"blk.{i}.{architecture.ffn_norm}") if architecture.ffn_is_normed else None,
            w_gate_up=matrices(f"{i}.w_gate_up"),
            w_down=next(iter(matrices(f"{i}.w_down")), None),
            qkv_bias=vector(*(f"blk.{i}.attn_{part}.bias" for part in ("qkv", "q", "k", "v"))),
            wo_bias=vector(f"blk.{i}.attn_output.bias"),
            gate_up_bias=vector(*(f"blk.{i}.ffn_{part}.bias" for part in ("gate", "up"))),
            down_bias=vector(f"blk.{i}.ffn_down.bias"),
            q_norm=vector(f"blk.{i}.attn_q_norm.weight"),
            k_norm=vector(f"blk.{i}.attn_k_norm.weight"),
            attn_post_norm=vector(f"blk.{i}.post_attention_norm.weight") if architecture.post_norms else None,
            ffn_post_norm=vector(f"blk.{i}.post_ffw_norm.weight"),
            sinks=vector(f"blk.{i}.attn_sinks.weight"),
            experts=experts(i),
            recurrent=recurrent_weights(f"blk.{i}.", plain),
            per_layer=_per_layer(i, config, matrices, norm),
            scale=_number(vector(f"blk.{i}.layer_output_scale.weight")),
        )
        for i in range(config.n_layers)
    ]
    return ModelWeights(
        embedding=matrices("embedding")[0],
        layers=layers,
        output_norm=norm(architecture.output_norm) / np.float32(config.logit_divisor),
        output=matrices("embedding" if config.tied else "output")[0],
        output_bias=vector("output.bias"),
        per_layer=_per_layer_table(config, matrices, norm),
        rope_divisors=vector("rope_freqs.weight" if "rope_freqs.weight" in tensors else "rope_factors_short.weight"),
        long_rope_divisors=vector("rope_factors_long.weight"),
        store=store,
    )


def _expert_norms(
    i: int, config: ModelConfig, norm: Callable[[str], Vector], vector: Callable[[str], Vector | None]
) -> ExpertNorms | None:
    router = vector(f"blk.{i}.ffn_gate_inp.scale")
    if router is None:
        return None
    before, after, beside = (
        norm(f"blk.{i}.{name}") for name in ("pre_ffw_norm_2", "post_ffw_norm_2", "post_ffw_norm_1")
    )
    return ExpertNorms(router * np.float32(config.dim**-0.5), before, after, beside)


def _per_layer_table(
    config: ModelConfig, matrices: Callable[[str], list[Matrix]], norm: Callable[[str], Vector]
) -> PerLayerTable | None:
    if not config.per_layer_dim:
        return None
    embedding, projection = (matrices(name)[0] for name in PER_LAYER)
    return PerLayerTable(embedding, projection, norm("per_layer_proj_norm") / np.float32(2**0.5))


def _per_layer(
    i: int, config: ModelConfig, matrices: Callable[[str], list[Matrix]], norm: Callable[[str], Vector]
) -> PerLayerWeights | None:
    if not config.per_layer_dim:
        return None
    gate, projection = matrices(f"{i}.per_layer")
    return PerLayerWeights(gate, projection, norm(f"blk.{i}.post_norm"))


def _as_configured(tensors: Mapping[str, TensorInfo], config: ModelConfig) -> dict[str, TensorInfo]:
    """The tensors in the shapes of the configuration, which they may have without their leading ones."""
    shapes = {name: shape for name, shape in tensor_shapes(config) if name in tensors}
    return {**tensors, **{name: replace(tensors[name], shape=shape) for name, shape in shapes.items()}}


def _number(vector: Vector | None) -> float:
    """A vector's only number, 1 if there is none."""
    return 1.0 if vector is None else float(vector[0])


def _layer_plans(i: int, config: ModelConfig, tensors: dict[str, TensorInfo]) -> dict[str, list[MatrixPlan]]:
    """The plans of a layer's matrices, by the names that LayerWeights has for them."""

    def tensor(name: str) -> TensorInfo:
        return tensors[f"blk.{i}.{name}.weight"]

    def stack(part: str) -> MatrixPlan:
        """One matrix, expert below expert."""
        stacked = tensor(f"ffn_{part}_exps")
        whole = replace(stacked, shape=(stacked.shape[0] * stacked.shape[1], stacked.shape[2]))
        return plan_matrix(f"{i}.w_{part}", whole)

    def one_row(name: str) -> TensorInfo:
        return replace(tensor(name), shape=(1, config.dim))

    plans = _attention_plans(i, config, tensor)
    experts, shared = config.experts_of(i), ""
    up_alone = config.architecture.gate_in_up or config.architecture.ungated
    if experts is not None:
        router = [tensor("ffn_gate_inp")]
        if experts.shared_dim and config.architecture.gated_shared:
            router.append(one_row("ffn_gate_inp_shexp"))
        plans |= {
            f"{i}.router": plan_side_by_side(f"{i}.router", *router),
            f"{i}.w_gate_up_exps": [stack("gate_up")] if experts.in_one else [stack("gate"), stack("up")],
            f"{i}.w_down_exps": [stack("down")],
        }
        if config.architecture.dense_beside_experts:
            return plans | _gated_plans(i, "_beside", [tensor("ffn_gate"), tensor("ffn_up")], tensor("ffn_down"))
        if not experts.shared_dim:
            return plans
        up_alone, shared = False, "_shexp"
    feed_forward = [f"ffn_up{shared}"] if up_alone else [f"ffn_gate{shared}", f"ffn_up{shared}"]
    return plans | _gated_plans(i, shared, [tensor(name) for name in feed_forward], tensor(f"ffn_down{shared}"))


def _attention_plans(i: int, config: ModelConfig, tensor: Callable[[str], TensorInfo]) -> dict[str, list[MatrixPlan]]:
    """Those of attention, and of what the layer gets of a token beside the residual stream."""
    attention, recurrence, output = config.attention[i], config.recurrence, "attn_output"
    qkv: Sequence[str] = QKV[: len(attention.widths)]
    if config.qkv_in_one and len(qkv) == len(QKV):
        qkv = ["attn_qkv"]
    if recurrence is not None and not attention.n_kv_heads:
        qkv, output = input_matrices(recurrence), output_matrix(recurrence)
    plans = {
        f"{i}.wqkv": plan_side_by_side(f"{i}.wqkv", *map(tensor, qkv)),
        f"{i}.wo": [plan_matrix(f"{i}.wo", tensor(output))],
    }
    if config.per_layer_dim:
        plans[f"{i}.per_layer"] = [plan_matrix(f"{i}.per_layer.{part}", tensor(part)) for part in ("inp_gate", "proj")]
    return plans


def _gated_plans(i: int, ending: str, gate_up: list[TensorInfo], down: TensorInfo) -> dict[str, list[MatrixPlan]]:
    """The plans of what all tokens go through; the ending tells them from those of experts."""
    return {
        f"{i}.w_gate_up": plan_side_by_side(f"{i}.w_gate_up{ending}", *gate_up),
        f"{i}.w_down": [plan_matrix(f"{i}.w_down{ending}", down)],
    }


def _values(tensor: TensorInfo) -> Vector:
    """A tensor of plain numbers as float32."""
    raw = read_rows(tensor, 0, tensor.n_rows)
    values: Vector
    match tensor.type.name:
        case "F32":
            values = raw.view(np.float32)
        case "F16":
            values = raw.view(np.float16).astype(np.float32)
        case "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        case other:
            raise UnsupportedModelError(
                f"{tensor.path}: {tensor.name} is a vector stored as {other}.", "Choose another file."
            )
    return values.reshape(tensor.shape)


def _with_bias(weight: Vector, bias: Vector | None) -> Vector:
    """A norm's weight and, behind it, its bias, zeros if there is none."""
    return np.concatenate([weight, np.zeros_like(weight) if bias is None else bias])


def _padded(values: NDArray[np.float32]) -> Vector:
    padded = np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    padded[: values.size] = values.ravel()
    return padded
