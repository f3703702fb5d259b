"""Jais, a GPT-2 with gates, whose embeddings and results are multiplied by factors of its configuration.

In GGUF, the matrices are multiplied instead. Source: modeling_jais.py beside those models, JaisModel in llama.cpp's
converter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TYPE_BY_NAME

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LATER = {
    "embeddings_scale": "mup_embeddings_scale",
    "scale_qk_dot_by_d": "mup_scale_qk_dot_by_d",
}
"""What the first configurations called otherwise."""

LEAST, MOST = 1e-6, 1e6


def with_jais_names(values: dict[str, object]) -> dict[str, object]:
    """The settings under the names that later ones have, and under those of other models."""
    named = {_LATER[name]: value for name, value in values.items() if name in _LATER} | values
    named.setdefault("tie_word_embeddings", True)
    named["alibi"] = named.get("position_embedding_type", "alibi") == "alibi"
    return named


def with_jais_factors(tensors: Mapping[str, TensorInfo], values: Metadata) -> dict[str, TensorInfo]:
    """The tensors with embeddings and output multiplied; where both are one matrix, there are two then."""
    embedding = tensors.get("token_embd.weight")
    if embedding is None:
        return dict(tensors)
    output = tensors.get("output.weight", replace(embedding, name="output.weight"))
    if "width_scale" in values:
        out = values.real("width_scale", low=LEAST, high=MOST)
    else:
        alpha, width = (values.real(f"mup_{name}", low=LEAST, high=MOST) for name in ("output_alpha", "width_scale"))
        out = alpha * width
    into = values.real("mup_embeddings_scale", low=LEAST, high=MOST)
    both = {each.name: _times(each, factor) for each, factor in ((embedding, into), (output, out))}
    return {**tensors, **both}


def _times(tensor: TensorInfo, factor: float) -> TensorInfo:
    kind = TYPE_BY_NAME["F32" if tensor.type.name == "F32" else "F16"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        return float_bytes(read_floats(tensor, first, count) * np.float32(factor), kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)
