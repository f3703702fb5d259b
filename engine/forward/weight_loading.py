"""From a file's tensors to the model's weights, under the field's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.architecture.altup import EMBED, UNEMBED
from engine.architecture.config import ModelConfig
from engine.architecture.gguf_config import LEAST_STRETCH
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.model_tensors import (
    ATTN_SUB_NORM,
    EMBEDDING_NORM,
    FFN_SUB_NORM,
    GATE_UP,
    LAYER_SCALE,
    POSITIONS,
    QKV,
    tensor_shapes,
)
from engine.architecture.recurrent_tensors import STEP_NORMS, THREE_TAPS
from engine.architecture.selective import SelectiveScan
from engine.checkpoints import Checkpoint, TensorInfo
from engine.checkpoints.rows import read_rows
from engine.errors import ModelFileError, UnsupportedModelError
from engine.forward.matrix_plans import PER_LAYER, matrix_plans
from engine.forward.weights import (
    AltUpTable,
    AltUpWeights,
    ExpertNorms,
    ExpertWeights,
    KimiDeltaWeights,
    LatentWeights,
    LayerWeights,
    ModelWeights,
    PerLayerTable,
    PerLayerWeights,
    RecurrentWeights,
    SelectiveWeights,
    Vector,
)
from engine.kernels.sizes import BLOCK, LANES
from engine.panels import Matrix, PanelFolder, open_panels
from engine.panels.packing import FETCH_AGAIN
from engine.reports import ReportBytes


def load_weights(
    checkpoint: Checkpoint, config: ModelConfig, folder: PanelFolder | None, threads: int, report: ReportBytes
) -> ModelWeights:
    """Weights from a checkpoint, in panels: mapped from `folder`, or in memory without one."""
    tensors = _as_configured(checkpoint.tensors, config)
    plans = matrix_plans(config, tensors)
    store = open_panels(checkpoint, [plan for group in plans.values() for plan in group], folder, threads, report)
    matrices = {name: [store.matrices[plan.name] for plan in group] for name, group in plans.items()}
    model = _Reader(config, tensors, matrices)
    embedding = model.matrix("embedding")
    rope_divisors = "rope_freqs.weight" if "rope_freqs.weight" in tensors else "rope_factors_short.weight"
    return ModelWeights(
        embedding=embedding,
        embedding_norm=_embedding_norm(model),
        positions=model.values(POSITIONS),
        layers=[_layer(replace(model, begin=f"blk.{i}."), i) for i in range(config.n_own_layers)] * config.loops,
        output_norm=model.norm(config.architecture.output_norm) / np.float32(config.logit_divisor),
        output=embedding if config.tied else model.matrix("output"),
        output_bias=model.vector("output.bias"),
        per_layer=_per_layer_table(model) if config.per_layer_dim else None,
        altup=_altup_table(model),
        rope_divisors=model.divisors(rope_divisors),
        long_rope_divisors=model.divisors("rope_factors_long.weight"),
        store=store,
    )


def _as_configured(tensors: Mapping[str, TensorInfo], config: ModelConfig) -> dict[str, TensorInfo]:
    """The tensors in the shapes of the configuration, which they may have without their leading ones."""
    shapes = {name: shape for name, shape in tensor_shapes(config) if name in tensors}
    return {**tensors, **{name: replace(tensors[name], shape=shape) for name, shape in shapes.items()}}


def _embedding_norm(model: _Reader) -> Vector | None:
    architecture = model.config.architecture
    return model.norm(EMBEDDING_NORM) if architecture.embedding_norm or architecture.unit_embedding_norm else None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Weights by name. begin: what their names begin with, as those of a layer do."""

    config: ModelConfig
    tensors: Mapping[str, TensorInfo]
    panels: Mapping[str, list[Matrix]]
    begin: str = ""

    def matrices(self, name: str) -> list[Matrix]:
        """Those that read the same input; none if there is no such weight."""
        return self.panels.get(self.begin + name, [])

    def matrix(self, name: str) -> Matrix:
        """The only one of that name."""
        (matrix,) = self.panels[self.begin + name]
        return matrix

    def values(self, name: str) -> Vector | None:
        """A tensor as it is, not padded; None if there is none."""
        tensor = self.tensors.get(self.begin + name)
        return None if tensor is None else _values(tensor)

    def vector(self, *names: str) -> Vector | None:
        """The vectors that there are, side by side; None if there is none."""
        found = [values for name in names if (values := self.values(name)) is not None]
        return _padded(np.concatenate(found, axis=-1)) if found else None

    def divisors(self, name: str) -> Vector | None:
        """A vector that something is divided by, with nothing in it that makes this infinite or turns it round."""
        values = self.values(name)
        if values is not None and not ((values >= LEAST_STRETCH) & (values < np.inf)).all():
            raise ModelFileError(
                f"{self.tensors[name].path}: {name} has numbers that positions cannot be divided by.", FETCH_AGAIN
            )
        return self.vector(name)

    def norm(self, name: str) -> Vector:
        """A norm's weight; where the mean is taken away or there are biases, one behind it, zeros if it has none."""
        values = self.values(f"{name}.weight")
        weight = _padded(np.ones(self.config.dim, np.float32) if values is None else values)
        if self.config.architecture.norm == "rms" and not self.config.architecture.norm_biases:
            return weight
        bias = self.vector(f"{name}.bias")
        return np.concatenate([weight, np.zeros_like(weight) if bias is None else bias])


