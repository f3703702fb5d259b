"""Models with Mamba-2's layers in Hugging Face's `config.json`, which has their settings under many names.

Source: the configurations of GraniteMoeHybrid, FalconH1, NemotronH and Mamba2 in the transformers repository and in
NVIDIA's, and llama.cpp's converter.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

from engine.checkpoints.limits import MAX_HEADS, MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

STATE_SPACES = ("granitehybrid", "falcon-h1", "nemotron_h", "nemotron_h_moe", "mamba2")
"""Architectures with such layers."""

_NAMES = {
    "ssm.conv_kernel": ("mamba_d_conv", "conv_kernel"),
    "ssm.state_size": ("mamba_d_state", "ssm_state_size", "state_size"),
    "ssm.group_count": ("mamba_n_groups", "n_groups"),
    "ssm.time_step_rank": ("mamba_n_heads", "mamba_num_heads", "num_heads"),
}
"""By GGUF's keys, those of all these classes."""

_DEFAULTS = {"ssm.conv_kernel": 4, "ssm.group_count": 1}

_ATTENTION, _STATE, _DENSE, _EXPERTS = "attention", "mamba", "mlp", "moe"
_KINDS = {
    **dict.fromkeys(("attention", "full_attention", "*"), _ATTENTION),
    **dict.fromkeys(("mamba", "linear_attention", "M"), _STATE),
    **dict.fromkeys(("mlp", "-"), _DENSE),
    **dict.fromkeys(("moe", "E"), _EXPERTS),
}
"""What each layer is, by the words for it, or by the letters of a pattern."""

_OTHER_NAMES = {
    "nemotron_h": {
        "attention_head_dim": "head_dim",
        "layer_norm_epsilon": "rms_norm_eps",
        "mlp_hidden_act": "hidden_act",
        "moe_shared_expert_intermediate_size": "shared_expert_intermediate_size",
    },
    "mamba2": {"layer_norm_epsilon": "rms_norm_eps"},
}


def layer_kinds(values: Mapping[str, object]) -> list[str]:
    """What each layer is; nothing where the configuration does not say."""
    names = ("layer_types", "layers_block_type", "hybrid_override_pattern")
    found = next((values[name] for name in names if values.get(name)), None)
    if not isinstance(found, (list, str)) or not all(isinstance(kind, str) and kind in _KINDS for kind in found):
        return []
    return [_KINDS[kind] for kind in found]


def architecture_of_hybrid(values: Mapping[str, object], architecture: str) -> str:
    """GGUF's name: of what has no states, and with experts in place of other layers, there is another one."""
    kinds = layer_kinds(values)
    if architecture == "nemotron_h":
        return "nemotron_h_moe" if _EXPERTS in kinds else architecture
    if architecture != "granitehybrid" or not kinds or _STATE in kinds:
        return architecture
    return "granitemoe" if values.get("num_local_experts") else "granite"


def with_state_space_names(values: Mapping[str, object], architecture: str) -> dict[str, object]:
    """Settings under the names that most models have for them; a state's heads are not those of attention."""
    other = _OTHER_NAMES.get(architecture.removesuffix("_moe"), {})
    named = {other[name]: value for name, value in values.items() if name in other} | dict(values)
    kinds = layer_kinds(values)
    if architecture.startswith("nemotron_h") and kinds:
        named["num_hidden_layers"] = len(kinds)
    if architecture == "mamba2":
        named["mamba_head_dim"] = named.pop("head_dim", 64)
        named |= {"num_attention_heads": 1, "intermediate_size": 1}
    if architecture.startswith("granite") and not values.get("num_local_experts") and "layer_types" in values:
        named["intermediate_size"] = values.get("shared_intermediate_size", 1024)
        named.pop("shared_intermediate_size", None)
    return named


