"""Folders without a tokenizer.json: the files that came before it, held against the libraries that read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Pipeline
from tokenizers import models, pre_tokenizers, trainers

from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.tokenizer import Tokenizer, load_tokenizer
from tests.engine.checkpoints.test_huggingface import change
from tests.engine.conftest import DATA

RECORDED = json.loads((DATA / "tiktoken_ids.json").read_text("utf-8"))
"""What tiktoken makes of texts with a few hundred ranks: see record_tiktoken.py."""


@pytest.fixture
def make_folder(tmp_path: Path, write):
    """A folder without a tokenizer, of a model with so many tokens."""

    def make(n_vocab: int) -> Path:
        pieces = [(f"{i}", 0.0, 1) for i in range(n_vocab)]
        folder = write.write_hugging_face(tmp_path / "model", write.TinyLlama(pieces, dim=64, hidden_dim=64))
        (folder / "tokenizer.model").unlink()
        change(folder / "config.json", bos_token_id=None, eos_token_id=None)
        return folder

    return make


def tokenizer_of(folder: Path) -> Tokenizer:
    return load_tokenizer(open_checkpoint(folder).metadata)


def write_ranks(path: Path, name: str) -> int:
    """The recorded ranks as a file; how many there are."""
    ranks = RECORDED[name]["ranks"]
    path.write_text("".join(f"{token} {rank}\n" for rank, token in enumerate(ranks)))
    return len(ranks)


class TestVocabAndMerges:
    """vocab.json and merges.txt, as GPT-2 and the first folders of Qwen 2 have them."""

    TEXTS = ("The river's 12345 stones", "it isn't\n\n  wide; é \t x", "flows FLOWS!!! ... 我们", " the", "", "\r\n x")

    @pytest.fixture
    def library(self) -> Pipeline:
        """A tokenizer that has learned 400 tokens, the last one of which ends a text."""
        found = Pipeline(models.BPE())
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        lines = [f"The river number {i} flows to the sea over {i * i} stones; it's wide\n" for i in range(300)]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        found.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=399, initial_alphabet=alphabet))
        found.add_special_tokens(["<|endoftext|>"])
        return found

    @pytest.fixture
    def folder(self, make_folder, library: Pipeline) -> Path:
        folder = make_folder(402)
        library.model.save(str(folder))
        vocab = json.loads((folder / "vocab.json").read_text())
        (folder / "vocab.json").write_text(json.dumps(vocab | {"<|endoftext|>": library.token_to_id("<|endoftext|>")}))
        return folder

    def check(self, folder: Path, library: Pipeline) -> None:
        tokenizer = tokenizer_of(folder)
        for text in self.TEXTS:
            assert tokenizer.encode(text, add_bos=False, parse_special=False) == library.encode(text).ids
        text = "wide<|endoftext|>the sea"
        assert tokenizer.encode(text, add_bos=False, parse_special=True) == library.encode(text).ids

    def test_ids_are_those_of_the_library(self, folder: Path, library: Pipeline) -> None:
        self.check(folder, library)
        tokenizer = tokenizer_of(folder)
        assert (tokenizer.vocab_size, tokenizer.add_bos) == (402, False)
        assert tokenizer.end_ids == {library.token_to_id("<|endoftext|>")}
        assert tokenizer.vocabulary.types[400:] == [5, 5]
        assert {folder / "vocab.json", folder / "merges.txt"} < set(open_checkpoint(folder).files)

    def test_a_space_before_texts(self, folder: Path, library: Pipeline) -> None:
        change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", add_prefix_space=True)
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        self.check(folder, library)

    @pytest.mark.parametrize(
        ("options", "config", "split"),
        [
            ({"tokenizer_class": "Qwen2Tokenizer"}, {}, "qwen2"),
            ({"tokenizer_class": "GPT2TokenizerFast"}, {"model_type": "qwen2"}, "gpt-2"),
            ({}, {"model_type": "qwen2"}, "qwen2"),
            ({}, {}, "gpt-2"),
        ],
    )
    def test_how_words_are_cut(self, folder: Path, options: dict, config: dict, split: str) -> None:
        change(folder / "tokenizer_config.json", **options)
        change(folder / "config.json", **config)
        assert open_checkpoint(folder).metadata["tokenizer.ggml.pre"] == split

    def test_special_tokens_from_wherever_they_are_named(self, folder: Path) -> None:
        change(folder / "added_tokens.json", **{"<|im_start|>": 400, "river": 401})
        change(folder / "special_tokens_map.json", eos_token={"content": "é"}, additional_special_tokens=["the", 7])
        change(folder / "tokenizer_config.json", bos_token="<|endoftext|>", add_bos_token=True)
        vocab = json.loads((folder / "vocab.json").read_text())
        change(folder / "vocab.json", é=vocab.pop("z"), the=vocab.pop("0"), z=None, **{"0": None})
        tokenizer = tokenizer_of(folder)
        kinds = {text: tokenizer.vocabulary.types[tokenizer.vocabulary.tokens.index(text)] for text in ("é", "the")}
        assert kinds == {"é": 3, "the": 3}
        assert tokenizer.vocabulary.types[400:] == [3, 4]
        assert tokenizer.encode("a", add_bos=True, parse_special=False)[0] == 399
        assert tokenizer.add_bos

    def test_a_class_that_cuts_otherwise_is_refused(self, folder: Path) -> None:
        change(folder / "tokenizer_config.json", tokenizer_class="CLIPTokenizer")
        with pytest.raises(UnsupportedModelError, match=r"the kind 'CLIPTokenizer' without a tokenizer\.json"):
            open_checkpoint(folder)

    def test_one_file_alone_is_no_tokenizer(self, folder: Path) -> None:
        (folder / "merges.txt").unlink()
        with pytest.raises(ModelFileError, match=r"neither tokenizer\.model nor tokenizer\.json"):
            open_checkpoint(folder)

    def test_of_another_model(self, folder: Path) -> None:
        change(folder / "vocab.json", far=402)
        with pytest.raises(ModelFileError, match="the token 'far' has the id 402, but the model knows 402 tokens"):
            open_checkpoint(folder)


class TestRanks:
    """Ranks of tokens, as tiktoken reads them; special tokens are elsewhere, or nowhere."""

    def check(self, folder: Path, name: str) -> Tokenizer:
        tokenizer = tokenizer_of(folder)
        for text, ids in RECORDED[name]["texts"]:
            assert tokenizer.encode(text, add_bos=False, parse_special=False) == ids, text
            assert tokenizer.decode(ids) == text
        return tokenizer

    def test_the_first_qwen(self, make_folder) -> None:
        n_ranks = len(RECORDED["qwen"]["ranks"])
        folder = make_folder(n_ranks + 213)
        write_ranks(folder / "qwen.tiktoken", "qwen")
        tokenizer = self.check(folder, "qwen")
        tokens = tokenizer.vocabulary.tokens
        assert tokens[n_ranks : n_ranks + 4] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>"]
        assert tokens[n_ranks + 207 :] == ["<|extra_204|>", *(f"[PAD{n_ranks + i}]" for i in range(208, 213))]
        assert tokenizer.vocabulary.types[n_ranks + 206 :] == [3, 3, 5, 5, 5, 5, 5]
        assert (tokenizer.eos_id, tokenizer.add_bos) == (n_ranks, False)
        assert tokenizer.end_ids == {n_ranks, n_ranks + 2}

    def test_hunyuan(self, make_folder) -> None:
        """Some have an extra token less."""
        n_ranks = len(RECORDED["qwen"]["ranks"])
        folder = make_folder(n_ranks + 209)
        write_ranks(folder / "hy.tiktoken", "qwen")
        change(folder / "tokenizer_config.json", bos_token="<|startoftext|>", eos_token="<|eos|>")
        tokenizer = self.check(folder, "qwen")
        tokens = tokenizer.vocabulary.tokens
        assert tokens[n_ranks + 2 : n_ranks + 6] == ["<|bos|>", "<|eos|>", "<|pad|>", "<|extra_0|>"]
        assert tokens[-1] == "<|extra_203|>"
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (n_ranks + 1, n_ranks + 3, False)
        assert tokenizer.end_ids == {n_ranks, n_ranks + 3}

    def test_kimi(self, make_folder) -> None:
        n_ranks = len(RECORDED["kimi"]["ranks"])
        folder = make_folder(n_ranks + 260)
        write_ranks(folder / "tiktoken.model", "kimi")
        named = {n_ranks: "[BOS]", n_ranks + 1: "[EOS]", n_ranks + 2: "<|im_end|>"}
        decoder = {str(id_): {"content": text, "special": True} for id_, text in named.items()}
        change(
            folder / "tokenizer_config.json", added_tokens_decoder=decoder, bos_token="[BOS]", eos_token="<|im_end|>"
        )
        tokenizer = self.check(folder, "kimi")
        tokens = tokenizer.vocabulary.tokens
        assert tokens[n_ranks + 2 : n_ranks + 4] == ["<|im_end|>", f"<|reserved_token_{n_ranks + 3}|>"]
        assert tokenizer.vocabulary.types[n_ranks + 257 :] == [3, 5, 5]
        assert (tokenizer.bos_id, tokenizer.eos_id) == (n_ranks, n_ranks + 2)
        text = "the<|im_end|>sea"
        assert tokenizer.encode(text, add_bos=False, parse_special=True).count(n_ranks + 2) == 1

    def test_llama_3_in_a_folder(self, make_folder) -> None:
        n_ranks = len(RECORDED["llama-3"]["ranks"])
        folder = make_folder(n_ranks + 256)
        write_ranks(folder / "tokenizer.model", "llama-3")
        tokenizer = self.check(folder, "llama-3")
        assert tokenizer.vocabulary.tokens[n_ranks + 9] == "<|eot_id|>"
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (n_ranks, n_ranks + 1, True)

    def test_in_the_place_of_another_models(self, make_folder) -> None:
        folder = make_folder(500)
        write_ranks(folder / "tokenizer.model", "llama-3")
        with pytest.raises(UnsupportedModelError, match="does not belong to this model"):
            open_checkpoint(folder)

    @pytest.mark.parametrize(("name", "file"), [("kimi", "tiktoken.model"), ("qwen", "qwen.tiktoken")])
    def test_of_another_model(self, make_folder, name: str, file: str) -> None:
        folder = make_folder(300)
        write_ranks(folder / file, name)
        with pytest.raises(EngineError, match=rf"{file} has {len(RECORDED[name]['ranks'])} tokens, but .* knows 300"):
            open_checkpoint(folder)
