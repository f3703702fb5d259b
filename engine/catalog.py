"""The models on this machine: what each is and whether it fits, from the headers of their files alone."""

from __future__ import annotations

import contextlib
import difflib
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import msgspec

from engine.architecture.architecture import Architecture
from engine.architecture.architectures import ARCHITECTURES
from engine.architecture.gguf_attention import layers_attention
from engine.architecture.gguf_recurrence import recurrence_from_gguf
from engine.architecture.recurrence import bytes_with_copies
from engine.chat import choose_format
from engine.checkpoints import Checkpoint, Metadata, open_checkpoint
from engine.checkpoints.finding import is_model_folder, model_name, model_paths
from engine.checkpoints.limits import MAX_LAYERS
from engine.errors import NEEDS_BASE, EngineError, ModelFileError, TemplateError
from engine.memory import available_bytes, context_that_fits
from engine.quantization import quantization_name
from engine.typed_path import typed_path

ENGINE_BYTES = 120 << 20
"""What the engine takes besides weights and cache: Python, NumPy, the vocabulary, and the activations of a batch."""

MAX_LISTED = 10_000
MAX_NEAR_NAMES = 3

NEAR = 0.6
"""How much alike a name must be to be suggested, from 0 to 1."""


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


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A file among the models that does not open, and why; needs_base: it does so on a base model."""

    path: str
    message: str
    hint: str
    needs_base: bool = False

    @property
    def name(self) -> str:
        """Its name, as a model's."""
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


def survey(
    directories: Iterable[str | Path], bases: Mapping[str, str] | None = None
) -> tuple[list[ModelInfo], list[Unreadable]]:
    """Every model in these folders, by name, and every file that looks like one but does not open.

    bases: by the absolute paths of adapters and differences, the models that they are added to.
    """
    models: list[ModelInfo] = []
    unreadable: list[Unreadable] = []
    for path in _model_files(directories):
        base = (bases or {}).get(str(path.absolute()))
        try:
            models.append(inspect_model(path, base=base))
        except (EngineError, OSError, RecursionError) as error:
            # Whatever is the matter with one file, the others are listed.
            said = _in_words(path, error)
            needs_base = base is not None or isinstance(error, NEEDS_BASE)
            unreadable.append(Unreadable(path=str(path), message=said.message, hint=said.hint, needs_base=needs_base))
    return models, unreadable


def _in_words(path: Path, error: EngineError | OSError | RecursionError) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return ModelFileError(f"{path} cannot be read: {reason}.", "Check its permissions and the path.")
    return ModelFileError(f"{path} is nested too deeply to be read.", "Choose another file.")


def list_models(directories: Iterable[str | Path]) -> list[ModelInfo]:
    """Every model in these folders that opens, by name."""
    return survey(directories)[0]


def find_model(name_or_path: str | Path, directories: Iterable[str | Path]) -> Path | None:
    """The model at a path, else the one of this name in the folders: with or without its ending, in any case.

    A name that begins only one model's name is enough. None if there is no such model, or there are several.
    """
    path = typed_path(name_or_path)
    # A name that is too long, or in a folder that may not be read, is no file.
    if os.path.isfile(path) or is_model_folder(path):
        return path
    wanted = str(name_or_path).casefold()
    files = list(_model_files(directories))
    if named := _named(files, wanted):
        return named[0]
    begun = [file for file in files if wanted and file.name.casefold().startswith(wanted)]
    return begun[0] if len(begun) == 1 else None


def require_model(name_or_path: str | Path, directories: Iterable[str | Path]) -> Path:
    """The model that find_model finds. Raises ModelFileError, with the names that are near."""
    folders = list(directories)
    found = find_model(name_or_path, folders)
    if found is None:
        raise _no_model(str(name_or_path), folders)
    return found


def require_only_model(name_or_path: str, directories: Iterable[str | Path]) -> Path:
    """The model at a path, else the only one of this whole name: which one is to be deleted is not guessed.

    Raises ModelFileError, with the names that are near, or the paths of all that are called so.
    """
    path = typed_path(name_or_path)
    if name_or_path and os.path.exists(path):
        return path
    folders = list(directories)
    named = _named(_model_files(folders), name_or_path.casefold())
    if not named:
        raise _no_model(name_or_path, folders)
    if len(named) > 1:
        paths = ", ".join(map(str, named))
        raise ModelFileError(f"{len(named)} models are called {name_or_path}: {paths}.", "Give the path of one.")
    return named[0]


def _named(files: Iterable[Path], wanted: str) -> list[Path]:
    return [file for file in files if wanted in (file.name.casefold(), model_name(file).casefold())]


def _no_model(name_or_path: str, folders: Iterable[str | Path]) -> ModelFileError:
    near = near_names(name_or_path, folders)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`llm-tui models list` names those that are there."
    return ModelFileError(f"There is no model {name_or_path}: no such file, and no such name.", hint)


def near_names(name: str, directories: Iterable[str | Path]) -> list[str]:
    """Names of models that are much like this one or begin so, or contain it; the nearest first."""
    wanted = model_name(Path(name)).casefold()
    names = {model_name(file).casefold(): model_name(file) for file in _model_files(directories)}

    def nearness(key: str) -> float:
        whole, beginning = (difflib.SequenceMatcher(None, wanted, text) for text in (key, key[: len(wanted)]))
        return 1.0 if wanted in key else max(whole.ratio(), beginning.ratio())

    near = sorted((key for key in names if wanted and nearness(key) >= NEAR), key=nearness, reverse=True)
    return [names[key] for key in near[:MAX_NEAR_NAMES]]


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
        self.kv_bytes_per_token = 4 * sum(layer.kv_dim for layer in attention if layer.shared_from is None)
        n_recurrent = sum(not layer.n_kv_heads for layer in attention)
        self.state_bytes = bytes_with_copies(recurrence, n_recurrent)

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


def _model_files(directories: Iterable[str | Path]) -> Iterator[Path]:
    """Models in these folders and the folders in them, once each, by name."""
    seen: set[str] = set()
    found: list[Path] = []
    for directory in directories:
        for path in model_paths(typed_path(directory)):
            resolved = os.path.realpath(path)
            if resolved not in seen and len(found) < MAX_LISTED:
                seen.add(resolved)
                found.append(path)
    yield from sorted(found, key=lambda path: (path.name.casefold(), str(path)))