def state_space_keys(
    values: Metadata, architecture: str, dim: int, n_layers: int, n_kv_heads: int
) -> dict[str, object]:
    """Keys of a GGUF beside those of every model, without the architecture's name.

    Raises UnsupportedModelError for settings that the engine does not run.
    """
    _check(values)
    keys: dict[str, object] = {}
    for key, names in _NAMES.items():
        name = next((name for name in names if name in values), names[0])
        keys[key] = values.integer(name, _DEFAULTS.get(key), low=1, high=MAX_WIDTH)
    if architecture == "falcon-h1" and "mamba_d_ssm" in values:
        keys["ssm.inner_size"] = values.integer("mamba_d_ssm", low=1, high=MAX_WIDTH)
    elif architecture.startswith("nemotron_h"):
        heads = values.integer("mamba_num_heads", low=1, high=MAX_HEADS)
        keys["ssm.inner_size"] = heads * values.integer("mamba_head_dim", low=1, high=MAX_WIDTH)
    else:
        name = "mamba_expand" if "mamba_expand" in values else "expand"
        keys["ssm.inner_size"] = int(values.real(name, 2.0, low=1.0, high=64.0) * dim)
    if architecture == "mamba2":
        keys |= {"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0}
    if architecture == "granitehybrid":
        kinds = _kinds_of(values, n_layers) if layer_kinds(values) else [_STATE] * n_layers
        keys["attention.head_count_kv"] = array("i", [n_kv_heads * (kind == _ATTENTION) for kind in kinds])
    if architecture.startswith("nemotron_h"):
        kinds = _kinds_of(values, n_layers)
        width = values.integer(
            "moe_intermediate_size" if _EXPERTS in kinds else "intermediate_size", low=1, high=MAX_WIDTH
        )
        keys["attention.head_count_kv"] = array("i", [n_kv_heads * (kind == _ATTENTION) for kind in kinds])
        keys["feed_forward_length"] = array("i", [width * (kind in (_DENSE, _EXPERTS)) for kind in kinds])
    return keys


def granite_turning(values: Metadata, architecture: str) -> dict[str, object]:
    """Whether a Granite 4 turns queries and keys, for those of its class that have no states as well."""
    if architecture not in ("granite", "granitehybrid", "granitemoe") or "layer_types" not in values:
        return {}
    does = values.text("position_embedding_type", "") == "rope"
    if architecture == "granitemoe" and not does:
        raise UnsupportedModelError(
            f"{values.path}: all layers attend, to no positions (position_embedding_type), which is not run here in a "
            f"{architecture} model.",
            "Choose another model.",
        )
    return {} if does else {"rope.scaling.finetuned": False}


def _kinds_of(values: Metadata, n_layers: int) -> Sequence[str]:
    kinds = layer_kinds(values)
    if len(kinds) != n_layers:
        raise values.error(f"it does not say of each of {n_layers} layers what it is.")
    if _DENSE in kinds and _EXPERTS in kinds:
        raise UnsupportedModelError(
            f"{values.path}: some layers have experts and others are without them, which is not run here.",
            "Choose another model.",
        )
    return kinds


def _check(values: Metadata) -> None:
    limits = values.get("time_step_limit", values.get("mamba_dt_limit"))
    if isinstance(limits, list) and len(limits) == 2:
        # What is no number there is a way to write that there is no limit.
        low, high = (limit if isinstance(limit, (int, float)) else math.inf for limit in limits)
        if low > 0.0 or high < math.inf:
            raise UnsupportedModelError(
                f"{values.path}: time steps are kept between {low:g} and {high:g} (time_step_limit), which is not run "
                "here.",
                "Choose another model.",
            )
    if (activation := values.text("mamba_hidden_act", "silu")) not in ("silu", "swish"):
        raise UnsupportedModelError(
            f"{values.path}: states have the activation {activation!r} (mamba_hidden_act), which is not run here.",
            "Choose another model.",
        )
    if values.flag("mamba_rms_norm", False) and values.flag("mamba_norm_before_gate", True):
        raise UnsupportedModelError(
            f"{values.path}: states' results are normed before their gates (mamba_norm_before_gate), which is not run "
            "here.",
            "Choose another model.",
        )
