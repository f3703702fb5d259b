"""The configuration in a file's metadata, with every number checked, and every tensor's shape against it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.architecture.altup import altup_from_gguf
from engine.architecture.architecture import MAVERICK_EXPERTS, USUAL_CHOICE_BIAS, Architecture
from engine.architecture.architectures import ARCHITECTURES
from engine.architecture.config import Attention, Experts, ModelConfig, RopeScaling, RopeScalingType
from engine.architecture.gguf_attention import layers_attention, n_loops
from engine.architecture.gguf_experts import experts_from_gguf
from engine.architecture.gguf_latent import yarn_in_queries
from engine.architecture.gguf_layer_parts import feeding_widths, recurrent_layers
from engine.architecture.gguf_recurrence import recurrence_from_gguf
from engine.architecture.gguf_sizes import sizes_of_layers
from engine.architecture.model_tensors import POSITIONS, QKV, QUERY_GATES, biased_matrices, check_tensors
from engine.architecture.xielu import xielu_from_gguf
from engine.checkpoints import Metadata, TensorInfo
from engine.checkpoints.limits import MAX_CONTEXT, MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.tokenizer_keys import MAX_VOCAB
from engine.errors import UnsupportedModelError
from engine.kernels.sizes import BLOCK, LANES

MIN_ROPE_THETA, MOST_ROPE_THETA = 1.001, 1e12
LEAST_SCALE, MOST_SCALE = 1e-6, 1e6
"""What embeddings, queries, results of layers and logits may be scaled by: numbers whose products are finite."""

LEAST_STRETCH, MOST_STRETCH = 1e-3, 1e6
"""What positions may be divided by, and turned queries and keys multiplied by."""

NORM_EPS = {"rms": "layer_norm_rms_epsilon", "layer": "layer_norm_epsilon"}


def config_from_gguf(metadata: Mapping[str, object], tensors: Mapping[str, TensorInfo]) -> ModelConfig:
    """The configuration in a GGUF's metadata, with every range checked, and every tensor's shape against it.

    Raises UnsupportedModelError for an architecture that the engine does not run, ModelFileError for what disagrees.
    """
    meta = Metadata.of(metadata)
    architecture = _architecture(meta, tensors)
    arch = architecture.name
    if meta.text("general.type", "model") not in ("model", ""):
        raise UnsupportedModelError(f"{meta.path} is an {meta['general.type']}, not a model.", "Choose a whole model.")
    if not tensors:
        raise meta.error("it has a vocabulary only, no weights.", "Choose a whole model.")
    n_blocks = meta.integer(f"{arch}.block_count", low=1, high=MAX_LAYERS)
    n_layers = n_blocks - meta.integer(f"{arch}.nextn_predict_layers", 0, low=0, high=n_blocks - 1)
    tensors = _without_guessing(tensors, range(n_layers, n_blocks))
    dim = meta.integer(f"{arch}.embedding_length", low=1, high=MAX_WIDTH)
    attention = layers_attention(meta, architecture, n_layers, dim, tensors.keys())
    max_seq_len = meta.integer(f"{arch}.context_length", low=1, high=MAX_CONTEXT)
    experts = experts_from_gguf(meta, architecture, n_layers, tensors)
    scales = _Scales.of(meta, architecture, dim, n_layers)
    rope_theta = _rope_theta(meta, arch, attention)
    rope_scaling, larger = _rope_scaling(meta, arch, max_seq_len), 1.0
    if architecture.yarn_in_queries:
        larger, rope_scaling = yarn_in_queries(rope_scaling, turned_too=architecture.yarn_turned_too)
    loops = n_loops(meta, architecture, n_layers)
    hidden_dims = _hidden_dims(meta, architecture, n_layers, experts) * loops
    config = ModelConfig(
        architecture=architecture,
        name=_name(meta),
        attention=attention,
        recurrence=recurrence_from_gguf(meta, architecture, attention, dim),
        recurrent_layers=recurrent_layers(meta, architecture, attention),
        dim=dim,
        hidden_dims=hidden_dims,
        vocab_size=_vocab_size(meta),
        max_seq_len=max_seq_len,
        norm_eps=_norm_eps(meta, architecture),
        norm_part=_norm_part(meta, architecture, dim),
        rope_theta=rope_theta,
        local_rope_theta=_local_rope_theta(meta, architecture, rope_theta),
        rope_scaling=rope_scaling,
        query_scale=larger * (scales.queries or _query_width(architecture, attention, dim) ** -0.5),
        query_growth=meta.real(f"{arch}.attention.temperature_scale", architecture.growth_unturned, low=0.0, high=1e3),
        query_growth_span=_growth_span(meta, architecture, rope_scaling),
        embedding_scale=scales.embeddings,
        residual_scale=scales.residuals,
        logit_divisor=scales.logits,
        per_layer_dim=_per_layer_dim(meta, arch),
        tied="output.weight" not in tensors,
        qkv_in_one=architecture.recurrent != "delta net" and any(name.endswith(".attn_qkv.weight") for name in tensors),
        biases=biased_matrices(architecture, tensors),
        attn_softcap=_softcap(meta, f"{arch}.attn_logit_softcapping", architecture.attn_softcap),
        final_softcap=_softcap(meta, f"{arch}.final_logit_softcapping", architecture.final_softcap),
        experts=experts,
        altup=altup_from_gguf(meta, architecture, dim, hidden_dims, tensors),
        xielu=xielu_from_gguf(meta, n_layers) if architecture.activation == "xielu" else (),
        alibi=_zero_or(meta, f"{arch}.attention.max_alibi_bias", architecture.alibi or 0.0, LEAST_SCALE, MOST_SCALE)
        if architecture.alibi is not None
        else 0.0,
        qkv_limit=_qkv_limit(meta, architecture, tensors),
        loops=loops,
        normed_loops=loops > 1 and not meta.flag(f"{arch}.skip_loop_final_norm", False),
    )
    check_tensors(config, tensors)
    return config


@dataclass(frozen=True, slots=True)
class _Scales:
    """What embeddings, queries and a layer's results are multiplied by, and logits divided by; queries 0: as usual.

    Source: the configurations of IBM's Granite 3 (embedding_multiplier, attention_multiplier, residual_multiplier,
    logits_scaling), and of MiniCPM (scale_emb, scale_depth, dim_model_base).
    """

    embeddings: float = 1.0
    queries: float = 0.0
    residuals: float = 1.0
    logits: float = 1.0

    @classmethod
    def of(cls, meta: Metadata, architecture: Architecture, dim: int, n_layers: int) -> _Scales:
        """Those of the architecture, or those that the file has."""

        def scale(name: str, default: float) -> float:
            """0 says as little as a key that is missing."""
            return _zero_or(meta, f"{architecture.name}.{name}", default, LEAST_SCALE, MOST_SCALE) or default

        if architecture.scaled_embedding:
            return cls(embeddings=dim**0.5)
        if architecture.multiplied_logits:
            return cls(logits=1 / scale("logit_scale", 1.0))
        if not architecture.scales_in_file:
            return cls()
        # Logits are divided by dim / 256, as llama.cpp's converter writes it for MiniCPM; where the key is missing,
        # llama.cpp takes the inverse, 256 / dim.
        usual = cls(12.0, 0.0, 1.4 / n_layers**0.5, dim / 256) if architecture.minicpm_scales else cls()
        return cls(
            scale("embedding_scale", usual.embeddings), scale("attention.scale", 0.0),
            scale("residual_scale", usual.residuals), scale("logit_scale", usual.logits),
        )  # fmt: skip


def _norm_eps(meta: Metadata, architecture: Architecture) -> float:
    """Nemotron-H has it where norms of the other kind have theirs."""
    usual, other = (f"{architecture.name}.attention.{key}" for key in NORM_EPS.values())
    if architecture.norm == "layer" or (architecture.one_part and usual not in meta and other in meta):
        usual = other
    return meta.real(usual, low=0.0, high=1.0)


def _norm_part(meta: Metadata, architecture: Architecture, dim: int) -> int:
    """Width of the parts of the residual stream that are normed by themselves."""
    key = f"{architecture.name}.attention.group_norm_groups"
    count = meta.integer(key, 0, low=0, high=dim) if architecture.parts_in_file else 0
    if count <= 1:
        return dim
    if dim % (count * LANES):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} norms {count} parts of {dim} numbers ({key}); this engine wants parts of "
            f"multiples of {LANES}.",
            "Choose another model.",
        )
    return dim // count


def _zero_or(meta: Metadata, key: str, default: float, least: float, most: float) -> float:
    """A number within these limits, or 0; one that is hardly more than 0 would make others infinite."""
    value = meta.real(key, default, low=0.0, high=most)
    if 0.0 < value < least:
        raise meta.error(f"{key} is {value}, it should be 0 or between {least:g} and {most:g}.")
    return value


def _without_guessing(tensors: Mapping[str, TensorInfo], layers: range) -> Mapping[str, TensorInfo]:
    """The tensors without those of layers behind the last, which guess further tokens; nobody asks them here."""
    beginnings = tuple(f"blk.{layer}." for layer in layers)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(beginnings)}


def _architecture(meta: Metadata, tensors: Mapping[str, TensorInfo]) -> Architecture:
    name = meta.text("general.architecture")
    if name not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has the architecture {name!r}, which this engine does not run.",
            f"These run: {', '.join(ARCHITECTURES)}.",
        )
    architecture = ARCHITECTURES[name]

    def has(*endings: str) -> bool:
        return any(tensor.endswith(endings) for tensor in tensors)

    if meta.get(f"{name}.attention.value_expert_count"):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has experts for values, which this engine does not run.",
            "Choose another model.",
        )
    architecture = _with_norms(architecture, meta, has)
    if architecture.parallel is None:
        architecture = replace(architecture, parallel=not has(".ffn_norm.weight"))
    if architecture.parallel_in_file:
        architecture = replace(architecture, parallel=meta.flag(f"{name}.use_parallel_residual", True))
    if architecture.latent and has(f".{USUAL_CHOICE_BIAS}"):
        # The first files of GLM-4.7-Flash do not say it, and those of softmax have no such biases.
        architecture = replace(architecture, gating="sigmoid")
    architecture = _with_positions(_with_gates(architecture, meta, tensors), meta, tensors)
    if architecture.second_attn_norm and has(".attn_norm_2.weight"):
        architecture = replace(architecture, attn_norm="attn_norm_2", ffn_norm="attn_norm", parallel_in_file=True)
    sections = meta.get(f"{name}.rope.dimension_sections")
    if isinstance(sections, array) and any(sections):
        # Made for images, whose places have several numbers; all models for these turn halves.
        return replace(architecture, rope_order="neox")
    return architecture


def _with_norms(architecture: Architecture, meta: Metadata, has: Callable[..., bool]) -> Architecture:
    """The same with norms as the file has them, where these are not the same in all models.

    has: whether a tensor's name has one of these endings.
    """
    if architecture.qk_norms is None:
        architecture = replace(architecture, qk_norms=has(".attn_q_norm.weight", ".attn_k_norm.weight"))
    if architecture.norm_in_file and f"{architecture.name}.attention.{NORM_EPS['rms']}" in meta:
        architecture = replace(architecture, norm="rms")
    if architecture.norm_biases is None:
        architecture = replace(architecture, norm_biases=has("_norm.bias"))
    return architecture


def _with_gates(architecture: Architecture, meta: Metadata, tensors: Mapping[str, TensorInfo]) -> Architecture:
    """The same with queries' gates as the file has them, where that is not the same in all models."""
    if architecture.query_gates is None:
        has_gates = any(name.endswith(f".{QUERY_GATES}.weight") for name in tensors)
        architecture = replace(architecture, query_gates=has_gates)
    if architecture.head_gates is None:
        n_heads = meta.get(f"{architecture.name}.attention.head_count")
        first = n_heads[0] if isinstance(n_heads, array) and n_heads else n_heads
        gates = tensors.get(f"blk.0.{QUERY_GATES}.weight")
        architecture = replace(architecture, head_gates=gates is not None and gates.shape[:1] == (first,))
    return architecture


