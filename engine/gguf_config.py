"""The configuration in a file's metadata, with every number checked, and every tensor's shape against it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.architectures import ARCHITECTURES, Architecture
from engine.checkpoints import Metadata, TensorInfo
from engine.checkpoints.limits import MAX_CONTEXT, MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_WIDTH
from engine.config import ModelConfig, RopeScaling, RopeScalingType
from engine.errors import UnsupportedModelError
from engine.model_tensors import biased_matrices, check_tensors

MAX_VOCAB = 1 << 24
MIN_ROPE_THETA = 1.001


def config_from_gguf(metadata: Mapping[str, object], tensors: Mapping[str, TensorInfo]) -> ModelConfig:
    """The configuration in a GGUF's metadata, with every range checked, and every tensor's shape against it.

    Raises UnsupportedModelError for an architecture that the engine does not run, ModelFileError for what disagrees.
    """
    meta = Metadata.of(metadata)
    architecture = _architecture(meta)
    arch = architecture.name
    if meta.text("general.type", "model") not in ("model", ""):
        raise UnsupportedModelError(f"{meta.path} is an {meta['general.type']}, not a model.", "Choose a whole model.")
    if not tensors:
        raise meta.error("it has a vocabulary only, no weights.", "Choose a whole model.")
    n_layers = meta.integer(f"{arch}.block_count", low=1, high=MAX_LAYERS)
    n_heads = _same_in_all_layers(meta, f"{arch}.attention.head_count", None, high=MAX_HEADS)
    n_kv_heads = _same_in_all_layers(meta, f"{arch}.attention.head_count_kv", n_heads, high=MAX_HEADS)
    dim = meta.integer(f"{arch}.embedding_length", low=1, high=MAX_WIDTH)
    head_dim = _head_dim(meta, arch, dim, n_heads)
    if n_heads % n_kv_heads:
        raise meta.error(f"{n_heads} heads cannot share {n_kv_heads} key-value heads evenly.")
    rope_dim = meta.integer(f"{arch}.rope.dimension_count", head_dim, low=2, high=head_dim)
    if rope_dim % 2 or head_dim % 2:
        raise meta.error(f"{arch}.rope.dimension_count is {rope_dim} in a head of {head_dim}; both should be even.")
    max_seq_len = meta.integer(f"{arch}.context_length", low=1, high=MAX_CONTEXT)
    n_experts = meta.integer(f"{arch}.expert_count", 0, low=0, high=MAX_EXPERTS)
    n_experts_used = meta.integer(f"{arch}.expert_used_count", low=1, high=n_experts) if n_experts else 0
    scales = _Scales.of(meta, architecture, dim)
    rope_scaling = _rope_scaling(meta, arch, max_seq_len)
    config = ModelConfig(
        architecture=architecture,
        name=_name(meta),
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        dim=dim,
        hidden_dim=_hidden_dim(meta, arch, n_experts),
        vocab_size=_vocab_size(meta),
        max_seq_len=max_seq_len,
        norm_eps=meta.real(f"{arch}.attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
        rope_theta=meta.real(f"{arch}.rope.freq_base", 10_000.0, low=MIN_ROPE_THETA, high=1e12),
        local_rope_theta=_local_rope_theta(meta, architecture),
        rope_dim=rope_dim,
        rope_scaling=rope_scaling,
        turned=_turned(meta, architecture, n_layers),
        query_scale=scales.queries or architecture.query_width(n_layers, dim, n_heads, head_dim) ** -0.5,
        query_growth=meta.real(f"{arch}.attention.temperature_scale", 0.0, low=0.0, high=1e3),
        query_growth_span=rope_scaling.original_max_seq_len,
        embedding_scale=scales.embeddings,
        residual_scale=scales.residuals,
        logit_divisor=scales.logits,
        tied="output.weight" not in tensors,
        qkv_in_one=any(name.endswith(".attn_qkv.weight") for name in tensors),
        biases=biased_matrices(tensors),
        windows=_windows(meta, architecture, n_layers),
        attn_softcap=_softcap(meta, f"{arch}.attn_logit_softcapping", architecture.attn_softcap),
        final_softcap=_softcap(meta, f"{arch}.final_logit_softcapping", architecture.final_softcap),
        n_experts=n_experts,
        n_experts_used=n_experts_used,
    )
    check_tensors(config, tensors)
    return config


@dataclass(frozen=True, slots=True)
class _Scales:
    """What embeddings, queries and a layer's results are multiplied by, and logits divided by; queries 0: as usual.

    Source: the configuration of IBM's Granite 3 (embedding_multiplier, attention_multiplier, residual_multiplier,
    logits_scaling).
    """

    embeddings: float = 1.0
    queries: float = 0.0
    residuals: float = 1.0
    logits: float = 1.0

    @classmethod
    def of(cls, meta: Metadata, architecture: Architecture, dim: int) -> _Scales:
        """Those of the architecture, or those that the file has."""
        if architecture.scaled_embedding:
            return cls(embeddings=dim**0.5)
        if not architecture.scales_in_file:
            return cls()

        def scale(key: str, default: float) -> float:
            return meta.real(f"{architecture.name}.{key}", default, low=0.0, high=1e6) or default

        return cls(
            scale("embedding_scale", 1.0), scale("attention.scale", 0.0), scale("residual_scale", 1.0),
            scale("logit_scale", 1.0),
        )  # fmt: skip


def _architecture(meta: Metadata) -> Architecture:
    name = meta.text("general.architecture")
    if name not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has the architecture {name!r}, which this engine does not run.",
            f"These run: {', '.join(ARCHITECTURES)}.",
        )
    architecture = ARCHITECTURES[name]
    sections = meta.get(f"{name}.rope.dimension_sections")
    if isinstance(sections, array) and any(sections):
        # Made for images, whose places have several numbers; all models for these turn halves.
        return replace(architecture, rope_order="neox")
    return architecture


def _same_in_all_layers(meta: Metadata, key: str, default: int | None, *, high: int) -> int:
    """A size that may be given once or a layer; only one for all layers runs."""
    value = meta.get(key)
    if isinstance(value, (str, int, float)) or value is None:
        return meta.integer(key, default, low=1, high=high)
    sizes = set(value) if isinstance(value, array) else set()
    if len(sizes) != 1:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'}: {key} differs from layer to layer, which this engine does not run.",
            "Choose another model.",
        )
    return Metadata({key: sizes.pop()}, meta.path).integer(key, low=1, high=high)


def _head_dim(meta: Metadata, arch: str, dim: int, n_heads: int) -> int:
    given = meta.optional_integer(f"{arch}.attention.key_length", low=1, high=MAX_WIDTH)
    if given is None and dim % n_heads:
        raise meta.error(f"{n_heads} heads do not divide the width {dim}.")
    head_dim = given or dim // n_heads
    value_dim = meta.integer(f"{arch}.attention.value_length", head_dim, low=1, high=MAX_WIDTH)
    if value_dim != head_dim:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has keys of {head_dim} and values of {value_dim}; this engine wants one size.",
            "Choose another model.",
        )
    return head_dim


def _vocab_size(meta: Metadata) -> int:
    """The number of tokens; what the key vocab_size says can be an older number, and tensors have to fit these."""
    n_tokens = len(meta.texts("tokenizer.ggml.tokens"))
    if not 1 <= n_tokens <= MAX_VOCAB:
        raise meta.error(f"tokenizer.ggml.tokens has {n_tokens} tokens, it should have between 1 and {MAX_VOCAB}.")
    return n_tokens


def _rope_scaling(meta: Metadata, arch: str, max_seq_len: int) -> RopeScaling:
    """Scaling as llama.cpp reads it: linear where the file has a factor and no type."""
    scaling = f"{arch}.rope.scaling"
    kind = meta.text(f"{scaling}.type", "") or "linear"
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} stretches positions by {kind!r}, which this engine does not know.",
            "Choose another model.",
        )
    factor = meta.real(f"{scaling}.factor", 0.0, low=0.0, high=1e6) or meta.real(
        f"{arch}.rope.scale_linear", 0.0, low=0.0, high=1e6
    )
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        kind, factor = "none", 1.0
    known: RopeScalingType = kind  # type: ignore[assignment]
    return RopeScaling(
        type=known,
        factor=factor or 1.0,
        original_max_seq_len=meta.integer(f"{scaling}.original_context_length", max_seq_len, low=1, high=MAX_CONTEXT),
        attn_factor=meta.real(f"{scaling}.attn_factor", 1.0, low=0.0, high=1e6),
        beta_fast=meta.real(f"{scaling}.yarn_beta_fast", 32.0, low=1e-3, high=1e6),
        beta_slow=meta.real(f"{scaling}.yarn_beta_slow", 1.0, low=1e-3, high=1e6),
        log_multiplier=meta.real(f"{scaling}.yarn_log_multiplier", 0.0, low=0.0, high=1e6),
    )


def _turned(meta: Metadata, architecture: Architecture, n_layers: int) -> tuple[bool, ...]:
    """Which layers turn queries and keys; with scales in the file, it may say that none does."""
    every = architecture.unturned_every
    if architecture.scales_in_file and meta.get(f"{architecture.name}.rope.scaling.finetuned") is False:
        return (False,) * n_layers
    return tuple(every == 0 or i % every < every - 1 for i in range(n_layers))


def _local_rope_theta(meta: Metadata, architecture: Architecture) -> float | None:
    """The rotary base of layers with a window, where it is another one."""
    if architecture.local_rope_theta is None:
        return None
    return meta.real(
        f"{architecture.name}.rope.freq_base_swa", architecture.local_rope_theta, low=MIN_ROPE_THETA, high=1e12
    )


def _windows(meta: Metadata, architecture: Architecture, n_layers: int) -> tuple[int, ...]:
    """How many positions each layer sees, 0 for all."""
    key = f"{architecture.name}.attention.sliding_window"
    window = meta.integer(key, architecture.window, low=0, high=2**32 - 1)
    pattern = meta.get(f"{key}_pattern")
    if isinstance(pattern, (tuple, array)):
        if len(pattern) != n_layers:
            raise meta.error(f"{key}_pattern has {len(pattern)} elements, it should have {n_layers}.")
        return tuple(window if windowed else 0 for windowed in pattern)
    every = meta.integer(f"{key}_pattern", architecture.window_every, low=0, high=MAX_LAYERS)
    return tuple(window if every == 0 or i % every < every - 1 else 0 for i in range(n_layers))


def _softcap(meta: Metadata, key: str, default: float | None) -> float:
    return 0.0 if default is None else meta.real(key, default, low=0.0, high=1e6)


def _hidden_dim(meta: Metadata, arch: str, n_experts: int) -> int:
    """The feed-forward width, of one expert where there are some."""
    key = f"{arch}.expert_feed_forward_length"
    if n_experts and key in meta:
        return meta.integer(key, low=1, high=MAX_WIDTH)
    return _same_in_all_layers(meta, f"{arch}.feed_forward_length", None, high=MAX_WIDTH)


def _name(meta: Metadata) -> str:
    value = meta.get("general.name")
    return value if isinstance(value, str) and value else (meta.path.stem if meta.path else "model")
