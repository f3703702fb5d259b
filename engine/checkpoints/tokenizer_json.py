"""`tokenizer.json`, as the `tokenizers` library writes it, as the tokenizer metadata of a GGUF."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.checkpoints.small_files import MAX_JSON_BYTES, read_large_json_object, read_small
from engine.checkpoints.tokenizer_keys import (
    ADDED_SCORE,
    BEGINS_WITH_SPACE,
    MAX_VOCAB,
    PREFIX,
    AddedToken,
    TokenType,
)
from engine.errors import ModelFileError, UnsupportedModelError

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_MARKED_WORDS = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
_MARKED_REST = r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HEAD = r"[^\r\n\p{L}\p{N}]?"
_REST_WITH_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_CASED, _CASED_LETTERS = "cased letters", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-"
"""DeepSeek's list of letters that have a case, and how it begins."""
_DEEPSEEK = (
    r"[\r\n]",
    _CASED,
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
)

_SPLITS = {
    (*_DEEPSEEK, "digits"): "deepseek-llm",
    (*_DEEPSEEK, "Digits"): "deepseek-llm",
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK[-1], "digits"): "deepseek-coder",
    ("Punctuation", "bytes", "Digits", "[0-9][0-9][0-9]"): "falcon",
    (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    ): "exaone-moe",
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",): "llama-bpe",
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",): "qwen2",
    (rf"{_CONTRACTIONS}|{_MARKED_WORDS}|\p{{N}}|{_MARKED_REST}",): "qwen35",
    (rf"{_HEAD}{_UPPER}*{_LOWER}+|{_HEAD}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST_WITH_SLASH}",): "tekken",
    (
        rf"{_HEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_HEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
        rf"|{_REST_WITH_SLASH}",
    ): "gpt-4o",
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",): "seed-coder",
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ): "bailingmoe2",
    (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "deepseek-v3",
}
"""How a text is cut into words before merging, in the words of tokenizer.json, and GGUF's name for it.

"bytes": GPT-2's pattern; "digits": each digit alone; "Digits": all together; DeepSeek's digits have no merges, so that
it does not matter. Line breaks stand in some files as they are; here as escapes.
"""

_WITHOUT_IGNORED_MERGES = {"llama-bpe": "dbrx"}
"""The same words, but merges count even where a word is a token as a whole."""


_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace", "Strip")
"""What may be done to a text first: none of it changes more than spaces and rare characters, which llama.cpp leaves as
they are, too. What makes other letters of it is not left out."""

_VERSION = "#version"
"""How the first line of a `merges.txt` begins."""

_SEEN = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>')
"""Gemma 4's added tokens that answers show. Source: llama.cpp's converter."""


def tokenizer_json_metadata(path: Path, n_vocab: int, *, by_characters: bool = False) -> dict[str, object]:
    """Keys of a GGUF for a tokenizer.json, filled up to n_vocab tokens.

    by_characters: a vocabulary like SentencePiece's has merges that count, as Gemma 4's.

    Raises UnsupportedModelError for tokenizers that are not BPE or split words in a way that is not known.
    """
    root = read_large_json_object(path)
    model = root.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UnsupportedModelError(f"{path} is no BPE tokenizer.", "Choose the model as GGUF, or another one.")
    _check_normalizers(root.get("normalizer"), path)
    added = dict(_added_tokens(root))
    tokens = _tokens(model["vocab"], added, n_vocab, path)
    keys: dict[str, object] = {PREFIX + "tokens": tokens} | _begins_texts(root)
    if model.get("byte_fallback") is True and by_characters:
        return keys | _by_characters(tokens, added, _merges(model.get("merges"), path))
    if model.get("byte_fallback") is True:
        prefix = {PREFIX + "add_space_prefix": _adds_space_prefix(root)}
        return keys | _sentencepiece_like(tokens, added) | prefix
    return keys | {
        PREFIX + "model": "gpt2",
        PREFIX + "pre": _split_name(root, path),
        BEGINS_WITH_SPACE: _begins_with_space(root.get("pre_tokenizer")),
        PREFIX + "token_type": _byte_level_types(tokens, added),
        PREFIX + "merges": _merges(model.get("merges"), path),
    }


