"""From a file to a model that answers: read the header, prepare the panels, compile the kernels, run once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from engine.answers import sampling
from engine.architecture.config import ModelConfig
from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.recurrence import bytes_with_copies
from engine.chat import ChatFormat, choose_format
from engine.checkpoints import Checkpoint, open_checkpoint
from engine.checkpoints.finding import OF_ANY_MODEL, model_name
from engine.cores import default_threads
from engine.errors import EngineError
from engine.forward import team
from engine.forward.kv_cache import KVCache
from engine.forward.rope import layer_frequencies
from engine.forward.text_memory import TextMemory
from engine.forward.transformer import Transformer
from engine.forward.weight_loading import load_weights
from engine.kept_caches import KEPT, KeptCaches, fingerprint
from engine.machine_code import prepare
from engine.machine_code.compilers import dismiss
from engine.memory import available_bytes, context_that_fits, give_memory_back
from engine.model import LanguageModel
from engine.panels import PanelFolder, PanelStore, packing
from engine.prepared_files import PREPARED
from engine.protocol import Load, ModelCard
from engine.quantization import name_without_quantization, quantization_name
from engine.recommendation import recommended_sampling
from engine.reports import ReportStage
from engine.tokenizer import load_tokenizer
from engine.tokenizer.vocabulary import MERGES

BATCH_SIZE, LARGE_MODEL_BATCH = 256, 128
"""Tokens of a prompt read together: larger is hardly faster, takes more memory, and answers a Stop later."""

LARGE_MODEL = 2_000_000_000
"""Parameters from which on a model's batches are the smaller ones."""


def load(command: Load, report: ReportStage) -> LanguageModel:
    """Open the model that `command` names. Raises ModelFileError, UnsupportedModelError, and what `report` raises.

    Whatever ends it, no thread and no compiler of it goes on.
    """
    try:
        return _load(command, report)
    finally:
        dismiss()


def _load(command: Load, report: ReportStage) -> LanguageModel:
    report("reading", 0, 1, Path(command.path).name)
    checkpoint = open_checkpoint(command.path, command.base)
    tokenizer = load_tokenizer(checkpoint.metadata)
    checkpoint.metadata.pop(MERGES, None)  # megabytes that nobody else reads
    chat_format = choose_format(checkpoint.metadata, command.path)
    if command.vocab_only:
        card = _vocabulary_card(checkpoint, tokenizer.vocab_size, chat_format)
        return LanguageModel(card, checkpoint.metadata, tokenizer, chat_format, None)
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    check_context(command.context, config)
    threads = command.threads or default_threads()
    if threads < 1:
        raise EngineError(f"{threads} threads cannot compute.", "Ask for 1 or more, or leave the choice to the engine.")
    chat_format.start()
    report("reading", 1, 1, Path(command.path).name)
    transformer = _transformer(command, checkpoint, config, threads, report)
    try:
        _warm_up(transformer, report)
        card = _card(checkpoint, chat_format, transformer, threads)
        kept = _kept(command.cache_dir, checkpoint, transformer)
    except BaseException:
        transformer.close()
        raise
    return LanguageModel(card, checkpoint.metadata, tokenizer, chat_format, transformer, kept)


def _transformer(
    command: Load, checkpoint: Checkpoint, config: ModelConfig, threads: int, report: ReportStage
) -> Transformer:
    """Compile, and bring the weights into the form that is computed with."""
    folder = None
    if command.cache_dir is not None and command.keep_panels:
        folder = PanelFolder(Path(command.cache_dir) / PREPARED, command.cache_limit_bytes)
    packers = packing.functions_for(t.type.name for t in checkpoint.tensors.values() if len(t.shape) > 1)
    prepare([*team.FUNCTIONS, *sampling.FUNCTIONS, *packers], partial(report, "compiling"))
    weights = load_weights(checkpoint, config, folder, threads, lambda a, b: report("preparing", a, b, "weights"))
    context = choose_context(command, config, weights.store)
    batch = batch_size(checkpoint.n_parameters)
    return Transformer(config, weights, context, batch, threads, command.kv_type, partial(report, "building"))


