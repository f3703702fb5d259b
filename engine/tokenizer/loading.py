"""Which tokenizer a model file asks for."""

from __future__ import annotations

from collections.abc import Mapping

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import PREFIX
from engine.errors import UnsupportedModelError
from engine.tokenizer.base import Tokenizer

BY_CHARACTERS = "sarvam-moe"
"""The way to split words that is none: what is merged are a text's characters, not its bytes."""


def load_tokenizer(metadata: Mapping[str, object]) -> Tokenizer:
    """The tokenizer that a model's metadata describes.

    Raises UnsupportedModelError for kinds that are not known, ModelFileError for what is damaged.
    """
    meta = Metadata.of(metadata)
    kind = meta.text(PREFIX + "model")
    if kind == "gpt2" and meta.get(PREFIX + "pre") != BY_CHARACTERS:
        from engine.tokenizer.bpe import BpeTokenizer

        return BpeTokenizer(meta)
    if kind == "llama":
        from engine.tokenizer.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(meta)
    if kind in ("gpt2", "gemma4"):
        from engine.tokenizer.character_bpe import CharacterBpeTokenizer

        return CharacterBpeTokenizer(meta, as_gemma=kind == "gemma4")
    if kind in ("plamo2", "plamo3"):
        from engine.tokenizer.plamo import PlamoTokenizer

        return PlamoTokenizer(meta, cuts_first=kind == "plamo3")
    raise UnsupportedModelError(
        f"{meta.path or 'The model'} has a tokenizer of the kind {kind!r} ({PREFIX}model), which is not known here.",
        "Choose a model with a llama, gpt2, gemma4, plamo2 or plamo3 tokenizer.",
    )
