"""Settings in Hugging Face's `config.json` that change what a model computes, to what is not run here.

Source: the configurations and models in the transformers repository.
"""

from __future__ import annotations

from engine.architecture.architectures import ARCHITECTURES
from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.limits import MAX_CONTEXT, MAX_LAYERS
from engine.checkpoints.mlx import is_mlx
from engine.errors import UnsupportedModelError

_ACTIVATIONS = {
    "silu": ("silu", "swish", "swiglu"),
    "gelu": ("gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu"),
    "clamped": ("silu",),
    "relu2": ("relu2",),
    "relu": ("relu",),
    "xielu": ("xielu",),
}
"""Their names of the engine's activations. The plain "gelu" of Gemma's first configurations means the one by tanh."""

_CLAMPED = {"swiglu_limit": 7.0, "swiglu_alpha": 1.702}
"""The numbers of gpt-oss's activation."""

_QWEN_FULL_LAYERS = 28
"""How many layers of Qwen have no window, if the configuration does not say."""

_FIRST_GEMMA_2_9B = (42, 224)
"""The layers and the query_pre_attn_scalar of Gemma 2 9B's first configuration; it was trained with head_dim."""


def check_options(config: HuggingFaceConfig) -> None:
    """Raise UnsupportedModelError where the model would be computed otherwise than its configuration says."""
    for check in (
        _check_experts,
        _check_query_gates,
        _check_activation,
        _check_clamped,
        _check_query_scale,
        _check_windows,
        _check_turning,
        _check_yes_and_no,
        _check_factors,
    ):
        check(config)


def _check_experts(config: HuggingFaceConfig) -> None:
    architecture, values = ARCHITECTURES[config.architecture], config.values
    normed = architecture.normed_shares
    if not architecture.routing_in_file and values.flag("norm_topk_prob", normed) != normed:
        raise UnsupportedModelError(
            f"{config.path}: the shares of experts do not add up to one (norm_topk_prob), which is not run here."
            if normed
            else f"{config.path}: the shares of experts are made to add up (norm_topk_prob), which is not run here.",
            "Choose another model.",
        )
    if values.get("mlp_only_layers") or values.integer("decoder_sparse_step", 1, low=0, high=MAX_LAYERS) > 1:
        raise UnsupportedModelError(
            f"{config.path}: some layers are without experts (mlp_only_layers, decoder_sparse_step), which is not run.",
            "Choose another model.",
        )


def _check_query_gates(config: HuggingFaceConfig) -> None:
    if ARCHITECTURES[config.architecture].query_gates and not config.values.flag("attn_output_gate", True):
        raise UnsupportedModelError(
            f"{config.path}: attention has no gates (attn_output_gate), which is not run here in a "
            f"{config.architecture} model.",
            "Choose another model.",
        )


def _check_activation(config: HuggingFaceConfig) -> None:
    known = _ACTIVATIONS[ARCHITECTURES[config.architecture].activation]
    option = "hidden_activation" if "hidden_activation" in config.values else "hidden_act"
    activation = config.values.text(option, known[0])
    if activation not in known:
        raise UnsupportedModelError(
            f"{config.path}: the activation is {activation!r} ({option}), which is not run here in a "
            f"{config.architecture} model.",
            "Choose another model.",
        )


def _check_clamped(config: HuggingFaceConfig) -> None:
    for option, own in _CLAMPED.items():
        given = config.values.real(option, own, low=0.0, high=1e6)
        if given != own:
            raise UnsupportedModelError(
                f"{config.path}: the activation has {given:g} ({option}); only {own:g} is run here.",
                "Choose another model.",
            )


def _check_query_scale(config: HuggingFaceConfig) -> None:
    architecture = ARCHITECTURES[config.architecture]
    if architecture.wide_queries_at is None:
        return
    own = architecture.query_width(config.n_layers, config.dim, config.n_heads, config.head_dim)
    given = config.values.real("query_pre_attn_scalar", own, low=0.0, high=1e12)
    if given != own and (config.n_layers, given) != _FIRST_GEMMA_2_9B:
        raise UnsupportedModelError(
            f"{config.path}: queries are scaled by {given:g} (query_pre_attn_scalar); only {own} is run here.",
            "Choose another model.",
        )