def _layer(layer: _Reader, index: int) -> LayerWeights:
    config, architecture = layer.config, layer.config.architecture
    scale = layer.vector(LAYER_SCALE)
    number = 1.0 if scale is None else float(scale[0])
    return LayerWeights(
        attn_norm=layer.norm(architecture.attn_norm) if architecture.pre_norms else None,
        wqkv=layer.matrices("wqkv"),
        wo=next(iter(layer.matrices("wo")), None),
        w_state=next(iter(layer.matrices("w_state")), None),
        ffn_norm=layer.norm(architecture.ffn_norm) if architecture.ffn_is_normed else None,
        w_gate_up=layer.matrices("w_gate_up"),
        w_down=next(iter(layer.matrices("w_down")), None),
        qkv_bias=layer.vector("attn_qkv.bias", "attn_q.bias", "attn_k.bias", "attn_v.bias"),
        wo_bias=layer.vector("attn_output.bias"),
        gate_up_bias=layer.vector("ffn_gate.bias", "ffn_up.bias"),
        down_bias=layer.vector("ffn_down.bias"),
        q_norm=_head_norm(layer, index, "attn_q_norm"),
        k_norm=_head_norm(layer, index, "attn_k_norm"),
        qkv_factors=_factors(layer, QKV, config.attention[index].widths),
        gate_up_factors=_factors(layer, GATE_UP, (config.hidden_dims[index],) * len(GATE_UP)),
        attn_sub_norm=_sub_norm(layer, ATTN_SUB_NORM, "attn_output"),
        ffn_sub_norm=_sub_norm(layer, FFN_SUB_NORM, "ffn_down"),
        attn_post_norm=layer.vector("post_attention_norm.weight") if architecture.post_norms else None,
        ffn_post_norm=layer.vector("post_ffw_norm.weight"),
        wo_factors=_result_factors(layer, "attn_output"),
        down_factors=_result_factors(layer, "ffn_down"),
        sinks=layer.vector("attn_sinks.weight"),
        experts=_experts(layer, index) if config.experts_of(index) is not None else None,
        recurrent=_recurrent(layer),
        latent=_latent(layer) if config.attention[index].latent is not None else None,
        per_layer=_per_layer(layer) if config.per_layer_dim else None,
        altup=_altup(layer, index),
        xielu=config.xielu[index] if config.xielu else None,
        skip=number if architecture.embedding_skips else 0.0,
        scale=1.0 if architecture.embedding_skips else number,
    )


