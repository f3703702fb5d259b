"""BPE over characters with byte fallback, as Gemma 4 and Sarvam have it, on the `tokenizers` library.

A text is not split into words before its characters are merged, only at line breaks; spaces are written as U+2581, and
characters that are no token are bytes: as SentencePiece does, but by merges instead of scores.
"""

from __future__ import annotations

import re

from tokenizers import Tokenizer as Pipeline

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import TokenType
from engine.tokenizer.base import Tokenizer, without_surrogates
from engine.tokenizer.bpe import bpe_model
from engine.tokenizer.vocabulary import Vocabulary

_SPACE = "\u2581"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_LINES = re.compile(r"\n+|[^\n]+")


class CharacterBpeTokenizer(Tokenizer):
    """BPE over characters from a model file's own vocabulary and merges.

    as_gemma: texts begin with the token for that, whatever the file says, and line breaks are a token together.
    """

    def __init__(self, metadata: Metadata, *, as_gemma: bool) -> None:
        vocabulary = Vocabulary(metadata, default_ids={}, add_bos=as_gemma)
        if as_gemma:
            vocabulary.add_bos = vocabulary.bos_id is not None  # early files say that texts begin without it
        super().__init__(vocabulary)
        ids = dict(vocabulary.ids)
        for text in self.marker_texts:
            ids.pop(text, None)  # no merge makes a marker of a conversation
        breaks = {text: id_ for text, id_ in ids.items() if text and not text.strip("\n")}
        self._line_breaks = breaks if as_gemma else {}
        self._pipeline = Pipeline(bpe_model(metadata, ids, byte_fallback=True))
        vocabulary.forget_ids()

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        ids: list[int] = []
        for line in _LINES.findall(without_surrogates(text)):
            if line in self._line_breaks:
                ids.append(self._line_breaks[line])
            else:
                ids += self._pipeline.encode(line.replace(" ", _SPACE), add_special_tokens=False).ids
        return ids

    def _token_bytes(self, token_id: int) -> bytes:
        token = self.vocabulary.tokens[token_id]
        if self.vocabulary.types[token_id] == TokenType.BYTE and (byte := _BYTE.fullmatch(token)):
            return bytes([int(byte[1], 16)])
        return token.replace(_SPACE, " ").encode()
