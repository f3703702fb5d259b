"""The experts in Hugging Face's `config.json`, whose classes have many names for the same numbers, as GGUF's keys."""

from __future__ import annotations

from engine.architecture.architectures import ARCHITECTURES
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError

_NUMBERS = {
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size", "expert_intermediate_size"),
    "expert_shared_count": ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "leading_dense_block_count": ("first_k_dense_replace", "moe_layer_start_index", "num_dense_layers"),
    "interleave_moe_layer_step": ("moe_layer_interval", "interleave_moe_layer_step"),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
}
"""By GGUF's keys. Hunyuan has a list with a number for each layer."""

_FUNCTIONS = {"softmax": 1, "sigmoid": 2}
"""What makes probabilities of the router's results, by `scoring_func` or `score_function`."""


def expert_keys(values: Metadata, architecture: str) -> dict[str, object]:
    """Keys of a GGUF for the experts; none for a model without, or with a single one, which is no choice."""
    keys: dict[str, int] = {}
    for key, names in _NUMBERS.items():
        if name := next((name for name in names if name in values), None):
            keys[key] = _number(values, name)
    if keys.get("expert_count", 0) in (0, 1):
        return {}
    keys.setdefault("expert_feed_forward_length", values.integer("intermediate_size", 0, low=0, high=MAX_WIDTH))
    if shared := keys.get("expert_shared_count", 0) * keys["expert_feed_forward_length"]:
        keys.setdefault("expert_shared_feed_forward_length", shared)
    routing: dict[str, object] = {}
    if "routed_scaling_factor" in values:
        routing["expert_weights_scale"] = values.real("routed_scaling_factor", low=0.0, high=1e6)
    if "norm_topk_prob" in values:
        routing["expert_weights_norm"] = values.flag("norm_topk_prob", False)
    own = ARCHITECTURES[architecture].gating
    function = values.get("scoring_func", values.get("score_function", own))
    known = function if isinstance(function, str) and function in _FUNCTIONS else own
    if known == "sigmoid" or ARCHITECTURES[architecture].routing_in_file:
        routing["expert_gating_func"] = _FUNCTIONS[known]
    return {f"{architecture}.{key}": value for key, value in (keys | routing).items()}


def _number(values: Metadata, name: str) -> int:
    given = values[name]
    if isinstance(given, list) and given:
        if any(number != given[0] for number in given):
            raise UnsupportedModelError(
                f"{values.path}: layers have different experts ({name}), which is not run here.",
                "Choose another model.",
            )
        values = Metadata({name: given[0]}, values.path)
    return values.integer(name, low=0, high=MAX_WIDTH)