def vocab_and_merges_metadata(
    vocab_path: Path, merges_path: Path, n_vocab: int, added: Mapping[int, AddedToken]
) -> dict[str, object]:
    """The same for the two files that came before: `vocab.json` and `merges.txt`, which say nothing of words."""
    tokens = _tokens(read_large_json_object(vocab_path), added, n_vocab, vocab_path)
    lines = read_small(merges_path, MAX_JSON_BYTES).decode("utf-8", "replace").split("\n")
    merges = [line.rstrip("\r") for line in lines if line.strip() and not line.startswith(_VERSION)]
    return {
        PREFIX + "model": "gpt2",
        PREFIX + "tokens": tokens,
        PREFIX + "token_type": _byte_level_types(tokens, added),
        PREFIX + "merges": merges,
    }


def _byte_level_types(tokens: list[str], added: Mapping[int, AddedToken]) -> array[int]:
    types = array("i", [added[id_].type if id_ in added else TokenType.NORMAL for id_ in range(len(tokens))])
    for id_, token in enumerate(tokens):
        if token == _filler(id_):
            types[id_] = TokenType.UNUSED
    return types


def _check_normalizers(step: object, path: Path) -> None:
    steps = [step]
    while steps:
        step = steps.pop()
        if not isinstance(step, dict):
            continue
        kind = step.get("type")
        inner = step.get("normalizers") if kind == "Sequence" else None
        if isinstance(inner, list):
            steps += inner
        elif kind not in _NORMALIZERS:
            raise UnsupportedModelError(
                f"{path} makes other texts of those that it is given ({kind!r}), in a way that is not known here.",
                "Choose another model.",
            )