def _warm_up(transformer: Transformer, report: ReportStage) -> None:
    """Do without what loading alone needed, and read a token: what it takes from the disk is there afterwards."""
    dismiss()
    give_memory_back()
    report("warming", 0, 1, "first pass")
    transformer.evaluate([0], 0)
    transformer.cached_ids.clear()
    report("warming", 1, 1, "first pass")


def check_context(context: int | None, config: ModelConfig) -> None:
    """Raise EngineError for so many positions as the model does not have."""
    if context is not None and not 1 <= context <= config.max_seq_len:
        raise EngineError(
            f"A context of {context} is not possible: this model has at most {config.max_seq_len}.",
            "Ask for less, or leave it to the engine.",
        )


def choose_context(command: Load, config: ModelConfig, weights: PanelStore) -> int:
    """Positions to provide for: what was asked, else the model's own limit as far as memory goes."""
    if command.context is not None:
        return command.context
    per_token = KVCache.bytes_per_token(config, command.kv_type)
    state_bytes = bytes_with_copies(config.recurrence, len(config.recurrent_layers))
    # What is mapped from a file counts as memory that can be had; what is in memory is gone from there already.
    mapped_bytes = weights.n_bytes if weights.path else 0
    return context_that_fits(config.max_seq_len, max(1, per_token), available_bytes() - mapped_bytes - state_bytes)


def batch_size(n_parameters: int) -> int:
    """Tokens of a prompt to read together."""
    return BATCH_SIZE if n_parameters < LARGE_MODEL else LARGE_MODEL_BATCH


def _card(checkpoint: Checkpoint, chat_format: ChatFormat, transformer: Transformer, threads: int) -> ModelCard:
    config = transformer.config
    return msgspec.structs.replace(
        _vocabulary_card(checkpoint, config.vocab_size, chat_format),
        architecture=config.architecture.name,
        quantization=quantization_name(checkpoint),
        context=transformer.max_seq_len,
        max_context=config.max_seq_len,
        layers=config.n_layers,
        weights_bytes=transformer.weights.store.n_bytes,
        kv_bytes_per_token=KVCache.bytes_per_token(config, transformer.cache.kv_name),
        threads=threads,
        sampling=recommended_sampling(checkpoint.metadata),
    )


def _vocabulary_card(checkpoint: Checkpoint, vocab: int, chat_format: ChatFormat) -> ModelCard:
    """The card of a model of which only the vocabulary was loaded."""
    return ModelCard(
        name=_name(checkpoint.path),
        path=str(checkpoint.path),
        format=checkpoint.format,
        architecture=checkpoint.metadata.text("general.architecture", ""),
        quantization="",
        parameters=checkpoint.n_parameters,
        size_bytes=checkpoint.size_bytes,
        context=0,
        max_context=0,
        layers=0,
        vocab=vocab,
        template=chat_format.name,
        template_source=chat_format.source,
        weights_bytes=0,
        kv_bytes_per_token=0,
        threads=0,
    )


def _name(path: Path) -> str:
    name = name_without_quantization(model_name(path))
    return path.absolute().parent.name or name if name.casefold() == OF_ANY_MODEL else name


def _kept(cache_dir: str | None, checkpoint: Checkpoint, transformer: Transformer) -> KeptCaches | None:
    """The sessions of this model whose caches are on disk. Raises OSError where the model's files are no more."""
    if cache_dir is None:
        return None
    config, memory = transformer.config, TextMemory(transformer.cache, transformer.state)
    # Keys are kept turned, and some models turn otherwise in a long context.
    divisors = transformer.weights.rope_divisors_for(config, transformer.max_seq_len)
    turns = {id(angles): (angles.tolist(), magnitude) for angles, magnitude in layer_frequencies(config, divisors)}
    layout = f"{memory.layout} {list(turns.values())}"
    return KeptCaches(Path(cache_dir) / KEPT, fingerprint(checkpoint, layout), memory)