def _check_windows(config: HuggingFaceConfig) -> None:
    """The windows of Qwen and SmolLM, which their models name and do not use."""
    values = config.values
    if not config.architecture.startswith(("qwen", "smollm")) or not values.flag("use_sliding_window", False):
        return
    context = values.integer("max_position_embeddings", low=1, high=MAX_CONTEXT)
    window = values.integer("sliding_window", context, low=0, high=MAX_CONTEXT)
    types = values.get("layer_types")
    if isinstance(types, list):
        has_windows = "sliding_attention" in types
    else:
        n_full = values.integer("max_window_layers", _QWEN_FULL_LAYERS, low=0, high=MAX_LAYERS)
        has_windows = config.architecture in ("qwen3moe", "smollm3") or n_full < config.n_layers
    if has_windows and window < context:
        raise UnsupportedModelError(
            f"{config.path}: layers see no more than {window} tokens (use_sliding_window), which is not run here in a "
            f"{config.architecture} model.",
            "Choose another model.",
        )


def _check_turning(config: HuggingFaceConfig) -> None:
    """SmolLM's and SmallThinker's list of layers that turn queries and keys: 1 for those that do."""
    every, types = ARCHITECTURES[config.architecture].unturned_every, config.values.get("layer_types")
    given = config.values.get("no_rope_layers")
    own = [int(layer % every < every - 1) for layer in range(config.n_layers)] if every else given
    if given is not None and given != own:
        raise UnsupportedModelError(
            f"{config.path}: other layers than every {every}th do without positions (no_rope_layers), which is not run "
            "here.",
            "Choose another model.",
        )
    windowed = [int(kind == "sliding_attention") for kind in types] if isinstance(types, list) else []
    own = windowed if any(windowed) else [1] * config.n_layers
    if config.architecture == "smallthinker" and config.values.get("rope_layout", own) != own:
        raise UnsupportedModelError(
            f"{config.path}: other layers than those with a window have positions (rope_layout), which is not run "
            "here.",
            "Choose another model.",
        )


_USUAL = {
    "gemma3n": {"altup_correct_scale": True},
    "smallthinker": {"moe_enable_secondary_experts": False, "moe_enable_early_router": True},
    "bloom": {"apply_residual_connection_post_layernorm": False},
    "starcoder": {"multi_query": True, "scale_attn_weights": True},
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    "bailingmoe": {"norm_head": False, "norm_softmax": False},
    "bailingmoe2": {"norm_head": False, "norm_softmax": False},
    "jais": {
        **{"alibi": True, "mup_scale_qk_dot_by_d": True, "scale_attn_weights": True},
        **{"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    },
    "mpt": {"qk_ln": False, "prefix_lm": False},
    "falcon": {"alibi": False, "parallel_attn": True},
    "afmoe": {"mup_enabled": True},
    "deepseek2": {"rope_interleave": True},
}
"""Falcon RW has positions of another kind, and layers whose halves follow one another; Trinity scales embeddings; what
turns together lies side by side in DeepSeek."""


def _check_yes_and_no(config: HuggingFaceConfig) -> None:
    for option, own in _USUAL.get(config.architecture, {}).items():
        if config.values.flag(option, own) != own:
            raise UnsupportedModelError(
                f"{config.path}: {option} is {str(not own).lower()}, which is not run here in a "
                f"{config.architecture} model.",
                "Choose another model.",
            )


def _check_factors(config: HuggingFaceConfig) -> None:
    """Falcon-H1's: some of MLX's folders have its weights multiplied by them, some have not, and none says so."""
    how = config.values.get("quantization_config")
    if config.architecture == "falcon-h1" and isinstance(how, dict) and is_mlx(how):
        raise UnsupportedModelError(
            f"{config.path}: it does not say whether MLX has multiplied the weights by the model's factors.",
            "Choose the original weights of the model, or a GGUF.",
        )
