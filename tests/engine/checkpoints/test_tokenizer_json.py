"""tokenizer.json in a folder of Hugging Face's format, held against the library that writes such files."""

# ruff: noqa: RUF001 - the patterns name characters that look like others
from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, UnsupportedModelError
from engine.tokenizer import load_tokenizer
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder
from tests.engine.checkpoints.test_huggingface import change


@pytest.fixture
def folder(tmp_path: Path, write, tiny_llama) -> Path:
    return write.write_hugging_face(tmp_path / "model", tiny_llama)


LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")
SEED = QWEN_2.replace(r"\p{N}|", r"\p{N}{1}|").replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+")
LING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED, CONTRACTION = (rf"{UPPER}*{LOWER}+", rf"{UPPER}+{LOWER}*"), "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT_4O = "|".join(
    [
        *(rf"[^\r\n\p{{L}}\p{{N}}]?{cased}{CONTRACTION}" for cased in CASED),
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ]
)
DEEPSEEK_3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
DEEPSEEK_1 = (
    "[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯ]+",
    "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
    r"\s+$",
    "[一-龥ࠀ-一가-\ud7ff]+",
)
EXAONE_MOE = QWEN_2.replace(r"\p{L}+", r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+", 1)
EXAONE_MOE = EXAONE_MOE.replace(r"[\r\n]*", r"[\r\n/]?").replace(r"\s*[\r\n]+", r"\s*[\r\n]")
QWEN_35 = QWEN_2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")


def splits(*patterns: str, adds_prefix_space: bool = False) -> pre_tokenizers.PreTokenizer:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(adds_prefix_space, use_regex=False)])


def deepseek_1(*patterns: str, individual: bool = True) -> pre_tokenizers.PreTokenizer:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    digits = pre_tokenizers.Digits(individual_digits=individual)
    return pre_tokenizers.Sequence([*steps, digits, pre_tokenizers.ByteLevel(False, use_regex=False)])


def falcon(adds_prefix_space: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(adds_prefix_space),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    )


def smollm(adds_prefix_space: bool) -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(adds_prefix_space)])


