"""The vocabulary of a ggml file as the tokenizer metadata of a GGUF."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from pathlib import Path

from engine.checkpoints.sentencepiece_model import read_sentencepiece
from engine.checkpoints.tokenizer_keys import ADDED_SCORE, TokenType
from engine.errors import EngineError

Entry = tuple[bytes, float | None]
"""A token's bytes and its score, if the file has scores."""

FIRST_BYTE, FIRST_MERGE = 3, 259
"""In LLaMA's vocabulary the bytes follow <unk>, <s> and </s>, and the pieces follow the bytes."""

LLAMA_TOKENS = 32_000
MAX_ADDED = 1_000
"""Vocabularies of a few more than LLaMA's tokens have had those added in training."""

_MARKER = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")
_REPLACEMENT = "\ufffd".encode()


def tokenizer_metadata(entries: Sequence[Entry], n_vocab: int, beside: Path | None) -> dict[str, object]:
    """Keys of a GGUF for these entries, filled up to n_vocab tokens.

    beside: a `tokenizer.model` with the scores that the oldest files lack; without one tokens count in their order,
    which in LLaMA's vocabulary is the order of the merges.
    """
    pieces = [_piece(id_, text) for id_, (text, _) in enumerate(entries)]
    pieces += [
        ("<pad>" if id_ == len(entries) else f"<pad {id_}>", TokenType.CONTROL) for id_ in range(len(entries), n_vocab)
    ]
    tokens = [text for text, _ in pieces]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": _scores(entries, pieces, beside),
        "tokenizer.ggml.token_type": array("i", [kind for _, kind in pieces]),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def _piece(id_: int, text: bytes) -> tuple[str, int]:
    """A token's text and type, as the SentencePiece model had them."""
    if id_ < FIRST_BYTE:
        return (("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL))[id_]
    if id_ < FIRST_MERGE and (len(text) == 1 or text in (b"", _REPLACEMENT)):
        return f"<0x{text[0] if len(text) == 1 else id_ - FIRST_BYTE:02X}>", TokenType.BYTE
    piece = text.decode("utf-8", "replace")
    if LLAMA_TOKENS <= id_ < LLAMA_TOKENS + MAX_ADDED:
        return piece, TokenType.CONTROL if _MARKER.fullmatch(piece) else TokenType.USER_DEFINED
    return piece.replace(" ", "\u2581"), TokenType.NORMAL


def _scores(entries: Sequence[Entry], pieces: Sequence[tuple[str, int]], beside: Path | None) -> array[float]:
    given = [score for _, score in entries if score is not None]
    if len(given) != len(entries):
        given = _scores_beside(beside, pieces, len(entries))
    ranks = [0.0 if kind != TokenType.NORMAL else float(FIRST_MERGE - id_) for id_, (_, kind) in enumerate(pieces)]
    scores = given or ranks[: len(entries)]
    return array("f", scores + [ADDED_SCORE] * (len(pieces) - len(scores)))


def _scores_beside(path: Path | None, pieces: Sequence[tuple[str, int]], n_entries: int) -> list[float]:
    """The scores of a `tokenizer.model` if it is of this vocabulary, else none."""
    if path is None:
        return []
    try:
        model = read_sentencepiece(path)
    except EngineError:
        return []
    n_shared = min(len(model.tokens), n_entries)
    same = all(pieces[id_][1] != TokenType.NORMAL or pieces[id_][0] == model.tokens[id_] for id_ in range(n_shared))
    return list(model.scores[:n_shared]) if same else []
