"""Tokenizers of folders that came before tokenizer.json, or without it: what kind of files there are, by their names.

Source: the tokenizers' classes in the transformers repository, and those of Kimi, Hunyuan and the first Qwen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.checkpoints.small_files import read_json_object
from engine.checkpoints.tiktoken_model import ranks_metadata
from engine.checkpoints.tokenizer_json import vocab_and_merges_metadata
from engine.checkpoints.tokenizer_keys import BEGINS_WITH_SPACE, PREFIX, AddedToken
from engine.errors import UnsupportedModelError

VOCAB, MERGES, SPECIAL = "vocab.json", "merges.txt", "special_tokens_map.json"
KIMI, QWEN, HUNYUAN = "tiktoken.model", "qwen.tiktoken", "hy.tiktoken"

_SPLITS = {
    "GPT2Tokenizer": "gpt-2",
    "CodeGenTokenizer": "gpt-2",
    "RobertaTokenizer": "gpt-2",
    "Qwen2Tokenizer": "qwen2",
}
"""How the classes of tokenizers with `vocab.json` and `merges.txt` cut a text into words, by GGUF's name for it."""

_BY_ARCHITECTURE = {"qwen2": "Qwen2Tokenizer", "qwen2_moe": "Qwen2Tokenizer"}
"""The class, by the model_type, where the folder does not say; else it is GPT-2's."""

_END = "<|endoftext|>"
_EXTRAS = tuple(f"<|extra_{i}|>" for i in range(205))
_LISTED = {
    QWEN: ("qwen2", (_END, "<|im_start|>", "<|im_end|>", *_EXTRAS)),
    HUNYUAN: ("hunyuan", (_END, "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>", *_EXTRAS)),
}
"""GGUF's name for how these files' tokenizers cut a text into words, which is alike, and their special tokens as they
follow the ordinary ones; there may be fewer of the last ones."""

_RESERVED = 258
"""How many of Kimi's special tokens there are, of which the configuration names some."""


def older_metadata(
    folder: Path, n_vocab: int, options: Mapping[str, Any], config: Mapping[str, Any], added: Mapping[int, AddedToken]
) -> tuple[dict[str, object], list[Path]] | None:
    """Keys of a GGUF for such a tokenizer, and the files that they come from; None if there are none.

    options: of tokenizer_config.json. config: of the model. added: tokens that were added, by their ids.
    """
    if (folder / KIMI).is_file():
        return _kimi(folder / KIMI, n_vocab, added), [folder / KIMI]
    for name in _LISTED:
        if (folder / name).is_file():
            return _listed(folder / name, n_vocab), [folder / name]
    if (folder / VOCAB).is_file() and (folder / MERGES).is_file():
        files = [path for name in (VOCAB, MERGES, SPECIAL) if (path := folder / name).is_file()]
        return _vocab_and_merges(folder, n_vocab, options, config, added), files
    return None


def _vocab_and_merges(
    folder: Path, n_vocab: int, options: Mapping[str, Any], config: Mapping[str, Any], added: Mapping[int, AddedToken]
) -> dict[str, object]:
    kind = options.get("tokenizer_class")
    if not isinstance(kind, str):
        kind = _BY_ARCHITECTURE.get(str(config.get("model_type")), "GPT2Tokenizer")
    split = _SPLITS.get(kind.removesuffix("Fast"))
    if split is None:
        raise UnsupportedModelError(
            f"{folder} has a tokenizer of the kind {kind!r} without a tokenizer.json, which is not known here.",
            "Choose the model as GGUF, or put its tokenizer.json into this folder.",
        )
    named = _special_texts(folder, options)
    vocab = read_json_object(folder / VOCAB)
    special = {id_: AddedToken(text, special=True) for text in named if isinstance(id_ := vocab.get(text), int)}
    keys = vocab_and_merges_metadata(folder / VOCAB, folder / MERGES, n_vocab, {**added, **special})
    return keys | {
        PREFIX + "pre": split,
        PREFIX + "add_bos_token": options.get("add_bos_token") is True,
        BEGINS_WITH_SPACE: options.get("add_prefix_space") is True,
    }


def _special_texts(folder: Path, options: Mapping[str, Any]) -> set[str]:
    """The texts that the folder calls special."""
    path = folder / SPECIAL
    found: set[str] = {_END}
    for named in (options, read_json_object(path) if path.is_file() else {}):
        for name, value in named.items():
            if name.endswith("_token") or name == "additional_special_tokens":
                values = value if isinstance(value, list) else [value]
                texts = [each.get("content") if isinstance(each, dict) else each for each in values]
                found.update(text for text in texts if isinstance(text, str))
    return found


def _kimi(path: Path, n_vocab: int, added: Mapping[int, AddedToken]) -> dict[str, object]:
    """Those that the folder does not name are reserved."""

    def special(first: int) -> dict[int, AddedToken]:
        reserved = range(first, min(first + _RESERVED, n_vocab))
        return {id_: added.get(id_, AddedToken(f"<|reserved_token_{id_}|>", special=True)) for id_ in reserved}

    return ranks_metadata(path, n_vocab, "kimi-k2", special)


def _listed(path: Path, n_vocab: int) -> dict[str, object]:
    pre, texts = _LISTED[path.name]

    def special(first: int) -> dict[int, AddedToken]:
        return {first + i: AddedToken(text, special=True) for i, text in enumerate(texts[: max(n_vocab - first, 0)])}

    keys = ranks_metadata(path, n_vocab, pre, special)
    tokens = keys[PREFIX + "tokens"]
    assert isinstance(tokens, list)
    ends = {PREFIX + "eos_token_id": tokens.index(_END)} if _END in tokens else {}
    return keys | ends | {PREFIX + "add_bos_token": False}