def _head_norm(layer: _Reader, index: int, name: str) -> Vector | None:
    """The weight of the norm of queries or keys: ones where there is a norm without a weight."""
    attention = layer.config.attention[index]
    if layer.config.architecture.unit_qk_norms and attention.rope_dim:
        return _padded(np.ones(attention.head_dim, np.float32))
    if layer.config.architecture.query_gains:
        gains = layer.values(f"{name}.weight")
        heads = np.ones(attention.n_kv_heads, np.float32) if gains is None else gains
        return _padded(np.repeat(heads, attention.head_dim))
    return layer.vector(f"{name}.weight")


def _scale(layer: _Reader, name: str) -> np.float32 | None:
    """The number by which a matrix's products are multiplied; None without one."""
    scale = layer.values(f"{name}.scale") if layer.config.architecture.sub_norms else None
    return None if scale is None else np.float32(scale.item())


def _result_factors(layer: _Reader, name: str) -> Vector | None:
    """The number by which a matrix's products are multiplied, for each of them."""
    scale = layer.values(f"{name}.scale") if layer.config.architecture.result_scales else None
    return None if scale is None else _padded(np.full(layer.config.dim, scale.item(), np.float32))


def _factors(layer: _Reader, names: Sequence[str], rows: Sequence[int]) -> Vector | None:
    """Those of matrices side by side, of so many rows each, for each of their products."""
    scales = [_scale(layer, name) for name in names]
    if all(scale is None for scale in scales):
        return None
    ones = [np.float32(1.0) if scale is None else scale for scale in scales]
    return _padded(np.repeat(np.array(ones), rows))


def _sub_norm(layer: _Reader, name: str, matrix: str) -> Vector | None:
    """A norm's weight times what the products of the matrix are multiplied by that reads what it norms."""
    weight, scale = layer.vector(f"{name}.weight"), _scale(layer, matrix)
    return weight if weight is None or scale is None else weight * scale


def _experts(layer: _Reader, index: int) -> ExpertWeights:
    experts, dim = layer.config.experts, layer.config.dim
    assert experts is not None
    is_mean = layer.config.architecture.averaged_shared and experts.shared_dim > 0
    return ExpertWeights(
        router=layer.matrices("router"),
        w_gate_up=layer.matrices("w_gate_up_exps"),
        w_down=layer.matrix("w_down_exps"),
        router_bias=layer.vector("ffn_gate_inp.bias"),
        choice_bias=layer.vector(layer.config.architecture.choice_bias),
        gate_up_bias=layer.vector("ffn_gate_exps.bias", "ffn_up_exps.bias"),
        down_bias=layer.vector("ffn_down_exps.bias"),
        scales=layer.vector("ffn_down_exps.scale"),
        factors=_padded(np.full(dim, 0.5, np.float32)) if is_mean else None,
        norms=_expert_norms(layer),
        limit=experts.limits[index] if experts.limits else 0.0,
    )


def _expert_norms(layer: _Reader) -> ExpertNorms | None:
    router = layer.vector("ffn_gate_inp.scale")
    if router is None:
        return None
    return ExpertNorms(
        router=router * np.float32(layer.config.dim**-0.5),
        before=layer.norm("pre_ffw_norm_2"),
        after=layer.norm("post_ffw_norm_2"),
        beside=layer.norm("post_ffw_norm_1"),
    )


def _recurrent(layer: _Reader) -> RecurrentWeights | None:
    """None if the layer attends."""
    taps = _taps(layer)
    if taps is None:
        return None
    recurrence, time_scale = layer.config.recurrence, layer.values("ssm_a")
    if isinstance(recurrence, SelectiveScan) and not recurrence.by_head and time_scale is not None:
        of_lanes = time_scale.reshape(-1, LANES, time_scale.shape[1])
        time_scale = np.ascontiguousarray(of_lanes.transpose(0, 2, 1))
    return RecurrentWeights(
        taps=np.ascontiguousarray(taps.T),
        time_bias=layer.values("ssm_dt.bias"),
        time_scale=time_scale,
        head_norm=layer.values("ssm_norm.weight"),
        tap_bias=layer.values("ssm_conv1d.bias"),
        skips=layer.values("ssm_d"),
        selective=_selective(layer, recurrence) if isinstance(recurrence, SelectiveScan) else None,
        kimi=_kimi(layer) if isinstance(recurrence, KimiDelta) else None,
    )


