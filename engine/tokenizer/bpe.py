"""Byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have it, on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Pipeline
from tokenizers.models import BPE

from engine.checkpoints.metadata import Metadata
from engine.errors import UnsupportedModelError
from engine.tokenizer.base import Tokenizer
from engine.tokenizer.split_patterns import SPLITS, Split
from engine.tokenizer.vocabulary import PREFIX, Vocabulary


def _byte_of_char() -> dict[str, int]:
    """The characters that stand for bytes in such vocabularies: printable ones for themselves, the rest from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_of_char()


class BpeTokenizer(Tokenizer):
    """Byte-level BPE from a model file's own vocabulary and merges."""

    def __init__(self, metadata: Metadata) -> None:
        split = _split_of(metadata)
        super().__init__(Vocabulary(metadata, default_ids={}, add_bos=split.add_bos))
        self._pipeline = _pipeline(metadata, self.vocabulary.ids, split)

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        ids: list[int] = self._pipeline.encode(text, add_special_tokens=False).ids
        return ids

    def _token_bytes(self, token_id: int) -> bytes:
        token = self.vocabulary.tokens[token_id]
        try:
            return bytes([_BYTE_OF_CHAR[char] for char in token])
        except KeyError:
            return token.encode()


def _split_of(metadata: Metadata) -> Split:
    name = metadata.text(PREFIX + "pre", "default")
    if name not in SPLITS:
        raise UnsupportedModelError(
            f"{metadata.path or 'The model'} splits words by {name!r} ({PREFIX}pre), which is not known here.",
            "Choose another model, or look for a newer llm-tui.",
        )
    return SPLITS[name]


def _pipeline(metadata: Metadata, ids: dict[str, int], split: Split) -> Pipeline:
    merges = list(_pairs(metadata.texts(PREFIX + "merges")))
    try:
        model = BPE(ids, merges, ignore_merges=split.ignore_merges)
    except Exception:  # noqa: BLE001 - the library raises bare Exception, here for a merge whose tokens are not there
        merges = [(a, b) for a, b in merges if a in ids and b in ids and a + b in ids]
        model = BPE(ids, merges, ignore_merges=split.ignore_merges)
    pipeline = Pipeline(model)
    words = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in split.patterns]
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [*words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return pipeline


def _pairs(merges: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The two halves of each merge; the first may itself begin with a space."""
    for merge in merges:
        at = merge.find(" ", 1)
        if at > 0:
            yield merge[:at], merge[at + 1 :]
