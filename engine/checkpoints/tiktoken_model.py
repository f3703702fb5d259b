"""Tokenizers in OpenAI's format, as Llama 3's is given out by Meta: lines of a token in base 64 and its rank.

There is no list of merges, and special tokens are in another file, or in whoever reads it.
Source: llama/tokenizer.py in Meta's llama3 repository, and TikTokenConverter in the transformers repository.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from engine.checkpoints.small_files import read_small
from engine.checkpoints.tokenizer_keys import BYTE_CHARS, AddedToken, TokenType
from engine.errors import ModelFileError

MAX_BYTES = 64 << 20
MAX_TOKEN_BYTES = 512

LLAMA_3_SPECIAL = 256

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


def is_llama_3(path: Path, n_vocab: int) -> bool:
    """Whether a tokenizer file is of this kind and leaves as many tokens to special ones as Llama 3 has."""
    raw = read_small(path, MAX_BYTES)
    return looks_like_tiktoken(raw[:1024]) and len(raw.splitlines()) == n_vocab - LLAMA_3_SPECIAL


def tiktoken_metadata(path: Path, n_vocab: int) -> dict[str, object]:
    """Keys of a GGUF for such a tokenizer and Llama 3's special tokens. Raises ModelFileError."""
    first = n_vocab

    def special(n_ranks: int) -> dict[int, AddedToken]:
        nonlocal first
        first = n_ranks
        if n_vocab - first < max(_NAMED) + 1:
            raise _unfit(path, first, n_vocab)
        texts = [_NAMED.get(i, f"<|reserved_special_token_{i}|>") for i in range(n_vocab - first)]
        return {first + i: AddedToken(text, special=True) for i, text in enumerate(texts)}

    return ranks_metadata(path, n_vocab, "llama-bpe", special) | {
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.eot_token_id": first + 9,
    }


def ranks_metadata(
    path: Path, n_vocab: int, pre: str, special: Callable[[int], Mapping[int, AddedToken]]
) -> dict[str, object]:
    """Keys of a GGUF for a tokenizer of n_vocab tokens. Raises ModelFileError.

    pre: GGUF's name for how words are cut. special: the tokens beside the ordinary ones by their ids, of which the
    first is given; ids that have no token are not used.
    """
    ranks = _read(path)
    added = special(len(ranks))
    if len(ranks) > n_vocab or any(id_ >= n_vocab for id_ in added):
        raise _unfit(path, len(ranks), n_vocab)
    others = range(len(ranks), n_vocab)
    types = array("i", [TokenType.NORMAL] * len(ranks))
    types.extend(added[id_].type if id_ in added else TokenType.UNUSED for id_ in others)
    tokens = [_text(token) for token in ranks]
    tokens += [added[id_].text if id_ in added else f"[PAD{id_}]" for id_ in others]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": Merges(ranks),
    }


def _unfit(path: Path, n_ranks: int, n_vocab: int) -> ModelFileError:
    return ModelFileError(
        f"{path} has {n_ranks} tokens, but the model knows {n_vocab} with the special ones.",
        "It is the tokenizer of another model.",
    )


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