def _with_positions(architecture: Architecture, meta: Metadata, tensors: Mapping[str, TensorInfo]) -> Architecture:
    """The same with what a model has in the place of turning, where that is not the same in all."""
    if architecture.position_vectors is None:
        architecture = replace(architecture, position_vectors=POSITIONS in tensors)
    if architecture.unit_qk_norms:
        # Of Llama 4, Scout norms what it has turned and Maverick does not; their files do not say it.
        norms = meta.get(f"{architecture.name}.expert_count") != MAVERICK_EXPERTS
        architecture = replace(architecture, unit_qk_norms=norms)
    if architecture.alibi_at is not None and meta.get(f"{architecture.name}.block_count") == architecture.alibi_at:
        architecture = replace(architecture, unturned=True, alibi=8.0)
    return architecture


def _query_width(architecture: Architecture, attention: Sequence[Attention], dim: int) -> int:
    first = next((layer for layer in attention if layer.latent), attention[0])
    return architecture.query_width(len(attention), dim, first.n_heads, first.query_dim)


def _growth_span(meta: Metadata, architecture: Architecture, scaling: RopeScaling) -> int:
    """In how many positions queries grow once: some files say it, else it is the window or the original context."""
    own = architecture.window if architecture.growth_unturned else scaling.original_max_seq_len
    key = f"{architecture.name}.attention.temperature_length"
    in_file = architecture.latent or architecture.growth_unturned
    return meta.integer(key, own, low=1, high=MAX_CONTEXT) if in_file else own


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
    factor, older = (
        _zero_or(meta, key, 0.0, LEAST_STRETCH, MOST_STRETCH)
        for key in (f"{scaling}.factor", f"{arch}.rope.scale_linear")
    )
    factor = factor or older
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        kind, factor = "none", 1.0
    known: RopeScalingType = kind  # type: ignore[assignment]
    return RopeScaling(
        type=known,
        factor=factor or 1.0,
        original_max_seq_len=meta.integer(f"{scaling}.original_context_length", max_seq_len, low=1, high=MAX_CONTEXT),
        attn_factor=_zero_or(meta, f"{scaling}.attn_factor", 1.0, LEAST_STRETCH, MOST_STRETCH) or 1.0,
        beta_fast=meta.real(f"{scaling}.yarn_beta_fast", 32.0, low=1e-3, high=1e6),
        beta_slow=meta.real(f"{scaling}.yarn_beta_slow", 1.0, low=1e-3, high=1e6),
        log_multiplier=meta.real(f"{scaling}.yarn_log_multiplier", 0.0, low=0.0, high=1e6),
        whole_pairs=meta.flag(f"{scaling}.yarn_truncate", True),
    )


