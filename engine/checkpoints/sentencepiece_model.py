"""The pieces of a SentencePiece model file (`tokenizer.model`): a reader of the few fields that a vocabulary needs.

Field numbers: sentencepiece_model.proto in the sentencepiece repository.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.small_files import read_small
from engine.checkpoints.tiktoken_model import looks_like_tiktoken
from engine.errors import ModelFileError, UnsupportedModelError

MAX_BYTES = 256 << 20
MAX_PIECES = 1 << 24
BPE = 2

_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _UNK_ID, _BOS_ID, _EOS_ID = 3, 40, 41, 42
_ADD_DUMMY_PREFIX = 3

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field = tuple[int, "int | float | bytes"]


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """A vocabulary. types: in GGUF's numbers, which are SentencePiece's. Special ids are None where there are none."""

    tokens: list[str]
    scores: array[float]
    types: array[int]
    unknown_id: int | None
    bos_id: int | None
    eos_id: int | None
    adds_space_prefix: bool


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a `tokenizer.model`. Raises ModelFileError, UnsupportedModelError for tokenizers that are not BPE."""
    raw = read_small(path, MAX_BYTES)
    if looks_like_tiktoken(raw[:1024]):
        raise UnsupportedModelError(
            f"{path} is a tokenizer of Llama 3 in Meta's own format, which does not belong to this model.",
            "Put the tokenizer's files that came with the model into this folder.",
        )
    try:
        return _parse(raw, path)
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError, _BadWireError):
        raise ModelFileError(f"{path} is no SentencePiece model.", "Fetch the file again.") from None


class _BadWireError(Exception):
    """The bytes are no protocol buffer of this kind."""


def _parse(raw: bytes, path: Path) -> SentencePieceModel:
    tokens: list[str] = []
    scores, types = array("f"), array("i")
    trainer: dict[int, int | float | bytes] = {}
    normalizer: dict[int, int | float | bytes] = {}
    for field, value in _fields(raw):
        if field == _PIECE and isinstance(value, bytes):
            piece = dict(_fields(value))
            text = piece.get(_TEXT, b"")
            if not isinstance(text, bytes) or len(tokens) >= MAX_PIECES:
                raise _BadWireError
            tokens.append(text.decode("utf-8"))
            scores.append(float(_number(piece.get(_SCORE, 0.0))))
            types.append(int(_number(piece.get(_TYPE, 1))))
        elif field == _TRAINER and isinstance(value, bytes):
            trainer = dict(_fields(value))
        elif field == _NORMALIZER and isinstance(value, bytes):
            normalizer = dict(_fields(value))
    if not tokens:
        raise _BadWireError
    if trainer.get(_MODEL_TYPE, 1) != BPE:
        raise UnsupportedModelError(
            f"{path} is a SentencePiece model, but not of the BPE kind.", "Choose another model."
        )
    return SentencePieceModel(
        tokens,
        scores,
        types,
        unknown_id=_special(trainer.get(_UNK_ID, 0), len(tokens)),
        bos_id=_special(trainer.get(_BOS_ID, 1), len(tokens)),
        eos_id=_special(trainer.get(_EOS_ID, 2), len(tokens)),
        adds_space_prefix=bool(normalizer.get(_ADD_DUMMY_PREFIX, 1)),
    )


def _special(value: int | float | bytes, n_tokens: int) -> int | None:
    """A special token's id; a negative one, which is a varint of 64 bits, means that there is none."""
    return value if isinstance(value, int) and value < n_tokens else None


def _number(value: int | float | bytes) -> int | float:
    if isinstance(value, bytes):
        raise _BadWireError
    return value


def _fields(raw: bytes) -> Iterator[Field]:
    """The fields of a message: numbers of 32 bits as floating point, others as integers or bytes."""
    at, end = 0, len(raw)
    while at < end:
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(raw, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            length, at = _varint(raw, at)
            if length > end - at:
                raise _BadWireError
            yield tag >> 3, raw[at : at + length]
            at += length
        elif kind == _FIXED32:
            yield tag >> 3, struct.unpack_from("<f", raw, at)[0]
            at += 4
        elif kind == _FIXED64:
            at += 8
        else:
            raise _BadWireError


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """An integer of up to 64 bits and the position after it."""
    value = raw[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _BadWireError
