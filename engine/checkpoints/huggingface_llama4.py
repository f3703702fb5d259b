"""What `config.json` of Llama 4 says otherwise than others.

Source: Llama4TextConfig in the transformers repository.
"""

from __future__ import annotations

from engine.architecture.architecture import MAVERICK_EXPERTS
from engine.checkpoints.limits import MAX_CONTEXT
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

_KINDS = {"chunked_attention": "sliding_attention"}
"""Layers that see their own chunk, by the word that others have for a window."""


def with_llama4_names(values: dict[str, object]) -> dict[str, object]:
    """The same settings by the names that others have: an expert's width, chunks, and which layers see them."""
    if "intermediate_size_mlp" in values:
        values["moe_intermediate_size"] = values.get("intermediate_size")
        values["intermediate_size"] = values["intermediate_size_mlp"]
    kinds, turned = values.get("layer_types"), values.get("no_rope_layers")
    if not kinds and isinstance(turned, list) and turned:
        kinds = ["chunked_attention" if each else "full_attention" for each in turned]
    if isinstance(kinds, list) and kinds:
        values["layer_types"] = [_KINDS.get(kind, kind) if isinstance(kind, str) else kind for kind in kinds]
    values["sliding_window"] = values.get("attention_chunk_size", 8192)
    return values


def llama4_keys(values: Metadata) -> dict[str, object]:
    """Keys of a GGUF. Raises UnsupportedModelError for what is not run here."""
    count = values.integer("num_local_experts", 0, low=0, high=MAX_CONTEXT)
    own = count != MAVERICK_EXPERTS
    if values.flag("use_qk_norm", own) != own:
        raise UnsupportedModelError(
            f"{values.path}: use_qk_norm is {str(not own).lower()} with {count} experts, which is not run here.",
            "Choose another model.",
        )
    kinds, turned = values.get("layer_types"), values.get("no_rope_layers")
    if isinstance(turned, list) and turned and isinstance(kinds, list):
        in_chunks = [int(kind == "sliding_attention") for kind in kinds]
        if turned != (in_chunks if any(in_chunks) else [1] * len(kinds)):
            raise UnsupportedModelError(
                f"{values.path}: other layers than those with chunks have positions (no_rope_layers), which is not run "
                "here.",
                "Choose another model.",
            )
    grows = values.get("attn_temperature_tuning", True)
    return {
        "attention.temperature_scale": values.real("attn_scale", 0.1, low=0.0, high=1e3) if grows else 0.0,
        "attention.temperature_length": int(values.real("floor_scale", 8192.0, low=1.0, high=float(MAX_CONTEXT))),
    }
