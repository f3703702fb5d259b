"""Which tensors a model has by its configuration, with their shapes, under the names that GGUF has for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from engine.architecture.altup import altup_shapes, layer_shapes
from engine.architecture.architecture import Architecture
from engine.architecture.config import Attention, Experts, ModelConfig
from engine.architecture.latent_tensors import KEYS_AND_VALUES, keys_and_values_shape, latent_shapes
from engine.architecture.recurrence import Recurrence
from engine.architecture.recurrent_tensors import optional_shapes, recurrent_shapes
from engine.checkpoints import TensorInfo, without_leading_ones
from engine.errors import ModelFileError, UnsupportedModelError
from engine.kernels.sizes import LANES

IGNORED_TENSORS = (".attn_rot_embd.weight", ".rope_freqs.weight", ".attention.rotary_emb.inv_freq")
"""Endings of tensors that old converters wrote and nobody needs."""

ROPE_DIVISORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
"""Tensors that a model may have: what rotary frequencies are divided by, always or in a short or a long context."""

POSITIONS = "position_embd.weight"
"""A vector for each position."""

EMBEDDING_NORM = "token_embd_norm"
"""What norms embeddings, where something does."""

QKV = ("attn_q", "attn_k", "attn_v")
"""What makes queries, keys and values."""

QUERY_GATES = "attn_gate"
"""What makes gates for attention's results, where it is not the matrix of queries."""

LAYER_SCALE = "layer_output_scale.weight"
"""A number by which a layer's sum is multiplied, or the embedding that is added to it."""

GATE_UP = ("ffn_gate", "ffn_up")
"""What a gated unit reads by."""

ATTN_SUB_NORM, FFN_SUB_NORM = "attn_sub_norm", "ffn_sub_norm"
"""What norms before the last matrix of attention, and of the feed-forward layer."""

BIASED = (
    ("attn_qkv",), QKV, ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",),
    ("ffn_gate_inp",), ("ffn_gate_exps", "ffn_up_exps"), ("ffn_down_exps",), ("exp_probs_b",),
)  # fmt: skip
"""Matrices that may have biases: all of a group, in all layers that have these; and what is a bias alone."""

EXPERT_ROWS = LANES
"""Each expert's rows begin a panel of their own, so their number must be a multiple of this."""

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def biased_matrices(architecture: Architecture, tensors: Iterable[str]) -> frozenset[str]:
    """Which matrices have biases in a model with these tensors, in any of its layers.

    None where values may be the keys' product: no such model has any (llama.cpp refuses them as well), and nobody has
    said whether the values would have the keys'.
    """
    if architecture.unit_values:
        return frozenset()
    names = [name for name in tensors if name.startswith("blk.")]
    found = {name.split(".")[-2] for name in names if name.endswith(".bias")}
    if any(name.endswith(f".{architecture.choice_bias}") for name in names):
        found.add("exp_probs_b")
    return frozenset(name for group in BIASED if found & set(group) for name in group)


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Every tensor that a model of this configuration must have, with its shape."""
    yield "token_embd.weight", (config.vocab_size, config.dim)
    yield from _norm(config, config.architecture.output_norm)
    if not config.tied:
        yield "output.weight", (config.vocab_size, config.dim)
    if config.architecture.output_bias:
        yield "output.bias", (config.vocab_size,)
    if config.architecture.position_vectors:
        yield POSITIONS, (config.max_seq_len, config.dim)
    if config.architecture.embedding_norm:
        yield from _norm(config, EMBEDDING_NORM)
    if config.per_layer_dim:
        width = config.n_layers * config.per_layer_dim
        yield "per_layer_token_embd.weight", (config.vocab_size, width)
        yield "per_layer_model_proj.weight", (width, config.dim)
        yield "per_layer_proj_norm.weight", (config.per_layer_dim,)
    if config.altup is not None:
        yield from altup_shapes(config.altup, config.dim)
    for layer in range(config.n_own_layers):
        attention = config.attention[layer]
        has_mixer = attention.n_kv_heads or config.has_one_matrix(layer)
        mixer = _mixer(config, attention) if has_mixer else ()
        recurrent = _recurrent(config, config.recurrence_of(layer))
        feed_forward = _feed_forward(config, config.hidden_dims[layer], config.experts_of(layer))
        parts = (*mixer, *recurrent, *(feed_forward if config.feeds_forward(layer) else ()))
        for name, shape in (*parts, *_per_layer(config)):
            yield f"blk.{layer}.{name}", shape


def _mixer(config: ModelConfig, attention: Attention) -> Shapes:
    """What attends, or the matrix in its place, and the norm before it."""
    if config.architecture.pre_norms:
        yield from _norm(config, config.architecture.attn_norm)
    if not attention.n_kv_heads:
        yield "attn_output.weight", (config.dim, config.dim)
    elif attention.latent is not None:
        yield from latent_shapes(attention, attention.latent, config.dim)
    else:
        yield from _attention(config, attention)


def _attention(config: ModelConfig, attention: Attention) -> Shapes:
    dim, q_dim = config.dim, attention.q_dim
    architecture = config.architecture
    parts = dict(zip(QKV, attention.widths, strict=False))
    if architecture.gate_matrix and architecture.query_gates:
        yield from _matrix(config, QUERY_GATES, config.gates_dim(attention), dim)
    elif architecture.query_gates:
        parts["attn_q"] = 2 * q_dim
    if config.qkv_in_one and len(parts) == len(QKV):
        yield from _matrix(config, "attn_qkv", sum(parts.values()), dim)
        yield from _biases(config, parts)
    else:
        for name, rows in parts.items():
            yield from _matrix(config, name, rows, dim)
    yield from _head_norms(architecture, attention)
    if architecture.sinks:
        yield "attn_sinks.weight", (attention.n_heads,)
    yield from _matrix(config, "attn_output", dim, q_dim)
    if architecture.sub_norms:
        yield f"{ATTN_SUB_NORM}.weight", (q_dim,)
    if architecture.post_norms:
        yield "post_attention_norm.weight", (dim,)


def _head_norms(architecture: Architecture, attention: Attention) -> Shapes:
    """Of queries and keys."""
    if architecture.query_gains:
        yield "attn_q_norm.weight", (attention.n_heads, 1)
    elif architecture.qk_norms:
        yield "attn_q_norm.weight", _head_norm(architecture, attention, attention.n_heads)
        if attention.shared_from is None:
            yield "attn_k_norm.weight", _head_norm(architecture, attention, attention.n_kv_heads)


def _norm(config: ModelConfig, name: str) -> Shapes:
    """A norm of the residual stream."""
    if config.architecture.norm_weights:
        yield f"{name}.weight", (config.dim,)
    if config.architecture.norm_biases:
        yield f"{name}.bias", (config.dim,)


def _head_norm(architecture: Architecture, attention: Attention, n_heads: int) -> tuple[int, ...]:
    """The shape of the norms' weight for so many heads."""
    if architecture.wide_qk_norms or architecture.each_qk_norms:
        return (n_heads * attention.head_dim,)
    return (n_heads, attention.head_dim) if architecture.long_qk_norms else (attention.head_dim,)