def _rope_theta(meta: Metadata, arch: str, attention: Sequence[Attention]) -> float:
    """The rotary base, larger where the file has an alpha, which HunyuanVL's have for a longer context.

    Source: bloc97's NTK-aware scaling (2023).
    """
    theta = meta.real(f"{arch}.rope.freq_base", 10_000.0, low=MIN_ROPE_THETA, high=MOST_ROPE_THETA)
    key, head_dim = f"{arch}.rope.scaling.alpha", attention[0].head_dim
    alpha = _zero_or(meta, key, 0.0, LEAST_STRETCH, MOST_STRETCH)
    larger = theta * alpha ** (head_dim / (head_dim - 2)) if alpha and head_dim > 2 else theta
    if not MIN_ROPE_THETA <= larger <= MOST_ROPE_THETA:
        raise meta.error(f"{key} is {alpha}, which makes a rotary base of {larger:g}.")
    return larger


def _local_rope_theta(meta: Metadata, architecture: Architecture, rope_theta: float) -> float | None:
    """The rotary base of layers with a window, where it is another one."""
    if architecture.local_rope_theta is None:
        return None
    default = architecture.local_rope_theta or rope_theta
    return meta.real(f"{architecture.name}.rope.freq_base_swa", default, low=MIN_ROPE_THETA, high=MOST_ROPE_THETA)


