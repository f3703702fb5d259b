"""`llm-tui tokenize`: with the starter's vocabulary, and with one that comes without any weights."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from engine.checkpoints.metadata import Metadata

Cli = Callable[..., Any]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A GGUF with a small SentencePiece vocabulary and not a single tensor."""
    path = tmp_path / "vocabulary.gguf"
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * 259 + [-10.0, -11.0, -12.0, -3.0, -2.0, -1.0])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 6)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_vocabulary_without_tensors_is_enough(cli: Cli, vocabulary: Path, home: Path) -> None:
    ran = cli("tokenize", "-m", vocabulary, "--json", stdin="ab")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"ids": [1, 264], "pieces": ["<s>", " ab"]}
    assert json.loads(cli("tokenize", "-m", vocabulary, "--json", "--no-bos", stdin="ab").out)["ids"] == [264]
    assert cli("tokenize", "-m", vocabulary, stdin="ab").out == "1 264\n"


def test_pieces_are_the_text_itself(cli: Cli, starter_model: Path, home: Path) -> None:
    """Scripts get control characters as JSON writes them, not as pictures for people."""
    told = json.loads(cli("tokenize", "-m", starter_model, "--json", stdin="a\nb\tc é").out)
    assert told["pieces"] == ["a", "\n", "b", "\t", "c", " é"]
    halves = json.loads(cli("tokenize", "-m", starter_model, "--json", stdin="\u2603").out)["pieces"]
    assert halves == ["\\xe2", "\\x98", "\\x83"]


def test_special_tokens_in_the_text(cli: Cli, vocabulary: Path, home: Path) -> None:
    assert cli("tokenize", "-m", vocabulary, "--no-bos", stdin="</s>").out == "2\n"
    plain = json.loads(cli("tokenize", "-m", vocabulary, "--no-bos", "--no-special", "--json", stdin="</s>").out)
    assert 2 not in plain["ids"]
    assert len(plain["ids"]) == 5


@pytest.mark.parametrize("text", ["Hello  world\n", "\t\r\n\n", "naïve façade 東京 🦙", "", "<|im_end|>", "a\x00b"])
def test_there_and_back(cli: Cli, starter_model: Path, home: Path, text: str) -> None:
    ids = cli("tokenize", "-m", starter_model, stdin=text).out
    assert cli("tokenize", "-m", starter_model, "--decode", stdin=ids).out == text


def test_json_goes_back_too(cli: Cli, starter_model: Path, home: Path) -> None:
    ids = json.loads(cli("tokenize", "-m", starter_model, "--json", stdin="to be").out)["ids"]
    back = cli("tokenize", "-m", starter_model, "--decode", "--json", stdin=json.dumps(ids))
    assert json.loads(back.out) == {"text": "to be"}


def test_bytes_that_are_no_text_become_replacement_characters(cli: Cli, starter_model: Path, home: Path) -> None:
    broken = cli("tokenize", "-m", starter_model, stdin=b"a\xff\xc3b").out
    assert (
        broken == cli("tokenize", "-m", starter_model, stdin="a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b").out
    )


def test_an_id_outside_the_vocabulary_is_told(cli: Cli, vocabulary: Path, home: Path) -> None:
    for number in ("265", "-1", "9" * 5000):
        for given in (f"[3, {number}]", f'{{"ids": [3, {number}]}}'):
            ran = cli("tokenize", "-m", vocabulary, "--decode", stdin=given)
            assert ran.code == 1
            assert ran.err.startswith(f"llm-tui: There is no token {number[:20]}: this model's ids go from 0 to 264.")
    assert cli("tokenize", "-m", vocabulary, "--decode", stdin="0263 00").code == 0


def test_a_file_that_is_no_model_is_told(cli: Cli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03")
    ran = cli("tokenize", "-m", tmp_path / "x.gguf", stdin="a")
    assert ran.code == 1
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("text", ["abc 123", "-1 2\n", '{"ids": [5]}', "é \N{GRINNING FACE}"])
def test_what_is_written_as_json_becomes_the_text_again(text: str, cli: Cli, vocabulary: Path, home: Path) -> None:
    written = cli("tokenize", "-m", vocabulary, "--json", stdin=text).out
    assert cli("tokenize", "-m", vocabulary, "--decode", stdin=written).out == text


@pytest.mark.parametrize("ids", ["[1, 264]", '{"ids": "1 264"}', "1,264", '{"ids": [1, 264], "pieces": ["5", "7"]}\n'])
def test_ids_in_any_form_are_read(ids: str, cli: Cli, vocabulary: Path, home: Path) -> None:
    assert cli("tokenize", "-m", vocabulary, "--decode", stdin=ids).out == "ab"


@pytest.mark.parametrize("given", ["hello world", "été\n", '{"ids": ["a"]}', "日"])
def test_a_text_without_ids_is_not_taken_for_none(given: str, cli: Cli, vocabulary: Path, home: Path) -> None:
    ran = cli("tokenize", "-m", vocabulary, "--decode", "--json", stdin=given)
    assert (ran.code, ran.out) == (1, "")
    assert "There are no token ids on stdin." in ran.err


@pytest.mark.parametrize("given", ["", "\n", "[]", '{"ids": [], "pieces": []}'])
def test_no_ids_are_no_text(given: str, cli: Cli, vocabulary: Path, home: Path) -> None:
    ran = cli("tokenize", "-m", vocabulary, "--decode", stdin=given)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("at", [0, 1, 1000])
def test_ctrl_c_while_the_merges_are_read_is_an_exit_code(
    cli: Cli, starter_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    class Interrupted(list[str]):
        def __iter__(self) -> Iterator[str]:
            for number, merge in enumerate(super().__iter__()):
                if number == at:
                    signal.raise_signal(signal.SIGINT)
                yield merge

    texts = Metadata.texts
    monkeypatch.setattr(
        Metadata, "texts", lambda self, key: (Interrupted if "merges" in key else list)(texts(self, key))
    )
    ran = cli("tokenize", "-m", starter_model, stdin="x")
    assert (ran.code, ran.out, ran.err) == (130, "", "\n")