def _recurrent(config: ModelConfig, recurrence: Recurrence | None) -> Shapes:
    if recurrence is not None:
        yield "attn_norm.weight", (config.dim,)
        yield from recurrent_shapes(recurrence, config.dim)
        if config.architecture.post_norms:
            yield "post_attention_norm.weight", (config.dim,)


def _feed_forward(config: ModelConfig, hidden: int, experts: Experts | None) -> Shapes:
    dim, architecture = config.dim, config.architecture
    if architecture.ffn_is_normed:
        yield from _norm(config, architecture.ffn_norm)
    if experts is not None:
        yield from _experts(config, experts)
        if architecture.dense_beside_experts:
            yield from _gated(config, hidden)
            yield from ((f"{name}.weight", (dim,)) for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"))
            yield "ffn_gate_inp.scale", (dim,)
    elif architecture.gate_in_up:
        yield "ffn_up.weight", (2 * hidden, dim)
        yield "ffn_down.weight", (dim, hidden)
    else:
        yield from _gated(config, hidden)
        if architecture.sub_norms:
            yield f"{FFN_SUB_NORM}.weight", (hidden,)
    if architecture.post_norms:
        yield "post_ffw_norm.weight", (dim,)


def _experts(config: ModelConfig, experts: Experts) -> Shapes:
    yield from _matrix(config, "ffn_gate_inp", experts.count, config.dim)
    if "exp_probs_b" in config.biases:
        yield config.architecture.choice_bias, (experts.count,)
    if experts.in_one:
        yield "ffn_gate_up_exps.weight", (experts.count, 2 * experts.hidden_dim, config.dim)
        yield "ffn_down_exps.weight", (experts.count, config.dim, experts.hidden_dim)
    else:
        yield from _gated(config, experts.hidden_dim, "_exps", experts.count)
    if experts.shared_dim:
        yield from _gated(config, experts.shared_dim, "_shexp")
        if config.architecture.gated_shared:
            yield "ffn_gate_inp_shexp.weight", (config.dim,)


def _gated(config: ModelConfig, hidden: int, ending: str = "", *counts: int) -> Shapes:
    """The matrices of a gated unit, or of so many; some are without their gate."""
    if not config.architecture.ungated:
        yield from _matrix(config, f"ffn_gate{ending}", *counts, hidden, config.dim)
    yield from _matrix(config, f"ffn_up{ending}", *counts, hidden, config.dim)
    yield from _matrix(config, f"ffn_down{ending}", *counts, config.dim, hidden)


def _per_layer(config: ModelConfig) -> Shapes:
    if config.architecture.embedding_skips:
        yield LAYER_SCALE, (1,)
    if config.per_layer_dim:
        yield "inp_gate.weight", (config.per_layer_dim, config.dim)
        yield "proj.weight", (config.dim, config.per_layer_dim)
        yield "post_norm.weight", (config.dim,)
    if config.altup is not None:
        yield from layer_shapes(config.altup, config.dim)


def _optional(config: ModelConfig) -> Shapes:
    """What a model may have: what rotary frequencies are divided by, and in its layers what is not needed in each."""
    turned = (layer.rope_dim for layer in config.attention if not config.turns_locally(layer))
    yield from dict.fromkeys(ROPE_DIVISORS, (max(turned, default=0) // 2,)).items()
    for i, layer in enumerate(config.attention):
        if config.architecture.layer_scales:
            yield f"blk.{i}.{LAYER_SCALE}", (1,)
        if config.architecture.result_scales:
            yield from ((f"blk.{i}.{name}.scale", (1,)) for name in ("attn_output", "ffn_down"))
        if config.architecture.sub_norms:
            yield from ((f"blk.{i}.{name}.scale", (1,)) for name in (*QKV, "attn_output", *GATE_UP, "ffn_down"))
        if config.architecture.dense_beside_experts and (experts := config.experts_of(i)):
            yield f"blk.{i}.ffn_down_exps.scale", (experts.count,)
        if layer.latent is not None:
            # Beside a tensor each, some makers of files left the one of both.
            yield f"blk.{i}.{KEYS_AND_VALUES}.weight", keys_and_values_shape(layer, layer.latent)
        if layer.shared_from is not None:
            yield from ((f"blk.{i}.attn_{part}.weight", (layer.kv_dim, config.dim)) for part in "kv")
            yield f"blk.{i}.attn_k_norm.weight", (layer.head_dim,)
        if recurrence := config.recurrence_of(i):
            yield from ((f"blk.{i}.{name}", shape) for name, shape in optional_shapes(recurrence))


def _matrix(config: ModelConfig, name: str, *shape: int) -> Shapes:
    yield f"{name}.weight", shape
    if name in config.biases:
        yield f"{name}.bias", shape[:-1]


def _biases(config: ModelConfig, rows: Mapping[str, int]) -> Shapes:
    yield from ((f"{name}.bias", (n_rows,)) for name, n_rows in rows.items() if name in config.biases)


def check_tensors(config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise ModelFileError unless every tensor is there in its shape and none that would be left out."""
    expected = set()
    optional = dict(_optional(config))
    where = next(iter(tensors.values())).path if tensors else "the model"
    for name, shape in tensor_shapes(config):
        if name not in tensors:
            raise ModelFileError(f"{where}: the tensor {name} is missing.", "The file is not whole: fetch it again.")
        _check_shape(tensors[name], shape)
        expected.add(name)
    for name, tensor in tensors.items():
        if name in optional:
            _check_shape(tensor, optional[name])
        elif name not in expected and not name.endswith(IGNORED_TENSORS):
            raise UnsupportedModelError(
                f"{tensor.path}: {name} is not part of a {config.architecture.name} model as this engine runs it.",
                "Choose another model.",
            )
    if config.experts and (config.experts.hidden_dim % EXPERT_ROWS or config.dim % EXPERT_ROWS):
        raise UnsupportedModelError(
            f"{where} has experts of {config.experts.hidden_dim} rows for a width of {config.dim}; this engine runs "
            f"experts in multiples of {EXPERT_ROWS}.",
            "Choose another model.",
        )
    wide = config.architecture.wide_qk_norms
    for layer in config.shapes if config.architecture.long_qk_norms else ():
        n_queries, n_keys = (layer.q_dim, layer.kv_dim) if wide else (layer.head_dim, layer.head_dim)
        if n_queries % LANES or n_keys % LANES:
            raise UnsupportedModelError(
                f"{where} norms {n_queries} queries and {n_keys} keys; this engine norms multiples of {LANES}.",
                "Choose another model.",
            )


def _check_shape(tensor: TensorInfo, shape: tuple[int, ...]) -> None:
    if without_leading_ones(tensor.shape) != without_leading_ones(shape):
        raise ModelFileError(
            f"{tensor.path}: {tensor.name} has the shape {tensor.shape}, by the metadata it should be {shape}.",
            "The file is damaged or was written wrongly: fetch it again.",
        )
