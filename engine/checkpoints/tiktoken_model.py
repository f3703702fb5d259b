"""The tokenizer of Llama 3 as Meta gives it out: lines of a token in base 64 and its rank, and no list of merges.

Source: llama/tokenizer.py in Meta's llama3 repository, and TikTokenConverter in the transformers repository.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from engine.checkpoints.small_files import read_small
from engine.checkpoints.tokenizer_keys import BYTE_CHARS, TokenType
from engine.errors import ModelFileError

MAX_BYTES = 64 << 20
MAX_TOKEN_BYTES = 512

_NAMED = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}
"""The special tokens that have a meaning, by their place behind the ordinary ones; the others are reserved."""


class Merges(Sequence[str]):
    """What may be merged, found when it is first asked for: every two tokens that make a token, by its rank."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        self._ranks = ranks
        self._merges: list[str] | None = None

    def __len__(self) -> int:
        return len(self._found())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._found()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def _found(self) -> list[str]:
        if self._merges is None:
            ranks = self._ranks
            self._merges = [f"{_text(left)} {_text(right)}" for token in ranks for left, right in _halves(token, ranks)]
        return self._merges


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The ways to make a token of two others, those of low ranks first."""
    splits = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
    return sorted(splits, key=lambda split: (ranks[split[0]], ranks[split[1]])) if len(splits) > 1 else splits


def is_tiktoken(path: Path) -> bool:
    """Whether a tokenizer file is of this kind."""
    return looks_like_tiktoken(read_small(path, MAX_BYTES)[:1024])


def looks_like_tiktoken(head: bytes) -> bool:
    """Whether a file that begins so has a token in base 64 and the rank 0 on its first line."""
    line, _, _ = head.partition(b"\n")
    return line.endswith(b" 0") and line[:-2].isascii() and len(line) < 64


def tiktoken_metadata(path: Path, n_vocab: int) -> dict[str, object]:
    """Keys of a GGUF for such a tokenizer and Llama 3's special tokens. Raises ModelFileError."""
    ranks = _read(path)
    n_special = n_vocab - len(ranks)
    if n_special < max(_NAMED) + 1:
        raise ModelFileError(
            f"{path} has {len(ranks)} tokens, but the model knows {n_vocab} with the special ones.",
            "It is the tokenizer of another model.",
        )
    first = len(ranks)
    tokens = [_text(token) for token in ranks]
    tokens += [_NAMED.get(i, f"<|reserved_special_token_{i}|>") for i in range(n_special)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": array("i", [TokenType.NORMAL] * first + [TokenType.CONTROL] * n_special),
        "tokenizer.ggml.merges": Merges(ranks),
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.eot_token_id": first + 9,
    }


def _read(path: Path) -> dict[bytes, int]:
    """Every token with its rank, in order of the ranks, which count up from 0."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_small(path, MAX_BYTES).splitlines()):
        encoded, _, rank = line.partition(b" ")
        try:
            token = binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error:
            token = b""
        if not 1 <= len(token) <= MAX_TOKEN_BYTES or rank != str(number).encode() or token in ranks:
            raise ModelFileError(f"{path}: line {number + 1} is no token and its rank {number}.", "Fetch it again.")
        ranks[token] = number
    return ranks


def _text(token: bytes) -> str:
    return token.decode("latin-1").translate(BYTE_CHARS)