def _added_tokens(root: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    entries = root.get("added_tokens")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and isinstance(entry.get("id"), int):
            yield entry["id"], AddedToken(entry["content"], special=entry.get("special") is True)


def _tokens(vocab: Mapping[str, Any], added: Mapping[int, AddedToken], n_vocab: int, path: Path) -> list[str]:
    texts = {token: id_ for token, id_ in vocab.items()} | {token.text: id_ for id_, token in added.items()}
    if not 1 <= n_vocab <= MAX_VOCAB:
        raise ModelFileError(f"{path}: a vocabulary of {n_vocab} tokens is not possible.", "Fetch the model again.")
    tokens = [_filler(id_) for id_ in range(n_vocab)]
    for text, id_ in texts.items():
        if isinstance(id_, bool) or not isinstance(id_, int) or not 0 <= id_ < n_vocab:
            raise ModelFileError(
                f"{path}: the token {text!r} has the id {id_!r}, but the model knows {n_vocab} tokens.",
                "It is the tokenizer of another model.",
            )
        tokens[id_] = text
    return tokens


def _filler(id_: int) -> str:
    return f"[PAD{id_}]"


def _sentencepiece_like(tokens: list[str], added: Mapping[int, AddedToken]) -> dict[str, object]:
    """Keys for a SentencePiece vocabulary in this format: it has no scores, but ids in the order of its merges."""
    types, scores = array("i"), array("f")
    for id_, token in enumerate(tokens):
        kind = _sentencepiece_type(id_, token, added)
        types.append(kind)
        scores.append(float(-id_) if kind == TokenType.NORMAL else 0.0 if kind != TokenType.UNUSED else ADDED_SCORE)
    return {PREFIX + "model": "llama", PREFIX + "scores": scores, PREFIX + "token_type": types}


def _by_characters(tokens: list[str], added: Mapping[int, AddedToken], merges: list[str]) -> dict[str, object]:
    """Keys for Gemma 4's vocabulary, some of whose added tokens are to be seen in answers."""
    seen = {
        id_: AddedToken(token.text, special=token.special and token.text not in _SEEN) for id_, token in added.items()
    }
    return _sentencepiece_like(tokens, seen) | {
        PREFIX + "model": "gemma4",
        PREFIX + "merges": merges,
        PREFIX + "add_space_prefix": False,
        PREFIX + "add_bos_token": True,
    }


def _begins_texts(root: Mapping[str, Any]) -> dict[str, object]:
    """Whether texts begin with a special token, if the file says what is done to them at the end."""
    steps = list(_inner_steps(root.get("post_processor")))
    templates = [step.get("single") for step in steps if step.get("type") == "TemplateProcessing"]
    if not templates and not any(step.get("type") == "ByteLevel" for step in steps):
        return {}
    first = templates[0][0] if templates and isinstance(templates[0], list) and templates[0] else None
    return {PREFIX + "add_bos_token": isinstance(first, dict) and "SpecialToken" in first}


def _adds_space_prefix(root: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text: a step of the normalizer, or of the pre-tokenizer."""
    steps = [*_inner_steps(root.get("normalizer")), *_inner_steps(root.get("pre_tokenizer"))]
    return any(
        step.get("type") == "Prepend"
        or (
            step.get("type") == "Metaspace"
            and step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never") != "never"
        )
        for step in steps
    )


def _begins_with_space(step: object) -> bool:
    """Whether bytes are made of a text that has a space put before it, where it has none."""
    steps = [step, *_inner_steps(step)]
    return any(
        isinstance(each, dict) and each.get("type") == "ByteLevel" and each.get("add_prefix_space") is True
        for each in steps
    )


def _inner_steps(step: object) -> Iterator[Mapping[str, Any]]:
    """A step, or those of a sequence."""
    if isinstance(step, dict):
        inner = step.get("normalizers") or step.get("pretokenizers") or step.get("processors")
        for each in inner if isinstance(inner, list) else [step]:
            if isinstance(each, dict):
                yield each


def _sentencepiece_type(id_: int, token: str, added: Mapping[int, AddedToken]) -> int:
    if token == "<unk>":
        return TokenType.UNKNOWN
    if id_ in added:
        return added[id_].type
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return TokenType.BYTE
    return TokenType.UNUSED if token == _filler(id_) else TokenType.NORMAL


def _merges(merges: object, path: Path) -> list[str]:
    """Each merge as its two halves with a space between; newer files have lists of two."""
    if not isinstance(merges, list):
        raise ModelFileError(f"{path} has no merges.", "Fetch the file again.")
    return [merge if isinstance(merge, str) else _joined(merge, path) for merge in merges]


def _joined(halves: object, path: Path) -> str:
    if isinstance(halves, list) and len(halves) == 2 and isinstance(halves[0], str) and isinstance(halves[1], str):
        return f"{halves[0]} {halves[1]}"
    raise ModelFileError(f"{path}: {halves!r} is no merge.", "Fetch the file again.")


def _split_name(root: Mapping[str, Any], path: Path) -> str:
    signature = tuple(_steps(root.get("pre_tokenizer")))
    name = _SPLITS.get(signature)
    if name is None:
        raise UnsupportedModelError(
            f"{path} splits words in a way that is not known here.",
            "Choose the model as GGUF, where this has a name, or look for a newer llm-tui.",
        )
    model = root["model"]
    return name if model.get("ignore_merges") is True else _WITHOUT_IGNORED_MERGES.get(name, name)


def _steps(step: object) -> Iterator[str]:
    """What a pre-tokenizer does, as the keys of the table of splits are written."""
    if not isinstance(step, dict):
        return
    kind = step.get("type")
    if kind == "Sequence":
        inner = step.get("pretokenizers")
        for each in inner if isinstance(inner, list) else []:
            yield from _steps(each) if not _is_sequence(each) else ["nested"]
    elif kind == "Split":
        pattern = step.get("pattern")
        text = str(pattern.get("Regex") or pattern.get("String")) if isinstance(pattern, dict) else "split"
        text = text.replace("\r", r"\r").replace("\n", r"\n")
        yield _CASED if text.startswith(_CASED_LETTERS) else text
    elif kind == "ByteLevel":
        if step.get("use_regex", True) is True:
            yield "bytes"
    elif kind == "Digits" and step.get("individual_digits") is True:
        yield "digits"
    else:
        yield str(kind)


def _is_sequence(step: object) -> bool:
    return isinstance(step, dict) and step.get("type") == "Sequence"
