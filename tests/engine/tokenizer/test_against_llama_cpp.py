"""Token ids of hard texts are llama.cpp's, for every way to split words and for SentencePiece."""

from __future__ import annotations

import json
import zlib
from array import array
from pathlib import Path

import pytest
import sentencepiece

from engine.checkpoints import Metadata, open_checkpoint
from engine.checkpoints.tokenizer_files import sentencepiece_metadata
from engine.tokenizer import Tokenizer, load_tokenizer
from tests.engine.data import merged_vocabulary

DATA = Path(__file__).parents[1] / "data"
TEXTS: list[str] = json.loads((DATA / "hard_texts.json").read_text("utf-8"))
RECORDED: dict[str, dict[str, list[list[int]]]] = json.loads((DATA / "token_ids.json").read_text("utf-8"))
RANDOM_TEXTS: list[str] = json.loads((DATA / "random_texts.json").read_text("utf-8"))
CHECKSUMS: dict[str, list[int]] = json.loads((DATA / "random_token_ids.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def starter_metadata(starter_model: Path) -> Metadata:
    return open_checkpoint(starter_model).metadata


def merged_metadata(kind: str) -> Metadata:
    """What a GGUF with the vocabulary of merges says about it."""
    texts, scores, types = zip(*merged_vocabulary.pieces(), strict=True)
    return Metadata(
        {
            "tokenizer.ggml.model": kind,
            "tokenizer.ggml.pre": "sarvam-moe" if kind == "gpt2" else kind,
            "tokenizer.ggml.tokens": list(texts),
            "tokenizer.ggml.scores": array("f", scores),
            "tokenizer.ggml.token_type": array("i", types),
            "tokenizer.ggml.merges": merged_vocabulary.merges(),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0,
        }
    )


def plamo_metadata(kind: str) -> Metadata:
    """The same of pieces that are chosen by their scores alone."""
    texts, scores, types = zip(*merged_vocabulary.plamo_pieces(), strict=True)
    return Metadata(
        {
            "tokenizer.ggml.model": kind,
            "tokenizer.ggml.tokens": list(texts),
            "tokenizer.ggml.scores": array("f", scores),
            "tokenizer.ggml.token_type": array("i", types),
        }
    )


@pytest.fixture(scope="module", params=sorted(RECORDED))
def split(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer_and_ids(request: pytest.FixtureRequest, split: str) -> tuple[Tokenizer, dict[str, list[list[int]]]]:
    if split == "sentencepiece":
        metadata = request.getfixturevalue("spm_metadata")
    elif split in ("plamo2", "plamo3"):
        metadata = plamo_metadata(split)
    elif split in ("gemma4", "sarvam-moe"):
        metadata = merged_metadata("gemma4" if split == "gemma4" else "gpt2")
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


def test_random_texts(tokenizer_and_ids: tuple[Tokenizer, dict[str, list[list[int]]]], split: str) -> None:
    tokenizer, _ = tokenizer_and_ids
    for text, checksum in zip(RANDOM_TEXTS, CHECKSUMS[split], strict=True):
        plain = tokenizer.encode(text, add_bos=False, parse_special=False)
        special = tokenizer.encode(text, add_bos=tokenizer.add_bos, parse_special=True)
        assert zlib.crc32(json.dumps([plain, special]).encode()) == checksum, ascii(text)


def test_a_tokenizer_model_file_gives_the_librarys_ids(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(TEXTS + RANDOM_TEXTS).replace("\0", ""), "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    file = tmp_path / "tokenizer.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(file))
    tokenizer = load_tokenizer(sentencepiece_metadata(file, library.vocab_size(), {}))
    for text in TEXTS + RANDOM_TEXTS:
        # "<unk>" in a text is that token to llama.cpp, and text to the library.
        if tokenizer.split(text, parse_special=False) == [text]:
            assert tokenizer.encode(text, add_bos=False, parse_special=False) == library.encode(text), ascii(text)


def test_decoding_gives_the_text_back(tokenizer_and_ids: tuple[Tokenizer, dict[str, list[list[int]]]]) -> None:
    tokenizer, recorded = tokenizer_and_ids
    for text, ids in zip(TEXTS, recorded["plain"], strict=True):
        # PLaMo 2 drops a byte order mark, but only where a text begins.
        said = [char for char in text if tokenizer.encode(char, add_bos=False, parse_special=False) or char == "\ufeff"]
        sayable = "".join(said)
        assert tokenizer.decode(ids) == sayable.replace("\u2581", " ") or "\u2581" in text, repr(text)
