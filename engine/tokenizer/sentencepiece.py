"""SentencePiece BPE, as LLaMA 1 and 2, Mistral and Gemma have it, on the `sentencepiece` library.

The library wants a serialised ModelProto; it is written here from the tokens, scores and types of the model file.
Source of the field numbers: sentencepiece_model.proto in the sentencepiece repository.
"""

from __future__ import annotations

import math
import re
import struct
from array import array
from collections.abc import Iterator, Sequence

import sentencepiece

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import PREFIX, TokenType
from engine.tokenizer.base import Tokenizer, without_surrogates
from engine.tokenizer.vocabulary import Vocabulary

_SPACE = "\u2581"
_BYTE_TEXTS = [f"<0x{byte:02X}>" for byte in range(256)]
_BYTE_PIECES = frozenset(_BYTE_TEXTS)
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_BYTES_OF_CHAR = (1,) * 12 + (2, 2, 3, 4)
"""By the first half of a character's first byte, how many bytes it takes."""
_MODEL_TYPE_BPE = 2


class SentencePieceTokenizer(Tokenizer):
    """SentencePiece BPE with byte fallback from a model file's own pieces and scores."""

    def __init__(self, metadata: Metadata) -> None:
        default_ids = {"bos": 1, "eos": 2, "unknown": 0}
        super().__init__(Vocabulary(metadata, default_ids=default_ids, add_bos=True, has_bytes=True))
        self.adds_space_prefix = metadata.flag(PREFIX + "add_space_prefix", True)
        n_tokens = len(self.vocabulary)
        scores = metadata.numbers(PREFIX + "scores", length=n_tokens, typecodes="fi")
        if scores is None:
            scores = array("f", bytes(4 * n_tokens))
        if any(math.isnan(score) for score in scores):
            raise metadata.error(f"{PREFIX}scores has a score that is not a number.")
        unknown = self.vocabulary.unknown_id or 0
        self._byte_ids = [self.vocabulary.ids.get(text, unknown) for text in _BYTE_TEXTS]
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(_model_proto(self.vocabulary, self.marker_texts, scores))
        except RuntimeError as error:
            raise metadata.error(f"the vocabulary does not make a SentencePiece model: {error}.") from error
        self.vocabulary.forget_ids()

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        if after_special and self.adds_space_prefix:
            text = " " + text
        ids: list[int] = []
        for part in _text_and_bytes(without_surrogates(text, keep_bytes=True)):
            if isinstance(part, bytes):
                ids += [self._byte_ids[byte] for byte in part]
            else:
                ids += self._processor.EncodeAsIds(part)
        n_tokens = len(self.vocabulary)
        return [id_ for id_ in ids if id_ < n_tokens]

    def _token_bytes(self, token_id: int) -> bytes:
        token = self.vocabulary.tokens[token_id]
        if self.vocabulary.types[token_id] == TokenType.BYTE and token in _BYTE_PIECES:
            return bytes([int(token[3:5], 16)])
        return token.replace(_SPACE, " ").encode()


def _text_and_bytes(text: str) -> Iterator[str | bytes]:
    """A text cut at the bytes in it that are not UTF-8.

    As in llama.cpp such a byte takes those along that the character would have which it seems to begin.
    """
    at = 0
    while found := _ESCAPED_BYTE.search(text, at):
        if found.start() > at:
            yield text[at : found.start()]
        at = found.end()
        data = _raw(found[0])
        n_bytes = _BYTES_OF_CHAR[data[0] >> 4]
        while len(data) < n_bytes and at < len(text):
            data += _raw(text[at])
            at += 1
        yield data
    if at < len(text):
        yield text[at:]


def _raw(char: str) -> bytes:
    return char.replace(" ", _SPACE).encode("utf-8", "surrogateescape")


def _model_proto(vocabulary: Vocabulary, marker_texts: Sequence[str], scores: Sequence[float]) -> bytes:
    """The serialised model: pieces, then how it was trained, then how it treats spaces."""
    types = _piece_types(vocabulary, frozenset(marker_texts))
    kinds = {kind: _number(3, kind) for kind in set(types)}
    score_bytes = struct.Struct("<f").pack
    # Vocabularies have a quarter of a million pieces; the name of a field is the same for each.
    pieces = [
        _message(1, _message(1, text.encode()) + b"\x15" + score_bytes(score) + kinds[kind])
        for text, score, kind in zip(_piece_texts(vocabulary), scores, types, strict=True)
    ]
    if TokenType.UNKNOWN not in types:
        pieces.append(_message(1, _message(1, b"<unknown piece>") + _number(3, TokenType.UNKNOWN)))
        types.append(TokenType.UNKNOWN)
    trainer = [
        _number(3, _MODEL_TYPE_BPE),
        _number(4, len(pieces)),
        _number(35, int(TokenType.BYTE in types)),
        _number(40, types.index(TokenType.UNKNOWN)),
    ]
    normalizer = [_message(1, b"identity"), _number(3, 0), _number(4, 0), _number(5, 1)]
    return b"".join([*pieces, _message(2, b"".join(trainer)), _message(3, b"".join(normalizer))])


def _piece_texts(vocabulary: Vocabulary) -> Iterator[str]:
    """Each piece's text; the library takes none twice, and none that is empty."""
    for id_, text in enumerate(vocabulary.tokens):
        usable = text and "\0" not in text and vocabulary.ids[text] == id_
        yield text if usable else f"<piece {id_}>"


def _piece_types(vocabulary: Vocabulary, markers: frozenset[str]) -> list[int]:
    """Each piece's type for the library, which wants one UNKNOWN piece, and all BYTE pieces or none.

    User-defined tokens were split off beforehand. Where merges make one it counts as normal, unless it is a marker of a
    conversation: those must not arise from text.
    """
    ids, kinds = vocabulary.ids, vocabulary.types
    has_all_bytes = all(text in ids and kinds[ids[text]] == TokenType.BYTE for text in _BYTE_PIECES)
    types: list[int] = []
    for id_, (text, kind) in enumerate(zip(vocabulary.tokens, kinds, strict=True)):
        if kind == TokenType.USER_DEFINED:
            kind = TokenType.UNUSED if text in markers else TokenType.NORMAL
        elif kind == TokenType.UNKNOWN and TokenType.UNKNOWN in types:
            kind = TokenType.CONTROL
        elif kind == TokenType.BYTE and not (has_all_bytes and text in _BYTE_PIECES and ids[text] == id_):
            kind = TokenType.UNUSED
        types.append(kind if kind in _KNOWN_TYPES else TokenType.UNUSED)
    return types


_KNOWN_TYPES = frozenset(TokenType)


_SMALL = [bytes([value]) for value in range(0x80)]


def _varint(value: int) -> bytes:
    if value < len(_SMALL):
        return _SMALL[value]
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