def _per_layer_dim(meta: Metadata, arch: str) -> int:
    key = f"{arch}.embedding_length_per_layer_input"
    width = meta.integer(key, 0, low=0, high=MAX_WIDTH)
    if width % BLOCK:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'}: {key} is {width}; this engine wants a multiple of {BLOCK}.",
            "Choose another model.",
        )
    return width


def _softcap(meta: Metadata, key: str, default: float | None) -> float:
    return 0.0 if default is None else _zero_or(meta, key, default, LEAST_SCALE, MOST_SCALE)


def _qkv_limit(meta: Metadata, architecture: Architecture, tensors: Mapping[str, TensorInfo]) -> float:
    """Within what queries, keys and values are kept."""
    key = f"{architecture.name}.attention.clamp_kqv"
    limit = _zero_or(meta, key, 0.0, LEAST_SCALE, MOST_SCALE) if architecture.limited_qkv else 0.0
    biased = biased_matrices(architecture, tensors)
    if limit and biased & {*QKV, "attn_qkv"}:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} adds to queries and limits them ({key}), which this engine does not run.",
            "Choose another model.",
        )
    return limit


def _hidden_dims(meta: Metadata, architecture: Architecture, n_layers: int, experts: Experts | None) -> tuple[int, ...]:
    """The feed-forward width of each layer, beside experts or where there are none; 0 of others."""
    if architecture.one_part:
        return tuple(0 if experts is not None else width for width in feeding_widths(meta, architecture, n_layers))
    if experts is not None and all(experts.layers) and not architecture.dense_beside_experts:
        return (0,) * n_layers
    key, least = f"{architecture.name}.feed_forward_length", 0 if architecture.skips else 1
    if architecture.doubled_hidden:
        return (meta.integer(key, low=2, high=2 * MAX_WIDTH) // 2,) * n_layers
    return tuple(sizes_of_layers(meta, key, n_layers, low=least, high=MAX_WIDTH))


def _name(meta: Metadata) -> str:
    value = meta.get("general.name")
    return value if isinstance(value, str) and value else (meta.path.stem if meta.path else "model")
