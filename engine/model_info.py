"""What a model file is and whether it fits on this machine, from its header alone."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Sequence, Set
from pathlib import Path

import msgspec

from engine.architecture.architecture import Architecture
from engine.architecture.architectures import ARCHITECTURES
from engine.architecture.gguf_attention import layers_attention
from engine.architecture.gguf_layer_parts import recurrent_layers
from engine.architecture.gguf_recurrence import recurrence_from_gguf
from engine.architecture.recurrence import bytes_with_copies
from engine.chat import choose_format
from engine.checkpoints import Checkpoint, Metadata, open_checkpoint
from engine.checkpoints.finding import model_name
from engine.checkpoints.limits import MAX_LAYERS
from engine.errors import EngineError, ModelFileError, TemplateError
from engine.memory import available_bytes, context_that_fits
from engine.quantization import quantization_name

ENGINE_BYTES = 120 << 20
"""What the engine takes besides weights and cache: Python, NumPy, the vocabulary, and the activations of a batch."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `models info` says about a model file.

    context: what was asked for, else the model's own limit. needs_bytes: weights, the engine, and the cache for what
    was asked for, else for as much context as the engine would give it. fits: needs_bytes are available. Sizes that a
    file does not tell are 0.
    """

    path: str
    format: str
    architecture: str
    quantization: str
    parameters: int
    size_bytes: int
    context: int
    vocab: int
    layers: int
    template: str
    template_source: str
    weights_bytes: int
    kv_bytes_per_token: int
    fits: bool
    needs_bytes: int
    available_bytes: int

    @property
    def name(self) -> str:
        """What the model can be called on the command line: its file's name without the ending."""
        return model_name(Path(self.path))


def inspect_model(path: str | Path, *, context: int | None = None, base: str | Path | None = None) -> ModelInfo:
    """What a model file is, and whether it fits at this context. No weight is read.

    base: the model that an adapter or a difference is added to, where it is not beside it.
    Raises ModelFileError or UnsupportedModelError for files that do not open, EngineError for an impossible context.
    """
    checkpoint = open_checkpoint(path, base)
    try:
        size_bytes = checkpoint.size_bytes
    except OSError as error:
        raise ModelFileError(f"{path} went away while it was read.", "Check that its disk is there.") from error
    sizes = _Sizes(checkpoint)
    if not sizes.architecture:
        raise ModelFileError(f"{path} does not say what it is a model of.", "The file may be damaged; fetch it again.")
    if context is not None and not 1 <= context <= max(1, sizes.context):
        raise EngineError(
            f"A context of {context} is not possible: this model has at most {sizes.context}.", "Ask for less."
        )
    available = available_bytes()
    weights = checkpoint.weights_bytes
    per_token = sizes.kv_bytes_per_token
    provided = context
    if provided is None:
        free = available - weights - sizes.state_bytes
        provided = context_that_fits(sizes.context, per_token, free) if per_token else 0
    needs = weights + ENGINE_BYTES + sizes.state_bytes + provided * per_token
    template, template_source = _template(checkpoint)
    return ModelInfo(
        path=str(path),
        format=checkpoint.format,
        architecture=sizes.architecture,
        quantization=quantization_name(checkpoint),
        parameters=checkpoint.n_parameters,
        size_bytes=size_bytes,
        context=sizes.context if context is None else context,
        vocab=sizes.vocab,
        layers=sizes.layers,
        template=template,
        template_source=template_source,
        weights_bytes=weights,
        kv_bytes_per_token=per_token,
        fits=needs <= available,
        needs_bytes=needs,
        available_bytes=available,
    )


class _Sizes:
    """Sizes from a model's metadata, of whatever architecture; 0 where it says nothing that makes sense."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        metadata = checkpoint.metadata
        self.architecture = _text(metadata, "general.architecture")
        self.context = self._of(metadata, "context_length")
        self.layers = self._of(metadata, "block_count")
        tokens = metadata.get("tokenizer.ggml.tokens")
        self.vocab = len(tokens) if isinstance(tokens, Sequence) else self._of(metadata, "vocab_size")
        n_heads = self._of(metadata, "attention.head_count")
        head_dim = self._of(metadata, "embedding_length") // n_heads if n_heads else 0
        key_dim = self._of(metadata, "attention.key_length") or head_dim
        value_dim = self._of(metadata, "attention.value_length") or head_dim
        kv_heads = self._sum(metadata, "attention.head_count_kv") or self.layers * n_heads
        self.kv_bytes_per_token = 2 * kv_heads * (key_dim + value_dim) if checkpoint.tensors else 0
        self.state_bytes = 0
        architecture = ARCHITECTURES.get(self.architecture)
        if architecture is not None and checkpoint.tensors:
            with contextlib.suppress(EngineError):
                self._take_what_attends(metadata, architecture, checkpoint.tensors.keys())

    def _take_what_attends(self, metadata: Metadata, architecture: Architecture, tensors: Set[str]) -> None:
        """Layer by layer, of an architecture that runs. Raises EngineError for numbers that make no sense."""
        n_layers = self.layers - self._of(metadata, "nextn_predict_layers")
        if not 1 <= n_layers <= MAX_LAYERS:
            return
        dim = self._of(metadata, "embedding_length")
        attention = layers_attention(metadata, architecture, n_layers, dim, tensors)
        recurrence = recurrence_from_gguf(metadata, architecture, attention, dim)
        self.kv_bytes_per_token = 2 * sum(
            layer.n_kv_heads * (layer.head_dim + layer.value_dim) for layer in attention if layer.shared_from is None
        )
        with_state = recurrent_layers(metadata, architecture, attention)
        self.state_bytes = bytes_with_copies(recurrence, len(with_state))

    def _of(self, metadata: Metadata, key: str) -> int:
        value = metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, array) and len(value):
            value = max(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    def _sum(self, metadata: Metadata, key: str) -> int:
        """Of all layers, of something that may be given once or for each."""
        value = metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, array) and value.typecode not in "fd" and len(value) == self.layers:
            return sum(size for size in value if size > 0)
        return self.layers * self._of(metadata, key)


def _template(checkpoint: Checkpoint) -> tuple[str, str]:
    try:
        chosen = choose_format(checkpoint.metadata, checkpoint.path)
    except (TemplateError, ModelFileError):
        return "", ""
    return chosen.name, chosen.source


def _text(metadata: Metadata, key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""