def _taps(layer: _Reader) -> Vector | None:
    """What convolves, (channels, taps)."""
    found = [layer.values(f"{name}.weight") for name in ("shortconv.conv", "ssm_conv1d", *THREE_TAPS)]
    parts = [taps.reshape(-1, taps.shape[-1]) for taps in found if taps is not None]
    return np.concatenate(parts) if parts else None


def _selective(layer: _Reader, recurrence: SelectiveScan) -> SelectiveWeights:
    norms = [layer.values(f"{name}.weight") for name in STEP_NORMS]
    if recurrence.norms == "unit":
        norms = [np.ones(width, np.float32) for width in (recurrence.step_dim, *(recurrence.state_dim,) * 2)]
    return SelectiveWeights(layer.matrix("w_small"), layer.matrix("w_times"), *norms)


def _kimi(layer: _Reader) -> KimiDeltaWeights:
    return KimiDeltaWeights(layer.matrix("w_decays"), layer.matrix("w_gates"))


def _latent(layer: _Reader) -> LatentWeights:
    return LatentWeights(
        norm=layer.norm("attn_kv_a_norm"),
        query_norm=layer.vector("attn_q_a_norm.weight"),
        w_queries=layer.matrices("w_queries"),
        w_keys=layer.matrix("w_keys"),
        w_values=layer.matrix("w_values"),
    )


def _per_layer_table(model: _Reader) -> PerLayerTable:
    embedding, projection = map(model.matrix, PER_LAYER)
    return PerLayerTable(embedding, projection, model.norm("per_layer_proj_norm") / np.float32(2**0.5))


def _per_layer(layer: _Reader) -> PerLayerWeights:
    gate, projection = layer.matrices("per_layer")
    return PerLayerWeights(gate, projection, layer.norm("post_norm"))


def _altup_table(model: _Reader) -> AltUpTable | None:
    altup, dim = model.config.altup, model.config.dim
    if altup is None:
        return None
    squares = model.matrix(UNEMBED)
    one, n_bytes = replace(squares.plan, rows=dim), dim // LANES * squares.plan.panel_bytes
    unembed = [Matrix(one, squares.address + i * n_bytes) for i in range(altup.streams - 1)]
    return AltUpTable(altup, model.matrix(EMBED), unembed)


def _altup(layer: _Reader, index: int) -> AltUpWeights | None:
    altup = layer.config.altup
    if altup is None:
        return None
    router, norm = layer.values("altup_router.weight"), layer.values("altup_router_norm.weight")
    predict, correct = (layer.values(f"altup_{part}_coef.weight") for part in ("predict", "correct"))
    scale = layer.values("altup_correct_scale.weight")
    assert router is not None and norm is not None and predict is not None and correct is not None
    assert scale is not None  # check_tensors has seen them all
    return AltUpWeights(
        router=np.ascontiguousarray(router * norm / np.float32(layer.config.dim)),
        predict=_lanes_of_columns(predict),
        correct=_lanes_of_columns(correct),
        scale=np.ascontiguousarray(scale),
        laurel=layer.matrices("laurel"),
        laurel_norm=layer.norm("laurel_post_norm"),
        cutoff=altup.cutoffs[index],
    )


def _lanes_of_columns(matrix: Vector) -> Vector:
    """A row of LANES numbers for each column of a small matrix, zeros behind its own."""
    rows = np.zeros((matrix.shape[1], LANES), np.float32)
    rows[:, : matrix.shape[0]] = matrix.T
    return rows


def _values(tensor: TensorInfo) -> Vector:
    """A tensor of plain numbers as float32, all of them numbers."""
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
    if np.isnan(values).any():
        raise ModelFileError(f"{tensor.path}: {tensor.name} has something in it that is not a number.", FETCH_AGAIN)
    return values.reshape(tensor.shape)


def _padded(values: NDArray[np.float32]) -> Vector:
    padded = np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    padded[: values.size] = values.ravel()
    return padded
