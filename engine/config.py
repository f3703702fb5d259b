"""What a model is: the sizes and constants of its architecture, checked before anything is built on them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from engine.checkpoints import Metadata, TensorInfo
from engine.errors import ModelFileError, UnsupportedModelError

MAX_LAYERS = 1024
MAX_HEADS = 4096
MAX_WIDTH = 1 << 20
MAX_VOCAB = 1 << 24
MAX_CONTEXT = 1 << 27

IGNORED_TENSORS = (".attn_rot_embd.weight", ".rope_freqs.weight", ".attention.rotary_emb.inv_freq")
"""Endings of tensors that old converters wrote and nobody needs."""

RopeOrder = Literal["normal", "neox"]
RopeScalingType = Literal["none", "linear", "yarn", "longrope"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells one architecture from another.

    rope_order: "normal" turns neighbouring pairs, "neox" the two halves of a head.
    """

    name: str
    rope_order: RopeOrder


ARCHITECTURES = {"llama": Architecture("llama", rope_order="normal")}
"""The architectures that the engine runs."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How positions are stretched beyond the context that the model was trained on.

    factor: new context / original. attn_factor: what the attention's magnitude is multiplied by.
    """

    type: RopeScalingType = "none"
    factor: float = 1.0
    original_max_seq_len: int = 0
    attn_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The sizes of a model.

    dim: width of the residual stream. hidden_dim: width of the feed-forward layer (of one expert where there are some).
    rope_dim: how many of a head's dimensions are turned. sliding_window: positions that a windowed layer sees;
    window_every: of so many layers one is without a window. Softcaps of 0 are off. tied: the output matrix is the
    embedding.
    """

    architecture: str
    name: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    dim: int
    hidden_dim: int
    vocab_size: int
    max_seq_len: int
    norm_eps: float
    rope_theta: float
    rope_dim: int
    rope_order: RopeOrder
    rope_scaling: RopeScaling
    tied: bool
    sliding_window: int | None = None
    window_every: int | None = None
    attn_softcap: float = 0.0
    final_softcap: float = 0.0
    n_experts: int = 0
    n_experts_used: int = 0

    @property
    def kv_dim(self) -> int:
        """Width of a position's keys, or values."""
        return self.n_kv_heads * self.head_dim

    @property
    def q_dim(self) -> int:
        """Width of a position's queries."""
        return self.n_heads * self.head_dim


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
    n_experts = meta.integer(f"{arch}.expert_count", 0, low=0, high=1024)
    if n_experts:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} is a mixture of {n_experts} experts, which this engine does not run.",
            "Choose a model without experts.",
        )
    config = ModelConfig(
        architecture=arch,
        name=_name(meta),
        n_layers=meta.integer(f"{arch}.block_count", low=1, high=MAX_LAYERS),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        dim=dim,
        hidden_dim=_same_in_all_layers(meta, f"{arch}.feed_forward_length", None, high=MAX_WIDTH),
        vocab_size=_vocab_size(meta, arch),
        max_seq_len=max_seq_len,
        norm_eps=meta.real(f"{arch}.attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
        rope_theta=meta.real(f"{arch}.rope.freq_base", 10_000.0, low=1.0, high=1e12),
        rope_dim=rope_dim,
        rope_order=architecture.rope_order,
        rope_scaling=_rope_scaling(meta, arch, max_seq_len),
        tied="output.weight" not in tensors,
    )
    check_tensors(config, tensors)
    _check_token_ids(meta, config.vocab_size)
    return config


def tensor_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor that a model of this configuration must have, with its shape."""
    dim, hidden, q_dim, kv_dim = config.dim, config.hidden_dim, config.q_dim, config.kv_dim
    yield "token_embd.weight", (config.vocab_size, dim)
    yield "output_norm.weight", (dim,)
    if not config.tied:
        yield "output.weight", (config.vocab_size, dim)
    for layer in range(config.n_layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (dim,)
        yield block + "attn_q.weight", (q_dim, dim)
        yield block + "attn_k.weight", (kv_dim, dim)
        yield block + "attn_v.weight", (kv_dim, dim)
        yield block + "attn_output.weight", (dim, q_dim)
        yield block + "ffn_norm.weight", (dim,)
        yield block + "ffn_gate.weight", (hidden, dim)
        yield block + "ffn_up.weight", (hidden, dim)
        yield block + "ffn_down.weight", (dim, hidden)


def check_tensors(config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise ModelFileError unless every tensor is there in its shape and none that would be left out."""
    expected = dict(tensor_shapes(config))
    optional = {"rope_freqs.weight": (config.rope_dim // 2,)}
    where = next(iter(tensors.values())).path if tensors else "the model"
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelFileError(f"{where}: the tensor {name} is missing.", "The file is not whole: fetch it again.")
        _check_shape(tensors[name], shape)
    for name, tensor in tensors.items():
        if name in optional:
            _check_shape(tensor, optional[name])
        elif name not in expected and not name.endswith(IGNORED_TENSORS):
            raise UnsupportedModelError(
                f"{tensor.path}: {name} is not part of a {config.architecture} model as this engine runs it.",
                "Choose another model.",
            )


def _check_shape(tensor: TensorInfo, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ModelFileError(
            f"{tensor.path}: {tensor.name} has the shape {tensor.shape}, by the metadata it should be {shape}.",
            "The file is damaged or was written wrongly: fetch it again.",
        )


def _architecture(meta: Metadata) -> Architecture:
    name = meta.text("general.architecture")
    if name not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has the architecture {name!r}, which this engine does not run.",
            f"These run: {', '.join(ARCHITECTURES)}.",
        )
    return ARCHITECTURES[name]


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


def _vocab_size(meta: Metadata, arch: str) -> int:
    n_tokens = len(meta.texts("tokenizer.ggml.tokens"))
    if not 1 <= n_tokens <= MAX_VOCAB:
        raise meta.error(f"tokenizer.ggml.tokens has {n_tokens} tokens, it should have between 1 and {MAX_VOCAB}.")
    said = meta.integer(f"{arch}.vocab_size", n_tokens, low=1, high=MAX_VOCAB)
    if said != n_tokens:
        raise meta.error(f"{arch}.vocab_size is {said}, but tokenizer.ggml.tokens has {n_tokens} tokens.")
    return n_tokens


def _rope_scaling(meta: Metadata, arch: str, max_seq_len: int) -> RopeScaling:
    kind = meta.text(f"{arch}.rope.scaling.type", "")
    if not kind:
        kind = "linear" if f"{arch}.rope.scale_linear" in meta else "none"
    original = meta.integer(f"{arch}.rope.scaling.original_context_length", max_seq_len, low=1, high=MAX_CONTEXT)
    factor = meta.real(f"{arch}.rope.scaling.factor", 0.0, low=0.0, high=1e6) or meta.real(
        f"{arch}.rope.scale_linear", 1.0, low=0.0, high=1e6
    )
    attn_factor = meta.real(f"{arch}.rope.scaling.attn_factor", 1.0, low=0.0, high=1e6)
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} stretches positions by {kind!r}, which this engine does not know.",
            "Choose another model.",
        )
    scaling: RopeScalingType = kind  # type: ignore[assignment]
    return RopeScaling(scaling, factor or 1.0, original, attn_factor)


def _check_token_ids(meta: Metadata, vocab_size: int) -> None:
    for name in ("bos", "eos", "eot", "eom", "unknown", "padding"):
        meta.optional_integer(f"tokenizer.ggml.{name}_token_id", low=0, high=vocab_size - 1)


def _name(meta: Metadata) -> str:
    value = meta.get("general.name")
    return value if isinstance(value, str) and value else (meta.path.stem if meta.path else "model")
