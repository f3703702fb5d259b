"""Settings in Hugging Face's `config.json` under the names that most models have for them.

Source: the configurations in the transformers repository, and those that came with models of their own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.checkpoints.huggingface_jais import with_jais_names
from engine.checkpoints.huggingface_llama4 import with_llama4_names
from engine.checkpoints.huggingface_selective import SELECTIVE_SCANS, with_selective_names
from engine.checkpoints.huggingface_state_space import STATE_SPACES, with_state_space_names
from engine.checkpoints.limits import MAX_WIDTH

_GPT_2 = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
    "activation_function": "hidden_act",
}
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
    "jais": _GPT_2,
    "starcoder": _GPT_2,
    "gpt2": _GPT_2,
    "mpt": {
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "max_seq_len": "max_position_embeddings",
        "layer_norm_epsilon": "layer_norm_eps",
    },
    "baichuan": {"model_max_length": "max_position_embeddings"},
    "stablelm": {"rope_pct": "partial_rotary_factor"},
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

_FIRST_QWEN = {
    "layer_norm_epsilon": "rms_norm_eps",
    "rotary_emb_base": "rope_theta",
    "seq_length": "max_position_embeddings",
    "kv_channels": "head_dim",
}

_BAICHUAN_2 = "z_loss_weight"
"""What its second models' configuration has alone."""

UNIT_OUTPUT = "unit_output"
"""Whether the rows of an output are made as long as 1."""


def with_usual_names(values: Mapping[str, object], architecture: str) -> dict[str, object]:
    """The same settings; one that has its usual name already keeps it."""
    other = _OTHER_NAMES.get(architecture, {})
    named = {other[name]: value for name, value in values.items() if name in other} | dict(values)
    if architecture in SELECTIVE_SCANS:
        return with_selective_names(named, architecture)
    if architecture in STATE_SPACES or architecture.startswith("granite"):
        return with_state_space_names(named, architecture)
    if architecture == "qwen2" and named.get("model_type") == "qwen":
        return _first_qwen(named)
    change = _CHANGES.get(architecture)
    return named if change is None else change(named)


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


def _mpt(values: dict[str, object]) -> dict[str, object]:
    """MPT's, whose feed-forward layers are so many times as wide, and whose attention has settings of its own."""
    dim, times = values.get("hidden_size"), values.get("expansion_ratio", 4)
    if isinstance(dim, int) and isinstance(times, int | float) and 0 < times < MAX_WIDTH:
        values["intermediate_size"] = int(times * dim)
    attention = values.get("attn_config")
    given = attention.items() if isinstance(attention, dict) else ()
    return {name: value for name, value in given if value is not None} | values


def _first_qwen(values: dict[str, object]) -> dict[str, object]:
    """Qwen's before its second, whose width is that of gates and ups together.

    Beyond the length that it was trained for, it turns otherwise (use_dynamic_ntk); so that is its longest text.
    """
    width = values.get("intermediate_size")
    if isinstance(width, int):
        values["intermediate_size"] = width // 2
    for name, usual in _FIRST_QWEN.items():
        if name in values:
            values[usual] = values[name]
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


def _jais(values: dict[str, object]) -> dict[str, object]:
    return _four_times_as_wide(with_jais_names(values))


def _baichuan(values: dict[str, object]) -> dict[str, object]:
    return values | {UNIT_OUTPUT: _BAICHUAN_2 in values}


def _starcoder(values: dict[str, object]) -> dict[str, object]:
    return _four_times_as_wide(values) | {"num_key_value_heads": 1}


_CHANGES: Mapping[str, Callable[[dict[str, object]], dict[str, object]]] = {
    "baichuan": _baichuan,
    "bloom": _four_times_as_wide,
    "falcon": _falcon,
    "gemma3n": _gemma3n,
    "gpt2": _four_times_as_wide,
    "jais": _jais,
    "llama4": with_llama4_names,
    "mpt": _mpt,
    "smallthinker": _smallthinker,
    "starcoder": _starcoder,
}
"""What else differs, by architecture."""
