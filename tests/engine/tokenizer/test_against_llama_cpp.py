"""Token ids of hard texts are llama.cpp's, for every way to split words and for SentencePiece."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.checkpoints import Metadata, open_checkpoint
from engine.tokenizer import Tokenizer, load_tokenizer

DATA = Path(__file__).parents[1] / "data"
TEXTS: list[str] = json.loads((DATA / "hard_texts.json").read_text("utf-8"))
RECORDED: dict[str, dict[str, list[list[int]]]] = json.loads((DATA / "token_ids.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def starter_metadata(starter_model: Path) -> Metadata:
    return open_checkpoint(starter_model).metadata


@pytest.fixture(scope="module", params=sorted(RECORDED))
def tokenizer_and_ids(request: pytest.FixtureRequest) -> tuple[Tokenizer, dict[str, list[list[int]]]]:
    split: str = request.param
    if split == "sentencepiece":
        metadata = request.getfixturevalue("spm_metadata")
    else:
        metadata = request.getfixturevalue("starter_metadata") | {"tokenizer.ggml.pre": split}
        if RECORDED[split]["special"][0]:
            metadata |= {"tokenizer.ggml.add_bos_token": True}
    return load_tokenizer(metadata), RECORDED[split]


def test_plain_text(tokenizer_and_ids: tuple[Tokenizer, dict[str, list[list[int]]]]) -> None:
    tokenizer, recorded = tokenizer_and_ids
    for text, ids in zip(TEXTS, recorded["plain"], strict=True):
        assert tokenizer.encode(text, add_bos=False, parse_special=False) == ids, repr(text)


def test_with_special_tokens(tokenizer_and_ids: tuple[Tokenizer, dict[str, list[list[int]]]]) -> None:
    tokenizer, recorded = tokenizer_and_ids
    for text, ids in zip(TEXTS, recorded["special"], strict=True):
        assert tokenizer.encode(text, add_bos=tokenizer.add_bos, parse_special=True) == ids, repr(text)


def test_decoding_gives_the_text_back(tokenizer_and_ids: tuple[Tokenizer, dict[str, list[list[int]]]]) -> None:
    tokenizer, recorded = tokenizer_and_ids
    for text, ids in zip(TEXTS, recorded["plain"], strict=True):
        assert tokenizer.decode(ids) == text.replace("\u2581", " ") or "\u2581" in text, repr(text)
