"""Settings in Hugging Face's `config.json` under the names that most models have for them.

Source: the configurations in the transformers repository, and those that came with models of their own code.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.checkpoints.huggingface_state_space import STATE_SPACES, with_state_space_names

_OTHER_NAMES = {
    "afmoe": {"route_norm": "norm_topk_prob", "route_scale": "routed_scaling_factor", "score_func": "scoring_func"},
    "bloom": {
        "n_embed": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "layer_norm_epsilon": "layer_norm_eps",
        "seq_length": "max_position_embeddings",
    },
    "smallthinker": {
        "moe_num_primary_experts": "num_experts",
        "moe_num_active_primary_experts": "num_experts_per_tok",
        "moe_ffn_hidden_size": "moe_intermediate_size",
        "sliding_window_size": "sliding_window",
    },
    "starcoder": {
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings",
        "layer_norm_epsilon": "layer_norm_eps",
        "activation_function": "hidden_act",
    },
    "exaone": {
        "num_layers": "num_hidden_layers",
        "activation_function": "hidden_act",
        "layer_norm_epsilon": "rms_norm_eps",
    },
    "falcon": {
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_head_kv": "num_key_value_heads",
        "num_kv_heads": "num_key_value_heads",
        "layer_norm_epsilon": "layer_norm_eps",
        "ffn_hidden_size": "intermediate_size",
        "activation": "hidden_act",
    },
    "gptneox": {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"},
    "hy_v3": {"route_norm": "norm_topk_prob", "router_scaling_factor": "routed_scaling_factor"},
}
"""By architecture."""


def with_usual_names(values: Mapping[str, object], architecture: str) -> dict[str, object]:
    """The same settings; one that has its usual name already keeps it."""
    other = _OTHER_NAMES.get(architecture, {})
    named = {other[name]: value for name, value in values.items() if name in other} | dict(values)
    if architecture in STATE_SPACES or architecture.startswith("granite"):
        return with_state_space_names(named, architecture)
    if architecture == "gemma3n":
        return _gemma3n(named)
    if architecture == "smallthinker":
        return _smallthinker(named)
    if architecture in ("bloom", "starcoder"):
        return _four_times_as_wide(named) | ({"num_key_value_heads": 1} if architecture == "starcoder" else {})
    return _falcon(named) if architecture == "falcon" else named


def _gemma3n(values: dict[str, object]) -> dict[str, object]:
    """Gemma 3n's, with one width for all layers, where it has one for each and they are the same."""
    widths = values.get("intermediate_size")
    if isinstance(widths, list) and widths and all(width == widths[0] for width in widths):
        values["intermediate_size"] = widths[0]
    return values


def _smallthinker(values: dict[str, object]) -> dict[str, object]:
    """SmallThinker's, with what tells layers with a window by the words that others have for it."""
    windowed = values.get("sliding_window_layout")
    if isinstance(windowed, list):
        values["layer_types"] = ["sliding_attention" if each else "full_attention" for each in windowed]
    values["scoring_func"] = "softmax" if values.get("moe_primary_router_apply_softmax") is True else "sigmoid"
    return values


def _falcon(values: dict[str, object]) -> dict[str, object]:
    """Falcon's, with the sizes that follow from others.

    Where all queries share one key, the first configurations say no number of keys, and later ones another.
    """
    if values.get("multi_query", True) is True and values.get("new_decoder_architecture") is not True:
        values["num_key_value_heads"] = 1
    return _four_times_as_wide(values)


def _four_times_as_wide(values: dict[str, object]) -> dict[str, object]:
    """With the usual width of feed-forward layers, where the configuration says none."""
    dim = values.get("hidden_size")
    if "intermediate_size" not in values and isinstance(dim, int):
        values["intermediate_size"] = 4 * dim
    return values
