"""What the model weighs: matrices in panels and norm vectors, under the field's names.

The one place that knows how GGUF spells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints import Checkpoint, TensorInfo
from engine.checkpoints.rows import read_rows
from engine.config import ModelConfig
from engine.errors import UnsupportedModelError
from engine.kernels.formats import BLOCK
from engine.panels import Matrix, MatrixPlan, PanelStore, open_panels, plan_matrix
from engine.panels.layout import plan_side_by_side

Vector = NDArray[np.float32]
"""float32, padded with zeros to whole blocks of 32."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Matrices are (outputs, inputs); those that read the same input may be one matrix.

    attn_norm, ffn_norm: (dim,). wqkv: (q_dim + 2·kv_dim, dim). wo: (dim, q_dim). w_gate_up: (2·hidden_dim, dim).
    w_down: (dim, hidden_dim).
    """

    attn_norm: Vector
    wqkv: list[Matrix]
    wo: Matrix
    ffn_norm: Vector
    w_gate_up: list[Matrix]
    w_down: Matrix


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All weights. embedding, output: (vocab_size, dim), the same matrix where they are tied.

    rope_divisors: (rope_dim / 2,) what each rotary frequency is divided by, or None.
    """

    embedding: Matrix
    layers: list[LayerWeights]
    output_norm: Vector
    output: Matrix
    rope_divisors: Vector | None
    store: PanelStore

    def matrices(self) -> Iterator[Matrix]:
        """Every matrix of a product."""
        for layer in self.layers:
            yield from (*layer.wqkv, layer.wo, *layer.w_gate_up, layer.w_down)
        yield self.output

    def close(self) -> None:
        """Give the panels' memory back."""
        self.store.close()


def load_weights(
    checkpoint: Checkpoint,
    config: ModelConfig,
    directory: Path | None,
    threads: int,
    report: Callable[[int, int], None],
) -> ModelWeights:
    """Weights from a checkpoint, in panels: mapped from `directory`, or in memory without one."""
    tensors = checkpoint.tensors
    plans: dict[str, list[MatrixPlan]] = {"embedding": [plan_matrix("embedding", tensors["token_embd.weight"])]}
    if not config.tied:
        plans["output"] = [plan_matrix("output", tensors["output.weight"])]
    for i in range(config.n_layers):
        plans |= _layer_plans(i, tensors)
    store = open_panels(checkpoint, [p for group in plans.values() for p in group], directory, threads, report)

    def matrices(name: str) -> list[Matrix]:
        return [store.matrices[plan.name] for plan in plans[name]]

    layers = [
        LayerWeights(
            attn_norm=_vector(tensors[f"blk.{i}.attn_norm.weight"]),
            wqkv=matrices(f"{i}.wqkv"),
            wo=matrices(f"{i}.wo")[0],
            ffn_norm=_vector(tensors[f"blk.{i}.ffn_norm.weight"]),
            w_gate_up=matrices(f"{i}.w_gate_up"),
            w_down=matrices(f"{i}.w_down")[0],
        )
        for i in range(config.n_layers)
    ]
    return ModelWeights(
        embedding=matrices("embedding")[0],
        layers=layers,
        output_norm=_vector(tensors["output_norm.weight"]),
        output=matrices("embedding" if config.tied else "output")[0],
        rope_divisors=_vector(tensors["rope_freqs.weight"]) if "rope_freqs.weight" in tensors else None,
        store=store,
    )


def _layer_plans(i: int, tensors: dict[str, TensorInfo]) -> dict[str, list[MatrixPlan]]:
    def tensor(name: str) -> TensorInfo:
        return tensors[f"blk.{i}.{name}.weight"]

    return {
        f"{i}.wqkv": plan_side_by_side(f"{i}.wqkv", tensor("attn_q"), tensor("attn_k"), tensor("attn_v")),
        f"{i}.wo": [plan_matrix(f"{i}.wo", tensor("attn_output"))],
        f"{i}.w_gate_up": plan_side_by_side(f"{i}.w_gate_up", tensor("ffn_gate"), tensor("ffn_up")),
        f"{i}.w_down": [plan_matrix(f"{i}.w_down", tensor("ffn_down"))],
    }


def _vector(tensor: TensorInfo) -> Vector:
    """A one-dimensional tensor as float32."""
    raw = read_rows(tensor, 0, 1)[0]
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
    padded = np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    padded[: values.size] = values
    return padded
