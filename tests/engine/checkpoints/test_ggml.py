"""ggml files of every container and era: the same weights and words as the GGUF that they would be today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from engine.checkpoints import open_checkpoint
from engine.checkpoints.rows import read_rows
from engine.errors import ModelFileError, UnsupportedModelError
from engine.tokenizer import load_tokenizer

FOUR_BITS = ["Q4_0", "Q4_1"]
CASES = [
    *[(container, kind) for container in ("BARE", "GGML", "GGML_ROWS") for kind in ["F32", "F16", *FOUR_BITS]],
    *[("GGMF", kind) for kind in ["F16", *FOUR_BITS]],
    *[(f"GGJT{n}", kind) for n in (1, 2, 3) for kind in ["F32", "F16", *FOUR_BITS, "Q5_0", "Q5_1", "Q8_0"]],
]
FORMATS = {"BARE": "ggml without magic", "GGMF": "ggmf v1", "GGJT1": "ggjt v1", "GGJT2": "ggjt v2", "GGJT3": "ggjt v3"}


@pytest.fixture(scope="module")
def small(write, spm_pieces):
    return write.TinyLlama(write.pieces_of(spm_pieces, 300), dim=64, n_heads=2, n_layers=1, hidden_dim=96)


def all_rows(tensor):
    return np.array(read_rows(tensor, 0, tensor.shape[0] if len(tensor.shape) > 1 else 1))


@pytest.mark.parametrize(("container", "kind"), CASES)
def test_weights_are_those_of_gguf(tmp_path: Path, write, small, container: str, kind: str) -> None:
    path = write.write_ggml(tmp_path / "ggml-model.bin", small, kind, getattr(write, container))
    twin = open_checkpoint(write.write_gguf(tmp_path / "twin.gguf", small, kind))
    found = open_checkpoint(path)
    rows = container == "GGML_ROWS" and kind in FOUR_BITS
    assert found.format == ("ggml, row-wise" if rows else FORMATS.get(container, "ggml"))
    assert found.tensors.keys() == twin.tensors.keys()
    for name, tensor in twin.tensors.items():
        assert (found.tensors[name].shape, found.tensors[name].type) == (tensor.shape, tensor.type)
        np.testing.assert_array_equal(all_rows(found.tensors[name]), all_rows(tensor), err_msg=name)


@pytest.mark.parametrize("container", ["GGML", "GGML_ROWS", "GGJT1", "GGJT3"])
def test_some_rows_are_those_of_all(tmp_path: Path, write, small, container: str) -> None:
    path = write.write_ggml(tmp_path / "model.bin", small, "Q4_1", getattr(write, container))
    tensor = open_checkpoint(path).tensors["blk.0.ffn_down.weight"]
    whole = all_rows(tensor)
    for first, count in ((0, 1), (5, 16), (63, 1)):
        np.testing.assert_array_equal(read_rows(tensor, first, count), whole[first : first + count])


@pytest.mark.parametrize(("first", "count"), [(0, 5), (30, 4), (64, 300), (0, 512)])
@pytest.mark.parametrize("container", ["GGMF", "GGML_ROWS"])
def test_joined_parts_give_any_rows(tmp_path: Path, write, tiny_llama, container: str, first: int, count: int) -> None:
    n_parts = 4 if container == "GGML_ROWS" else 8
    path = write.write_ggml(tmp_path / "model.bin", tiny_llama, "Q4_0", getattr(write, container), n_parts=n_parts)
    assert open_checkpoint(path).format.startswith("ggml, row-wise, 4 parts" if n_parts == 4 else "ggmf v1, 8 parts")
    tensors = open_checkpoint(path).tensors
    for name in ("ffn_gate", "ffn_down"):
        source = tiny_llama.tensors[f"blk.0.{name}"]
        last = min(first + count, len(source))
        if first < last:
            expected = quantize(source[first:last], GGMLQuantizationType.Q4_0)
            found = read_rows(tensors[f"blk.0.{name}.weight"], first, last - first)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("kind", "row_bytes"), [("Q4_K", 144), ("Q6_K", 210)])
def test_k_quants_of_ggjt_3_lie_as_today(tmp_path: Path, write, spm_pieces, kind: str, row_bytes: int) -> None:
    rng = np.random.default_rng(3)

    class RandomBits(write.TinyLlama):
        def stored(self, _):
            return {
                name: t if t.ndim == 1 else rng.integers(0, 256, (len(t), row_bytes), np.uint8)
                for name, t in self.tensors.items()
            }

    model = RandomBits(write.pieces_of(spm_pieces, 300), dim=256, n_heads=2, n_layers=1, hidden_dim=256)
    path = write.write_ggml(tmp_path / "model.bin", model, kind, write.GGJT3)
    tensor = open_checkpoint(path).tensors["blk.0.ffn_down.weight"]
    assert (tensor.type.name, tensor.shape, tensor.make_rows) == (kind, (256, 256), None)
    assert all_rows(tensor).tobytes() in path.read_bytes()


def test_what_the_header_says(tmp_path: Path, write, small) -> None:
    checkpoint = open_checkpoint(write.write_ggml(tmp_path / "ggml-model-q4_1.bin", small, "Q4_1", write.GGJT1))
    metadata = checkpoint.metadata
    assert metadata["llama.block_count"] == 1
    assert metadata["llama.embedding_length"] == 64
    assert metadata["llama.feed_forward_length"] == 96
    assert metadata["llama.attention.head_count"] == metadata["llama.attention.head_count_kv"] == 2
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-6
    assert metadata["llama.context_length"] == 2048
    assert metadata["general.file_type"] == 3


@pytest.mark.parametrize(
    ("name", "context", "eps", "theta"),
    [
        ("llama-2-7b-chat.ggmlv3.q4_0.bin", 4096, 1e-5, 1e4),
        ("codellama-7b.ggmlv3.q4_0.bin", 16384, 1e-5, 1e6),
        ("guanaco-7B.ggmlv3.q4_0.bin", 2048, 1e-6, 1e4),
    ],
)
def test_what_no_header_says_is_known_by_the_name(
    tmp_path: Path, write, small, name: str, context: int, eps: float, theta: float
) -> None:
    metadata = open_checkpoint(write.write_ggml(tmp_path / name, small, "Q4_0", write.GGJT3)).metadata
    assert metadata["llama.context_length"] == context
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == eps
    assert metadata["llama.rope.freq_base"] == theta


class TestWords:
    """The vocabulary, which these files keep as plain texts."""

    TEXT = "on the in  é\t<s>"

    def test_the_same_ids_as_the_twins(self, tmp_path: Path, write, tiny_llama) -> None:
        twin = load_tokenizer(open_checkpoint(write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")).metadata)
        expected = twin.encode(self.TEXT, add_bos=True, parse_special=False)
        for container in (write.BARE, write.GGML, write.GGMF, write.GGJT3):
            path = write.write_ggml(tmp_path / "model.bin", tiny_llama, "F16", container)
            tokenizer = load_tokenizer(open_checkpoint(path).metadata)
            assert tokenizer.encode(self.TEXT, add_bos=True, parse_special=False) == expected
            assert tokenizer.end_ids == twin.end_ids
            assert tokenizer.decode(expected[1:]) == twin.decode(expected[1:])

    def test_scores_come_from_a_tokenizer_beside_the_file(self, tmp_path: Path, write, small) -> None:
        scores = [(text, score * 0.5 - 3 if kind == 1 else 0.0, kind) for text, score, kind in small.pieces]
        write.write_tokenizer(tmp_path / "tokenizer.model", scores)
        path = write.write_ggml(tmp_path / "model.bin", small, "F16", write.GGML)
        checkpoint = open_checkpoint(path)
        assert list(checkpoint.metadata["tokenizer.ggml.scores"]) == [score for _, score, _ in scores]
        assert tmp_path / "tokenizer.model" in checkpoint.files

    def test_a_tokenizer_of_another_model_is_passed_over(self, tmp_path: Path, write, small) -> None:
        others = [(text[::-1] + "x" if kind == 1 else text, -7.0, kind) for text, _, kind in small.pieces]
        write.write_tokenizer(tmp_path / "tokenizer.model", others)
        path = write.write_ggml(tmp_path / "model.bin", small, "F16", write.GGML)
        expected = [score for _, score, _ in small.pieces]
        assert list(open_checkpoint(path).metadata["tokenizer.ggml.scores"]) == expected


class TestParts:
    """Models that llama.cpp kept in several files."""

    def test_a_later_part_leads_to_the_first(self, tmp_path: Path, write, tiny_llama) -> None:
        path = write.write_ggml(tmp_path / "model.bin", tiny_llama, "F16", write.GGML, n_parts=2)
        whole, from_second = open_checkpoint(path), open_checkpoint(tmp_path / "model.bin.1")
        assert from_second.files == whole.files == (path, tmp_path / "model.bin.1")
        assert whole.format == "ggml, 2 parts"

    def test_a_missing_part_is_named(self, tmp_path: Path, write, tiny_llama) -> None:
        path = write.write_ggml(tmp_path / "model.bin", tiny_llama, "F16", write.GGML, n_parts=4)
        (tmp_path / "model.bin.2").unlink()
        with pytest.raises(ModelFileError, match=r"one of 4 parts, and .*model\.bin\.2 is missing"):
            open_checkpoint(path)

    def test_parts_of_different_models(self, tmp_path: Path, write, tiny_llama, spm_pieces) -> None:
        other = write.TinyLlama(tiny_llama.pieces, hidden_dim=1024, n_heads=4)
        write.write_ggml(tmp_path / "other.bin", other, "F16", write.GGML, n_parts=2)
        path = write.write_ggml(tmp_path / "model.bin", tiny_llama, "F16", write.GGML, n_parts=2)
        (tmp_path / "other.bin.1").replace(tmp_path / "model.bin.1")
        with pytest.raises(ModelFileError, match="not a part of the same model"):
            open_checkpoint(path)


@pytest.mark.parametrize(("type_id", "name"), [(4, "Q4_2"), (5, "Q4_3"), (77, "the type 77")])
def test_types_that_are_gone_are_named(tmp_path: Path, write, small, type_id: int, name: str, monkeypatch) -> None:
    monkeypatch.setitem(write.TYPE_IDS, "F16", type_id)
    path = write.write_ggml(tmp_path / "model.bin", small, "F16", write.GGJT1)
    with pytest.raises(UnsupportedModelError, match=f"stored as {name}.*ggjt v1"):
        open_checkpoint(path)


def test_headers_need_no_numpy(tmp_path: Path, write, tiny_llama) -> None:
    """What the app's process does when it lists models."""
    paths = [
        write.write_ggml(tmp_path / "rows.bin", tiny_llama, "Q4_0", write.GGML_ROWS),
        write.write_ggml(tmp_path / "model.bin", tiny_llama, "Q4_0", write.GGML, n_parts=4),
        write.write_meta(tmp_path / "LLaMA" / "13B", tiny_llama, n_parts=2),
        write.write_hugging_face(tmp_path / "vicuna", tiny_llama),
        write.write_hugging_face(tmp_path / "koala", tiny_llama, kind="bin", n_parts=2),
    ]
    code = (
        "import sys; from engine.model_info import inspect_model\n"
        "for path in sys.argv[1:]: assert inspect_model(path).parameters > 10**6\n"
        "print([name for name in ('numpy', 'numba', 'sentencepiece', 'tokenizers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
