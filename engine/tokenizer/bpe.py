"""Byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have it, on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Pipeline
from tokenizers.models import BPE

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import BEGINS_WITH_SPACE, BYTE_CHARS, PREFIX
from engine.errors import UnsupportedModelError
from engine.tokenizer.base import Tokenizer, without_surrogates
from engine.tokenizer.split_patterns import GPT2, SPLITS, Split
from engine.tokenizer.vocabulary import MERGES, Vocabulary

_BYTE_OF_CHAR = {char: byte for byte, char in BYTE_CHARS.items()}


class BpeTokenizer(Tokenizer):
    """Byte-level BPE from a model file's own vocabulary and merges."""

    def __init__(self, metadata: Metadata) -> None:
        split = _split_of(metadata)
        super().__init__(Vocabulary(metadata, default_ids={}, add_bos=split.add_bos))
        model = bpe_model(metadata, self._ids_from_text(), ignore_merges=split.ignore_merges)
        self._pipeline = _pipeline(model, _words(split, False))
        begins_with_space = metadata.flag(BEGINS_WITH_SPACE, False)
        self._at_the_beginning = _pipeline(model, _words(split, True)) if begins_with_space else self._pipeline
        self.vocabulary.forget_ids()

    def _ids_from_text(self) -> dict[str, int]:
        """The tokens that plain text may become: no merge and no whole word makes a marker of a conversation.

        Bytes that are no tokens have ids behind those of the vocabulary.
        """
        ids = dict(self.vocabulary.ids)
        for text in self.marker_texts:
            ids.pop(text, None)
        # The library drops a byte that is no token before it merges; its neighbours would become one.
        missing = sorted(_BYTE_OF_CHAR.keys() - ids.keys())
        return ids | {char: id_ for id_, char in enumerate(missing, len(self.vocabulary))}

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        n_tokens = len(self.vocabulary)
        pipeline = self._at_the_beginning if after_special else self._pipeline
        ids = pipeline.encode(without_surrogates(text), add_special_tokens=False).ids
        return [id_ for id_ in ids if id_ < n_tokens]

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


def _pipeline(model: BPE, words: Sequence[pre_tokenizers.PreTokenizer]) -> Pipeline:
    pipeline = Pipeline(model)
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [*words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return pipeline


def _words(split: Split, begins_with_space: bool) -> list[pre_tokenizers.PreTokenizer]:
    """What cuts a text into words.

    begins_with_space: where bytes are made of them, a space is put before whatever does not begin with one. In the
    library the step that does so may cut words as GPT-2 does, and then comes before that.
    """
    words: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in split.patterns
    ]
    if begins_with_space:
        at = split.patterns.index(GPT2) if GPT2 in split.patterns else len(words)
        words.insert(at, pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="always", split=False))
    return words


def bpe_model(metadata: Metadata, ids: dict[str, int], **options: bool) -> BPE:
    """The library's model of the file's merges among these tokens. Raises KeyboardInterrupt if it came meanwhile."""
    merges = _Merges(metadata.texts(MERGES), ids)
    model = BPE(ids, merges, **options)
    if merges.interrupt is not None:
        raise merges.interrupt
    return model


class _Merges(Sequence[tuple[str, str]]):
    """The two halves of each merge; only merges of tokens into a token, for the library panics at others.

    The library goes through them once: as a list they would take 10 MB, and leave holes that nothing else fits into.
    interrupt: the Ctrl-C that came meanwhile, at which they end; the library would make a TypeError of it.
    """

    def __init__(self, merges: Sequence[str], ids: Mapping[str, int]) -> None:
        self._merges, self._ids = merges, ids
        self.interrupt: KeyboardInterrupt | None = None

    def __len__(self) -> int:
        """How many there are at most."""
        return len(self._merges)

    def __getitem__(self, index: Any) -> Any:
        raise TypeError(index)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        ids = self._ids
        try:
            for merge in self._merges:
                left, _, right = merge.partition(" ")
                if left in ids and right in ids and left + right in ids:
                    yield left, right
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
