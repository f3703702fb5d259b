"""Meta's folders: parts, parameters, and both of their tokenizers."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from engine.checkpoints import Metadata, open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.rows import read_rows
from engine.checkpoints.tiktoken_model import tiktoken_metadata
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.tokenizer import load_tokenizer

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


@pytest.fixture
def folder(tmp_path: Path, write, tiny_llama) -> Path:
    return write.write_meta(tmp_path / "LLaMA" / "13B", tiny_llama, n_parts=2)


def change(folder: Path, **values: object) -> None:
    path = folder / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_keys(folder: Path) -> None:
    metadata = open_checkpoint(folder).metadata
    assert metadata["llama.embedding_length"] == 256
    assert metadata["llama.feed_forward_length"] == 512
    assert metadata["llama.attention.head_count"] == metadata["llama.attention.head_count_kv"] == 8
    assert metadata["llama.context_length"] == 2048
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-6


@pytest.mark.parametrize(("values", "context"), [({"norm_eps": 1e-5}, 4096), ({"rope_theta": 1e6}, 16384)])
def test_later_llamas_read_more(folder: Path, values: dict[str, float], context: int) -> None:
    change(folder, **values)
    assert open_checkpoint(folder).metadata["llama.context_length"] == context


@pytest.mark.parametrize("brain_float", [False, True])
@pytest.mark.parametrize("n_parts", [1, 2, 4, 8])
def test_weights_are_whole(tmp_path: Path, write, tiny_llama, n_parts: int, brain_float: bool) -> None:
    folder = write.write_meta(tmp_path / "LLaMA" / "x", tiny_llama, n_parts=n_parts, brain_float=brain_float)
    tensors = open_checkpoint(folder).tensors
    assert len(tensors) == len(tiny_llama.tensors)
    for name, expected in tiny_llama.tensors.items():
        tensor = tensors[f"{name}.weight"]
        found = read_floats(tensor, 0, tensor.shape[0] if len(tensor.shape) > 1 else 1).reshape(tensor.shape)
        np.testing.assert_allclose(found, expected, rtol=2**-7 if brain_float else 0, err_msg=name)


def test_an_embedding_that_was_cut_by_rows(folder: Path, write, tiny_llama) -> None:
    """As Llama 3's are."""
    for number, rows in enumerate(np.split(tiny_llama.tensors["token_embd"], 2)):
        tensors = {}
        for name, tensor in tiny_llama.tensors.items():
            part = rows if name == "token_embd" else write.split(name, tensor, 2)[number]
            tensors[write.foreign_name(name, write.META_NAMES)] = part.astype(np.float16)
        write.write_torch(folder / f"consolidated.{number:02d}.pth", tensors)
    tensor = open_checkpoint(folder).tensors["token_embd.weight"]
    np.testing.assert_array_equal(read_floats(tensor, 0, 696), tiny_llama.tensors["token_embd"])


@pytest.mark.parametrize(("dim_of_params", "factor"), [({}, 32.0), ({"rope_scaling_factor": 8}, 8.0)])
def test_scaled_rope(folder: Path, dim_of_params: dict[str, int], factor: float) -> None:
    change(folder, use_scaled_rope=True, rope_theta=500_000.0, **dim_of_params)
    checkpoint = open_checkpoint(folder)
    divisors = read_rows(checkpoint.tensors["rope_freqs.weight"], 0, 1).view(np.float32)[0]
    assert (divisors[0], divisors[-1]) == (1.0, factor)
    assert checkpoint.metadata["llama.context_length"] == 131_072


class TestWhatIsMissing:
    """A folder that is not whole."""

    def test_the_first_part(self, folder: Path) -> None:
        (folder / "consolidated.00.pth").unlink()
        with pytest.raises(ModelFileError, match=r"consolidated\.00\.pth is missing"):
            open_checkpoint(folder)

    def test_the_last_part(self, folder: Path) -> None:
        (folder / "consolidated.01.pth").unlink()
        with pytest.raises(ModelFileError, match=r"its rows should be of 256.*|A part of the model may be missing"):
            open_checkpoint(folder)

    def test_the_tokenizer(self, folder: Path) -> None:
        (folder.parent / "tokenizer.model").unlink()
        with pytest.raises(ModelFileError, match=r"no tokenizer\.model, and the folder above it neither"):
            open_checkpoint(folder)

    def test_the_parameters(self, folder: Path) -> None:
        (folder / "params.json").unlink()
        with pytest.raises(ModelFileError, match="weights only"):
            open_checkpoint(folder / "consolidated.00.pth")

    def test_a_tensor_of_one_part(self, folder: Path, write, tiny_llama) -> None:
        tensors = {
            write.foreign_name(name, write.META_NAMES): write.split(name, tensor, 2)[1].astype(np.float16)
            for name, tensor in tiny_llama.tensors.items()
            if name != "output"
        }
        write.write_torch(folder / "consolidated.01.pth", tensors)
        with pytest.raises(ModelFileError, match=r"output\.weight is missing, which the first part has"):
            open_checkpoint(folder)

    def test_parts_of_different_sizes(self, folder: Path, write, tiny_llama) -> None:
        other = write.TinyLlama(tiny_llama.pieces, hidden_dim=1024, dim=512, n_heads=16)
        write.write_meta(folder.parent / "other", other, n_parts=2)
        (folder.parent / "other" / "consolidated.01.pth").replace(folder / "consolidated.01.pth")
        with pytest.raises(ModelFileError, match="do not fit together"):
            open_checkpoint(folder)

    def test_a_tensor_that_is_not_known(self, folder: Path, write) -> None:
        write.write_torch(folder / "consolidated.00.pth", {"mystery.weight": np.zeros((2, 2), np.float16)})
        with pytest.raises(UnsupportedModelError, match=r"mystery\.weight is not part of a LLaMA model"):
            open_checkpoint(folder)