class TestTokenizerJson:
    """tokenizer.json, compared with the library that wrote it."""

    TEXTS = (
        "Hello world's 12345 rivers,\n\n  twice  ",
        "Ich weiß: 3.14 é \t\r\n x",
        "don't STOP!!! ...",
        " the",
        "12 1",
    )

    @pytest.mark.parametrize(
        ("pre", "pre_tokenizer", "ignore_merges"),
        [
            ("llama-bpe", splits(LLAMA_3), True),
            ("dbrx", splits(LLAMA_3), False),
            ("qwen2", splits(QWEN_2), False),
            ("qwen35", splits(QWEN_35), False),
            ("gpt-4o", splits(GPT_4O), False),
            ("seed-coder", splits(SEED.replace(r"\r", "\r").replace(r"\n", "\n")), False),
            ("bailingmoe2", splits(LING), False),
            ("deepseek-v3", splits(*DEEPSEEK_3), False),
            ("deepseek-llm", deepseek_1(*DEEPSEEK_1, individual=False), False),
            ("deepseek-coder", deepseek_1("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_1[-1]), False),
            ("exaone-moe", splits(EXAONE_MOE), False),
            ("falcon", falcon(False), False),
            ("gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False), False),
            ("smollm", smollm(False), False),
            ("falcon", falcon(True), False),
            ("gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=True), False),
            ("gpt-2", pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True)]), False),
            ("smollm", smollm(True), False),
            ("dbrx", splits(LLAMA_3, adds_prefix_space=True), False),
        ],
    )
    def test_ids_are_those_of_the_library(
        self, folder: Path, write, tiny_llama, pre: str, pre_tokenizer, ignore_merges: bool
    ) -> None:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [
            ("e", "l"),
            ("r", "s"),
            ("Ġ", "t"),
            ("i", "v"),
            ("iv", "e"),
            ("r", "ive"),
            ("1", "2"),
            ("12", "3"),
            ("Ċ", "Ċ"),
        ]
        vocab = {token: id_ for id_, token in enumerate([*letters, *(a + b for a, b in merges)])}
        library = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
        library.pre_tokenizer = pre_tokenizer
        library.decoder = decoders.ByteLevel()
        library.add_special_tokens(["<|end_of_text|>"])
        (folder / "tokenizer.model").unlink()
        library.save(str(folder / "tokenizer.json"))
        change(folder / "tokenizer_config.json", eos_token={"content": "<|end_of_text|>"}, add_bos_token=False)
        metadata = open_checkpoint(folder).metadata
        assert metadata["tokenizer.ggml.pre"] == pre
        assert metadata["tokenizer.ggml.eos_token_id"] == library.token_to_id("<|end_of_text|>")
        tokenizer = load_tokenizer(metadata)
        for text in self.TEXTS:
            ids = tokenizer.encode(text, add_bos=False, parse_special=False)
            assert ids == library.encode(text, add_special_tokens=False).ids
        for text in ("rivers<|end_of_text|>the 12<|end_of_text|> rivers", "<|end_of_text|>\n1"):
            ids = tokenizer.encode(text, add_bos=False, parse_special=True)
            assert ids == library.encode(text, add_special_tokens=False).ids
        assert tokenizer.vocab_size == 696

    @pytest.mark.parametrize(
        "normalizer",
        [
            normalizers.Lowercase(),
            normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
            normalizers.Sequence([normalizers.Sequence([normalizers.BertNormalizer()])]),
        ],
    )
    def test_texts_that_are_changed_first_are_refused(self, folder: Path, normalizer) -> None:
        self.write(folder, normalizer)
        with pytest.raises(UnsupportedModelError, match=r"tokenizer\.json makes other texts of those that it is given"):
            open_checkpoint(folder)

    @pytest.mark.parametrize("normalizer", [normalizers.NFC(), normalizers.Sequence([]), normalizers.NFKC(), None])
    def test_texts_of_which_rare_characters_are_changed(self, folder: Path, normalizer) -> None:
        self.write(folder, normalizer)
        assert open_checkpoint(folder).metadata["tokenizer.ggml.model"] == "gpt2"

    def write(self, folder: Path, normalizer) -> None:
        """A tokenizer that has it, in place of the folder's own."""
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        library = Tokenizer(models.BPE({letter: id_ for id_, letter in enumerate(letters)}, []))
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if normalizer is not None:
            library.normalizer = normalizer
        (folder / "tokenizer.model").unlink()
        library.save(str(folder / "tokenizer.json"))

    @pytest.mark.parametrize(
        ("steps", "adds_prefix"),
        [
            ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend"}, {"type": "Replace"}]}}, True),
            ({"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "first"}}, True),
            ({"pre_tokenizer": {"type": "Metaspace", "add_prefix_space": True}}, True),
            ({"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}}, False),
            ({"pre_tokenizer": {"type": "Metaspace", "add_prefix_space": False}}, False),
            ({"normalizer": {"type": "Replace"}, "pre_tokenizer": {"type": "Split"}}, False),  # Gemma's
            ({"normalizer": [], "pre_tokenizer": {"pretokenizers": 3}}, False),
        ],
    )
    def test_sentencepiece_in_this_format(self, folder: Path, tiny_llama, steps: dict, adds_prefix: bool) -> None:
        prefix = {"tokenizer.ggml.add_space_prefix": adds_prefix}
        expected = load_tokenizer(open_checkpoint(folder).metadata | prefix)
        vocab = {text: id_ for id_, (text, _, _) in enumerate(tiny_llama.pieces)}
        special = [{"id": i, "content": text, "special": True} for i, text in enumerate(("<unk>", "<s>", "</s>"))]
        root = {"model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True}, "added_tokens": special}
        root |= steps
        (folder / "tokenizer.model").unlink()
        (folder / "tokenizer.json").write_text(json.dumps(root))
        found = load_tokenizer(open_checkpoint(folder).metadata)
        for text in self.TEXTS:
            options = {"add_bos": True, "parse_special": False}
            assert found.encode(text, **options) == expected.encode(text, **options)

    def test_it_counts_where_tokenizer_model_is_of_another_kind(self, folder: Path, tiny_llama) -> None:
        vocab = {text: id_ for id_, (text, _, _) in enumerate(tiny_llama.pieces)}
        root = {"model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True}}
        (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
        with pytest.raises(UnsupportedModelError, match="Llama 3 in Meta's own format"):
            open_checkpoint(folder)
        (folder / "tokenizer.json").write_text(json.dumps(root))
        assert open_checkpoint(folder).metadata["tokenizer.ggml.tokens"][695] == tiny_llama.pieces[695][0]

    @pytest.mark.parametrize(
        ("post_processor", "option", "begins"),
        [
            (processors.ByteLevel(), None, False),
            (processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)]), False, True),
            (processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 2)]), True, False),
            (
                processors.Sequence(
                    [processors.ByteLevel(), processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])]
                ),
                None,
                True,
            ),
            (None, False, False),
            (None, None, True),
        ],
    )
    def test_whether_texts_begin_with_a_token(self, folder: Path, post_processor, option, begins: bool) -> None:
        """As what is done at the end says; else as tokenizer_config.json does, else as such tokenizers do."""
        letters = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        library = Tokenizer(models.BPE({text: id_ for id_, text in enumerate(letters)}, [], ignore_merges=True))
        library.pre_tokenizer = splits(LLAMA_3)
        if post_processor is not None:
            library.post_processor = post_processor
        (folder / "tokenizer.model").unlink()
        library.save(str(folder / "tokenizer.json"))
        change(folder / "tokenizer_config.json", bos_token="<s>", eos_token="</s>", add_bos_token=option)
        assert load_tokenizer(open_checkpoint(folder).metadata).add_bos == begins

    def test_gemma_4s_is_merged_by_characters(self, tmp_path: Path, write) -> None:
        """Even beside a tokenizer.model; of its added tokens some are seen in answers."""
        twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "gemma4"))
        folder = write_folder(tmp_path / "model", twin, write, "gemma4")
        merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("e", "r"), ("r", "s"), ("\n", "\n")]
        letters = "abcdefghijklmnopqrstuvwxyzHI.3145▁'\n"
        texts = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
        vocab = {text: id_ for id_, text in enumerate([*texts, *(a + b for a, b in merges)])}
        library = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        library.normalizer = normalizers.Replace(" ", "▁")
        library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        library.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<|channel>"])
        library.save(str(folder / "tokenizer.json"))
        change(folder / "tokenizer_config.json", bos_token="<bos>", eos_token="<eos>")
        metadata = open_checkpoint(folder).metadata
        types = metadata["tokenizer.ggml.token_type"]
        assert (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.bos_token_id"]) == ("gemma4", 2)
        assert [types[library.token_to_id(text)] for text in ("<|turn>", "<|channel>", "<0x41>", "a")] == [3, 4, 6, 1]
        tokenizer = load_tokenizer(metadata)
        for text in ("the rivers' 3.14", " there\n\nher s", "Ich weiß é"):
            ids = tokenizer.encode(text, add_bos=True, parse_special=False)
            assert ids == [2, *library.encode(text, add_special_tokens=False).ids]

    @pytest.mark.parametrize(
        ("root", "match"),
        [
            ({}, "no BPE tokenizer"),
            ({"model": {"type": "Unigram", "vocab": []}}, "no BPE tokenizer"),
            ({"model": {"type": "BPE", "vocab": {"a": 696}}}, "the token 'a' has the id 696, but the model knows 696"),
            ({"model": {"type": "BPE", "vocab": {"a": -1}}}, "has the id -1"),
            ({"model": {"type": "BPE", "vocab": {"a": "0"}}}, "has the id '0'"),
            (
                {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Wordy"}},
                "splits words",
            ),
            ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "splits words"),
            ({"model": {"vocab": {"a": 0}, "merges": [7]}, "pre_tokenizer": {"type": "ByteLevel"}}, "7 is no merge"),
            ({"model": {"vocab": {"a": 0}}, "pre_tokenizer": {"type": "ByteLevel"}}, "has no merges"),
        ],
    )
    def test_what_is_refused(self, folder: Path, root: dict[str, object], match: str) -> None:
        (folder / "tokenizer.model").unlink()
        (folder / "tokenizer.json").write_text(json.dumps(root))
        with pytest.raises(EngineError, match=match):
            open_checkpoint(folder)
