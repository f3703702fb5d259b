"""What a tokenizer does beyond ids: special tokens, ends, pieces, and vocabularies that are not sound."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints import open_checkpoint
from engine.checkpoints.tokenizer_keys import TokenType
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.tokenizer import Tokenizer, load_tokenizer

Metadata = dict[str, object]


@pytest.fixture(scope="module")
def spm(spm_metadata: Metadata) -> Tokenizer:
    return load_tokenizer(spm_metadata)


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> Tokenizer:
    return load_tokenizer(open_checkpoint(starter_model).metadata)


@pytest.fixture(scope="module")
def starter_bytes(starter: Tokenizer) -> frozenset[int]:
    return frozenset(b"".join({starter.piece_bytes(id_) for id_ in range(starter.vocab_size)}))


def bpe_metadata(tokens: list[str], merges: list[str], **more: object) -> Metadata:
    found = {"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "merges": merges} | more
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


class TestSpecialTokens:
    """Tokens that are not text."""

    def test_ids_of_the_starter(self, starter: Tokenizer) -> None:
        assert starter.vocab_size == 49_152
        assert (starter.bos_id, starter.eos_id, starter.add_bos) == (1, 2, False)
        assert {0, 2} <= starter.end_ids

    def test_ends_are_known_by_id_and_by_text(self, spm: Tokenizer) -> None:
        texts = {spm.vocabulary.tokens[id_] for id_ in spm.end_ids}
        assert texts == {"</s>", "<|im_end|>", "<|endoftext|>"}

    def test_other_named_ends(self) -> None:
        metadata = bpe_metadata(["a", "b", "stop"], [], eot_token_id=2, eos_token_id=1)
        assert load_tokenizer(metadata).end_ids == {1, 2}

    def test_ends_of_whoever_fills_gaps_or_batches(self) -> None:
        metadata = bpe_metadata(["a", "[PAD]", "repo", "d"], [], eos_token_id=0, fim_rep_token_id=2)
        assert load_tokenizer(metadata).end_ids == {0, 1, 2}

    def test_ids_of_tokens_that_there_are_none_of(self) -> None:
        ids = {"eos_token_id": 2**32 - 1, "eot_token_id": 2, "unknown_token_id": 99_999, "bos_token_id": 1}
        tokenizer = load_tokenizer(bpe_metadata(["a", "b"], [], **ids))
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (1, None, frozenset())
        assert tokenizer.vocabulary.unknown_id is None

    def test_ids_that_no_token_has_are_those_of_llama(self, spm: Tokenizer, spm_metadata: Metadata) -> None:
        ids = {f"tokenizer.ggml.{name}_token_id": 705 + i for i, name in enumerate(("bos", "eos", "unknown"))}
        tokenizer = load_tokenizer(spm_metadata | ids)
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (1, 2, spm.end_ids)
        assert tokenizer.vocabulary.unknown_id == 0

    def test_an_end_that_only_parts_messages(self) -> None:
        tokens = ["<|end|>", "<|return|>", "<|call|>"]
        assert load_tokenizer(bpe_metadata(tokens, [])).end_ids == {1, 2}
        assert load_tokenizer(bpe_metadata(tokens[:2], [])).end_ids == {0, 1}

    def test_parsed_only_when_asked(self, starter: Tokenizer) -> None:
        text = "a<|im_end|>b"
        assert 2 in starter.encode(text, add_bos=False, parse_special=True)
        plain = starter.encode(text, add_bos=False, parse_special=False)
        assert not starter.end_ids & set(plain)
        assert starter.decode(plain) == text

    def test_control_tokens_do_not_arise_from_text(self) -> None:
        tokens = ["E", "N", "D", "EN", "END"]
        for pre in ("gpt-2", "llama-bpe"):
            metadata = bpe_metadata(
                tokens, ["E N", "EN D"], token_type=array("i", [1] * 4 + [3]), eos_token_id=4, pre=pre
            )
            tokenizer = load_tokenizer(metadata)
            assert tokenizer.encode("END", add_bos=False, parse_special=False) == [3, 2]
            assert tokenizer.encode("END", add_bos=False, parse_special=True) == [4]

    @pytest.mark.parametrize("pre", ["glm4", "glm5", "chatglm-bpe"])
    def test_a_word_that_no_merges_make_is_a_token_to_glm_since_its_fourth(self, pre: str) -> None:
        tokenizer = load_tokenizer(bpe_metadata(["h", "e", "y", "he", "hey"], ["h e"], pre=pre))
        ids = tokenizer.encode("hey", add_bos=False, parse_special=False)
        assert ids == ([3, 2] if pre == "chatglm-bpe" else [4])
        assert not tokenizer.add_bos

    def test_bos_is_added_on_request(self, spm: Tokenizer) -> None:
        assert spm.add_bos
        assert spm.encode("", add_bos=True, parse_special=False) == [1]
        assert spm.encode("", add_bos=False, parse_special=False) == []

    def test_white_space_after_the_special_tokens_of_phi_3(self, spm_metadata: Metadata) -> None:
        phi = load_tokenizer(spm_metadata | {"general.name": "Phi-3 mini"})
        assert phi.split("<|im_end|>\n x<s> y", parse_special=True)[1:] == ["x", 1, " y"]

    def test_the_longest_special_token_wins(self) -> None:
        tokens = ["<a>", "<a><b>", "a", "b", "<", ">"]
        metadata = bpe_metadata(tokens, [], token_type=array("i", [3, 3, 1, 1, 1, 1]))
        assert load_tokenizer(metadata).encode("<a><b><a>", add_bos=False, parse_special=True) == [1, 0]


class TestPieces:
    """Single tokens as bytes for the answer, and as text for people."""

    def test_control_tokens_are_silent_in_an_answer(self, starter: Tokenizer) -> None:
        assert starter.piece_bytes(2) == b""
        assert starter.piece_text(2) == "<|im_end|>"
        assert starter.decode([2]) == "<|im_end|>"

    def test_user_defined_tokens_are_text(self, spm: Tokenizer) -> None:
        (id_,) = spm.encode("<|im_start|>", add_bos=False, parse_special=True)
        assert spm.piece_bytes(id_) == b"<|im_start|>"

    def test_byte_tokens(self, spm: Tokenizer) -> None:
        ids = spm.encode("\N{GRINNING FACE}", add_bos=False, parse_special=False)
        assert b"".join(map(spm.piece_bytes, ids)) == " \N{GRINNING FACE}".encode()
        assert spm.piece_text(ids[-1]) == r"\x80"

    @pytest.mark.parametrize(
        ("text", "seen"), [("\n", "\u240a"), ("\x1b", "\u241b"), ("\x7f", "\u2421"), ("\u202e", "<U+202E>"), ("é", "é")]
    )
    def test_nothing_in_a_piece_controls_the_terminal(self, text: str, seen: str) -> None:
        tokens = [text]
        metadata = bpe_metadata(tokens, [], token_type=array("i", [4]))
        assert load_tokenizer(metadata).piece_text(0) == seen

    @pytest.mark.parametrize("id_", [-1, 705, 2**40])
    def test_ids_that_are_not_there(self, spm: Tokenizer, id_: int) -> None:
        with pytest.raises(EngineError, match=f"There is no token {id_}"):
            spm.decode([1, id_])

    def test_the_prefixed_space_goes_again(self, spm: Tokenizer) -> None:
        ids = spm.encode("<s> Hello world", add_bos=False, parse_special=True)
        assert spm.decode(ids) == "<s> Hello world"
        assert spm.decode(spm.encode("Hello", add_bos=True, parse_special=False)) == "<s>Hello"


@given(text=st.text())
def test_any_text_survives_sentencepiece(spm: Tokenizer, text: str) -> None:
    ids = spm.encode(text, add_bos=False, parse_special=False)
    assert all(0 <= id_ < spm.vocab_size for id_ in ids)
    assert spm.decode(ids) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\u2581", " ")


@given(text=st.text(alphabet=st.characters(exclude_categories=[])))
def test_any_text_survives_bpe_but_for_bytes_that_the_vocabulary_lacks(
    starter: Tokenizer, starter_bytes: frozenset[int], text: str
) -> None:
    ids = starter.encode(text, add_bos=False, parse_special=True)
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    assert starter.decode(ids) == bytes(byte for byte in expected if byte in starter_bytes).decode("utf-8", "replace")


def test_undecodable_bytes_do_not_crash(starter: Tokenizer, spm: Tokenizer) -> None:
    text = b"a\xff\xc3b".decode("utf-8", "surrogateescape")
    for tokenizer in (starter, spm):
        ids = tokenizer.encode(text, add_bos=False, parse_special=True)
        assert tokenizer.decode(ids) == "a\ufffd\ufffdb"


@pytest.mark.parametrize(
    ("raw", "pieces"),
    [
        (b"\xff", "▁ FF"),
        (b"\xc3b", "▁ C3 62"),
        (b"\xed\xa0\x80 x", "▁ ED A0 80 ▁x"),
        (b"\xffcd e", "▁ FF 63 64 E2 96 81 e"),
        (b"\x80\x81 x", "▁ 80 81 ▁x"),
        ("é\xe2\x82".encode("latin-1"), "▁ E9 E2 82"),
        (b"\xf0" + "日本".encode(), "▁ F0 E6 97 A5 E6 9C AC"),
    ],
)
def test_sentencepiece_has_the_ids_that_llama_cpp_gives_to_bytes_that_are_no_text(
    spm: Tokenizer, raw: bytes, pieces: str
) -> None:
    ids = spm.encode(raw.decode("utf-8", "surrogateescape"), add_bos=False, parse_special=False)
    plain = [spm.vocabulary.tokens[id_].removeprefix("<0x").removesuffix(">") for id_ in ids]
    assert " ".join(plain) == pieces


@given(raw=st.binary())
def test_any_bytes_survive_sentencepiece(spm: Tokenizer, raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    ids = spm.encode(text, add_bos=False, parse_special=False)
    whole = b"".join(map(spm.piece_bytes, ids)).removeprefix(b" ")
    assert whole.replace(b"\xe2\x96\x81", b" ") == raw.replace(b"\xe2\x96\x81", b" ")


@given(text=st.text(alphabet=st.characters(exclude_categories=[])))
def test_lone_surrogates_count_as_replacement_characters(spm: Tokenizer, starter: Tokenizer, text: str) -> None:
    with_bytes = frozenset(map(chr, range(0xDC80, 0xDD00)))
    harmless = "".join("x" if char in with_bytes else char for char in text)
    for tokenizer in (spm, starter):
        ids = tokenizer.encode(harmless, add_bos=False, parse_special=False)
        clean = harmless.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert ids == tokenizer.encode(clean, add_bos=False, parse_special=False)


class TestUnsoundVocabularies:
    """Damaged or strange vocabularies: an error, or the best that can be made of them."""

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"scores": array("b", [0] * 705)}, r"scores has elements of the wrong type: it is a list of int8"),
            ({"scores": array("f", [0.0] * 704)}, "scores has 704 elements, it should have 705"),
            ({"scores": array("f", [float("nan")] * 705)}, "not a number"),
            ({"token_type": array("i", [1])}, "token_type has 1 elements"),
            ({"token_type": array("f", [1.0] * 705)}, "token_type has elements of the wrong type"),
            ({"tokens": []}, "tokens is empty"),
            ({"tokens": (True,) * 705}, "tokens should be a list of texts, it is a list of truth values"),
            ({"tokens": "text"}, "tokens should be a list of texts"),
            ({"bos_token_id": "1"}, "bos_token_id should be an integer"),
            ({"eos_token_id": -1}, "eos_token_id is -1"),
            ({"add_bos_token": 1}, "add_bos_token should be true or false"),
            ({"model": 3}, "model should be a text"),
        ],
    )
    def test_refused(self, spm_metadata: Metadata, changes: Metadata, match: str) -> None:
        changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
        metadata = {key: value for key, value in (spm_metadata | changed).items() if value is not None}
        with pytest.raises(ModelFileError, match=match):
            load_tokenizer(metadata)

    def test_without_types(self, spm: Tokenizer, spm_metadata: Metadata) -> None:
        """The ids are llama.cpp's: bytes are known by their text, and ends by their ids."""
        metadata = {key: value for key, value in spm_metadata.items() if not key.endswith("token_type")}
        tokenizer = load_tokenizer(metadata)
        text = "a\nb 日本 The river <s> flows\n"
        ids = tokenizer.encode(text, add_bos=True, parse_special=False)
        assert ids == spm.encode(text, add_bos=True, parse_special=False)
        assert tokenizer.decode(ids) == "<s>" + text
        assert {0, 1, 2} <= tokenizer.vocabulary.control_ids
        assert tokenizer.encode("<s>", add_bos=False, parse_special=True) == [1]

    def test_without_scores(self, spm_metadata: Metadata) -> None:
        """The ids are llama.cpp's."""
        metadata = {key: value for key, value in spm_metadata.items() if not key.endswith("scores")}
        ids = load_tokenizer(metadata).encode("The river flows 42", add_bos=False, parse_special=False)
        assert ids == [532, 501, 350, 306, 394, 614, 604, 596, 643, 622]

    def test_unknown_kinds(self) -> None:
        with pytest.raises(UnsupportedModelError, match="kind 'bert'"):
            load_tokenizer({"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": ["a"]})
        with pytest.raises(UnsupportedModelError, match="splits words by 'martian'"):
            load_tokenizer(bpe_metadata(["a"], []) | {"tokenizer.ggml.pre": "martian"})

    def test_no_merges(self) -> None:
        metadata = bpe_metadata(["a"], [])
        del metadata["tokenizer.ggml.merges"]
        with pytest.raises(ModelFileError, match="merges should be a list of texts, it is a list of truth values"):
            load_tokenizer(bpe_metadata(["a"], (True, False)))
        with pytest.raises(ModelFileError, match="merges is missing"):
            load_tokenizer(metadata)

    def test_merges_of_tokens_that_are_not_there(self) -> None:
        tokenizer = load_tokenizer(bpe_metadata(["a", "b", "ab"], ["x y", "a x", "", "a", "a b"]))
        assert tokenizer.encode("abz", add_bos=False, parse_special=False) == [2]

    def test_the_same_piece_twice_an_empty_one_and_no_unknown_one(self) -> None:
        tokens = ["\u2581", "a", "", "a", "\u2581a", "n\0l"]
        metadata = {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": array("f", [0.0] * len(tokens)),
        }
        tokenizer = load_tokenizer(metadata | {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": False})
        assert tokenizer.encode("aa", add_bos=False, parse_special=True) == [4, 1]
        assert tokenizer.encode("z", add_bos=False, parse_special=True) == [0]

    def test_bytes_that_are_not_all_there(
        self, spm_metadata: Metadata, spm_pieces: list[tuple[str, float, int]]
    ) -> None:
        types = array("i", [1 if piece[0] == "<0x41>" else piece[2] for piece in spm_pieces])
        tokenizer = load_tokenizer(spm_metadata | {"tokenizer.ggml.token_type": types})
        assert tokenizer.encode("\N{GRINNING FACE}", add_bos=False, parse_special=False)[-1] == 0

    @given(data=st.data())
    def test_random_merges_never_crash(self, data: st.DataObject) -> None:
        texts = st.text(alphabet="ab ", max_size=4)
        metadata = bpe_metadata(data.draw(st.lists(texts, min_size=1)), data.draw(st.lists(texts)))
        tokenizer = load_tokenizer(metadata)
        ids = tokenizer.encode("abba baab", add_bos=False, parse_special=True)
        assert all(0 <= id_ < tokenizer.vocab_size for id_ in ids)


class TestMergedCharacters:
    """Gemma 4's way: merges of characters, bytes for the rest."""

    BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

    def metadata(self, *tokens: str, **more: object) -> Metadata:
        """A vocabulary of bytes, then BOS, then these tokens."""
        texts = [*self.BYTES, "<bos>", *tokens]
        types = array("i", [6] * 256 + [3] + [1] * len(tokens))
        found = {"model": "gemma4", "tokens": texts, "token_type": types, "merges": [], "bos_token_id": 256} | more
        return {f"tokenizer.ggml.{key}": value for key, value in found.items()}

    def test_texts_begin_with_bos_whatever_the_file_says(self) -> None:
        tokenizer = load_tokenizer(self.metadata("a", add_bos_token=False))
        assert tokenizer.encode("a", add_bos=tokenizer.add_bos, parse_special=True) == [256, 257]

    def test_characters_that_are_no_token_are_bytes(self) -> None:
        tokenizer = load_tokenizer(self.metadata("a", "\u2581"))
        ids = tokenizer.encode("a \xe9", add_bos=False, parse_special=False)
        assert ids == [257, 258, 0xC3, 0xA9]
        assert tokenizer.decode(ids) == "a \xe9"
        assert tokenizer.piece_bytes(0xC3) == b"\xc3"

    def test_line_breaks_are_one_token_where_there_is_one(self) -> None:
        tokenizer = load_tokenizer(self.metadata("\n", "\n\n\n", "a"))
        assert tokenizer.encode("a\n\n\na\n\n", add_bos=False, parse_special=False) == [259, 258, 259, 257, 257]

    def test_no_merge_makes_a_marker(self) -> None:
        letters = ["<", "|", "c", ">", "<|", "<|c", "<|c>"]
        merges = ["< |", "<| c", "<|c >"]
        types = array("i", [6] * 256 + [3] + [1] * 6 + [4])
        tokenizer = load_tokenizer(self.metadata(*letters, merges=merges, token_type=types))
        assert tokenizer.marker_texts == ("<bos>", "<|c>")
        assert 263 not in tokenizer.encode_parts(["<|c>"], add_bos=False)
        assert tokenizer.encode("<|c>", add_bos=False, parse_special=True) == [263]

    def test_a_missing_list_of_merges_is_named(self) -> None:
        metadata = self.metadata("a")
        del metadata["tokenizer.ggml.merges"]
        with pytest.raises(ModelFileError, match=r"merges is missing"):
            load_tokenizer(metadata)


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def plamo_metadata(byte_texts: list[str]) -> Metadata:
    texts = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", *byte_texts, "ab", "a"]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * 2]
    return {
        "tokenizer.ggml.model": "plamo2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": array("f", [0.0] * len(texts)),
        "tokenizer.ggml.token_type": array("i", kinds),
    }


def test_no_score_makes_a_marker_of_what_somebody_wrote() -> None:
    tokenizer = load_tokenizer(plamo_metadata(BYTES))
    ids = tokenizer.encode("ab<|plamo:eos|>", add_bos=False, parse_special=False)
    assert ids[0] == 259
    assert 2 not in ids
    assert tokenizer.decode(ids) == "ab<|plamo:eos|>"
    assert tokenizer.encode("ab<|plamo:eos|>", add_bos=False, parse_special=True) == [259, 2]


def test_a_byte_without_a_token_is_told() -> None:
    with pytest.raises(ModelFileError, match="no token for the byte 0x41"):
        load_tokenizer(plamo_metadata(["x" if text == "<0x41>" else text for text in BYTES]))