@pytest.fixture(scope="module")
def library() -> Tokenizer:
    """A tokenizer as Llama 3's, trained on a little text."""
    found = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    found.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    text = [f"The river number {i} flows to the sea over {i * i} stones; it's wide, isn't it?\n" for i in range(300)]
    found.train_from_iterator(text, trainer)
    return found


def write_tiktoken(path: Path, library: Tokenizer) -> dict[int, int]:
    """The library's tokens by the rank of their merges; returns the library's ids by rank."""
    bytes_of = {
        char: byte for byte, char in zip(_order_of_bytes(), sorted(pre_tokenizers.ByteLevel.alphabet()), strict=True)
    }
    ids = sorted(library.get_vocab().items(), key=lambda item: item[1])
    lines = []
    for rank, (token, _) in enumerate(ids):
        raw = bytes(bytes_of[char] for char in token)
        lines.append(f"{base64.b64encode(raw).decode()} {rank}")
    path.write_text("\n".join(lines) + "\n")
    return {rank: id_ for rank, (_, id_) in enumerate(ids)}


def _order_of_bytes() -> list[int]:
    """Bytes in the order of the characters that stand for them: printable ones first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + [byte for byte in range(256) if byte not in printable]


class TestTiktoken:
    """Llama 3's tokenizer, which has ranks and no merges."""

    TEXTS = ("The river's 12345 stones", "it isn't\n\n  wide; é \t x", "flows flows FLOWS!!! ...", "seastones")

    def test_ids_are_those_of_the_library(self, tmp_path: Path, library: Tokenizer) -> None:
        path = tmp_path / "tokenizer.model"
        ids = write_tiktoken(path, library)
        tokenizer = load_tokenizer(Metadata(tiktoken_metadata(path, len(ids) + 256)))
        for text in self.TEXTS:
            found = tokenizer.encode(text, add_bos=False, parse_special=False)
            assert [ids[id_] for id_ in found] == library.encode(text).ids
            assert tokenizer.decode(found) == text
        assert tokenizer.add_bos

    def test_a_whole_model_with_it(self, tmp_path: Path, write, library: Tokenizer, decode) -> None:
        pieces = [(f"{i}", 0.0, 1) for i in range(library.get_vocab_size() + 256)]
        folder = write.write_meta(tmp_path / "Llama-3" / "8B", write.TinyLlama(pieces), n_parts=2)
        write_tiktoken(folder / "tokenizer.model", library)
        change(folder, rope_theta=500_000.0)
        first = library.get_vocab_size()
        metadata = open_checkpoint(folder).metadata
        assert metadata["tokenizer.ggml.tokens"][first + 9] == "<|eot_id|>"
        assert metadata["llama.context_length"] == 8192
        assert decode(folder, "llama-3")[0] == first

    @pytest.mark.parametrize(
        "text",
        ["IQ== 0\nIg== 2\n", "IQ== 0\nIQ== 1\n", "IQ== 0\n!!!! 1\n", "IQ== 0\nIg==\n", "IQ== 0\n\n", "IQ== 0\n 1\n"],
    )
    def test_nonsense(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "tokenizer.model"
        path.write_text(text)
        with pytest.raises(ModelFileError, match="line 2 is no token and its rank 1"):
            tiktoken_metadata(path, 300)

    @pytest.mark.parametrize("n_vocab", [0, 2, 10])
    def test_one_of_another_model(self, tmp_path: Path, n_vocab: int) -> None:
        path = tmp_path / "tokenizer.model"
        path.write_text("IQ== 0\nIg== 1\n")
        with pytest.raises(EngineError, match=f"has 2 tokens, but the model knows {n_vocab}"):
            tiktoken_metadata(path, n_vocab)
