"""The experts in a file's metadata: how many there are, how wide, in which layers, and how each token's are chosen."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

from engine.architecture.architecture import Architecture, Gating
from engine.architecture.config import Experts
from engine.architecture.gguf_layer_parts import feeding_widths
from engine.architecture.gguf_sizes import elements_of_layers, sizes_of_layers
from engine.checkpoints import Metadata, TensorInfo
from engine.checkpoints.limits import MAX_EXPERTS, MAX_LAYERS, MAX_WIDTH
from engine.errors import UnsupportedModelError

GATINGS: dict[int, Gating] = {1: "softmax", 2: "sigmoid"}
"""By the number that `expert_gating_func` has for them; 0 says nothing. Source: llama.cpp's src/llama-hparams.h."""

LEAST_LIMIT, MOST_LIMIT = 1e-6, 1e6
"""Experts' gates and ups are kept within a number between these; what is less is no limit, as in llama.cpp."""

ALWAYS_SHARED = ("ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight")
"""Endings of the tensors that all tokens go through beside the experts."""


def experts_from_gguf(
    meta: Metadata, architecture: Architecture, n_layers: int, tensors: Mapping[str, TensorInfo]
) -> Experts | None:
    """The experts, with every number checked; None for a model without any."""
    arch = architecture.name
    count = meta.integer(f"{arch}.expert_count", 0, low=0, high=MAX_EXPERTS)
    if not count:
        return None
    used = meta.integer(f"{arch}.expert_used_count", low=1, high=count)
    layers = _layers(meta, arch, n_layers)
    if architecture.experts_by_router:
        own = ("ffn_gate_inp.weight", "ffn_up_exps.weight")
        layers = tuple(any(f"blk.{i}.{name}" in tensors for name in own) for i in range(n_layers))
    if architecture.one_part:
        layers = tuple(width > 0 for width in feeding_widths(meta, architecture, n_layers))
    if not any(layers):
        return None
    hidden_dim = _hidden_dim(meta, arch, layers, tensors)
    groups, groups_used = _groups(meta, arch, count, used)
    return Experts(
        layers=layers,
        count=count,
        used=used,
        hidden_dim=hidden_dim,
        shared_dim=_shared_dim(meta, architecture, hidden_dim, tensors),
        gating=_gating(meta, architecture),
        normed=_normed(meta, architecture),
        scale=meta.real(f"{arch}.expert_weights_scale", 1.0, low=0.0, high=1e6) or 1.0,
        groups=groups,
        groups_used=groups_used,
        in_one=any(name.endswith(".ffn_gate_up_exps.weight") for name in tensors),
        limits=_limits(meta, arch, n_layers) if architecture.limits_in_file else (),
    )


def _layers(meta: Metadata, arch: str, n_layers: int) -> tuple[bool, ...]:
    """Whether each layer has experts: all do, but for the first ones, or only every n-th."""
    dense = meta.integer(f"{arch}.leading_dense_block_count", 0, low=0, high=MAX_LAYERS)
    every = meta.integer(f"{arch}.interleave_moe_layer_step", 0, low=0, high=MAX_LAYERS) or 1
    return tuple(i >= dense and (i + 1) % every == 0 for i in range(n_layers))


def _hidden_dim(meta: Metadata, arch: str, layers: Sequence[bool], tensors: Mapping[str, TensorInfo]) -> int:
    """The width of an expert; where the file does not say it, or says 0, the one that its tensors have.

    That is the feed-forward width where any of them has it, else what most have: an odd one is not believed. layers:
    whether each has experts. A list of widths, one for each layer, has to have the same for all of these.
    """
    key = f"{arch}.expert_feed_forward_length"
    of_layers = sizes_of_layers(meta, key, len(layers), [0] * len(layers), low=0, high=MAX_WIDTH)
    widths = {width for width, has_experts in zip(of_layers, layers, strict=True) if has_experts}
    if len(widths) > 1:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has experts of {min(widths)} to {max(widths)} rows ({key}); this engine wants "
            "the same in all layers.",
            "Choose another model.",
        )
    if width := widths.pop():
        return width
    down = (tensor for name, tensor in tensors.items() if name.endswith(".ffn_down_exps.weight"))
    found = Counter(tensor.shape[-1] for tensor in down if tensor.shape and tensor.shape[-1] <= MAX_WIDTH)
    dense = meta.get(f"{arch}.feed_forward_length")
    if not found or any(width == dense for width in found):
        return meta.integer(f"{arch}.feed_forward_length", low=1, high=MAX_WIDTH)
    return found.most_common(1)[0][0]


def _shared_dim(meta: Metadata, architecture: Architecture, hidden_dim: int, tensors: Mapping[str, TensorInfo]) -> int:
    """The width of what is shared, as its tensors have it: architectures count it differently in their keys."""
    arch = architecture.name
    count = meta.integer(f"{arch}.expert_shared_count", 0, low=0, high=MAX_EXPERTS)
    width = meta.integer(f"{arch}.expert_shared_feed_forward_length", 0, low=0, high=MAX_WIDTH)
    for name, tensor in tensors.items():
        if name.endswith(ALWAYS_SHARED) and len(tensor.shape) == 2:
            return tensor.shape["down" in name]
    return width or count * hidden_dim or hidden_dim * architecture.gated_shared


def _gating(meta: Metadata, architecture: Architecture) -> Gating:
    if not (architecture.routing_in_file or architecture.gating_in_file):
        return architecture.gating
    key = f"{architecture.name}.expert_gating_func"
    number = meta.integer(key, 0, low=0, high=2**32 - 1)
    if number and number not in GATINGS:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} weighs experts in a way that this engine does not know ({key} is {number}).",
            "Choose another model.",
        )
    return GATINGS.get(number, architecture.gating)


def _normed(meta: Metadata, architecture: Architecture) -> bool:
    if not architecture.routing_in_file:
        return architecture.normed_shares
    return meta.flag(f"{architecture.name}.expert_weights_norm", False)


def _limits(meta: Metadata, arch: str, n_layers: int) -> tuple[float, ...]:
    """Within what each layer's experts keep gates and ups, 0 for no limit: a number, or one of each layer."""
    key = f"{arch}.swiglu_clamp_exp"
    value = meta.get(key, 0.0)
    values = elements_of_layers(meta, key, value, n_layers) if isinstance(value, array) else [value] * n_layers
    limits = tuple(Metadata({key: number}, meta.path).real(key, low=0.0, high=MOST_LIMIT) for number in values)
    return tuple(limit if limit > LEAST_LIMIT else 0.0 for limit in limits)


def _groups(meta: Metadata, arch: str, count: int, used: int) -> tuple[int, int]:
    """How many groups the experts are in, and of how many of those a token's are; 1 and 1 without groups."""
    groups = meta.integer(f"{arch}.expert_group_count", 0, low=0, high=MAX_EXPERTS)
    if groups <= 1:
        return 1, 1
    groups_used = meta.integer(f"{arch}.expert_group_used_count", low=1, high=groups)
    if count % groups or count < 2 * groups:
        raise meta.error(f"{count} experts cannot be in {groups} equal groups of two or more.")
    if used > groups_used * (count // groups):
        raise meta.error(f"{used} experts a token cannot be chosen from {groups_used} groups of {count // groups}.")
    return groups, groups_used
