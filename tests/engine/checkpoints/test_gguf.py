"""Sound GGUF files of every version: what is in them comes out."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_opens(tmp_path: Path, raw_gguf, version: int) -> None:
    file = raw_gguf(version=version, data=bytes(range(64)))
    file.key("general.architecture", STRING, "llama").key("llama.block_count", UINT32, 7)
    file.array("tokenizer.ggml.tokens", STRING, ["<s>", "", "né"]).array("scores", FLOAT32, [0.5, -1.0])
    file.tensor("matrix", [4, 2]).tensor("vector", [8], offset=32)
    checkpoint = open_checkpoint(file.write(tmp_path / "model.gguf"))

    assert checkpoint.format == f"GGUF v{version}"
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert checkpoint.metadata["llama.block_count"] == 7
    assert list(checkpoint.metadata["tokenizer.ggml.tokens"]) == ["<s>", "", "né"]
    assert checkpoint.metadata["scores"] == array("f", [0.5, -1.0])
    matrix, vector = checkpoint.tensors["matrix"], checkpoint.tensors["vector"]
    assert (matrix.shape, matrix.type.name, matrix.n_bytes) == ((2, 4), "F32", 32)
    assert vector.offset == matrix.offset + 32
    assert checkpoint.path.read_bytes()[matrix.offset : matrix.offset + 4] == bytes(range(4))
    assert (checkpoint.n_parameters, checkpoint.weights_bytes) == (16, 64)
    assert checkpoint.size_bytes == checkpoint.path.stat().st_size


def test_all_value_types(tmp_path: Path, raw_gguf) -> None:
    values = {
        UINT8: 255,
        INT8: -128,
        UINT16: 65535,
        INT16: -32768,
        UINT32: 2**32 - 1,
        INT32: -(2**31),
        FLOAT32: 1.5,
        BOOL: True,
        STRING: "text",
        UINT64: 2**64 - 1,
        INT64: -(2**63),
        FLOAT64: 1e300,
    }
    file = raw_gguf()
    for kind, value in values.items():
        file.key(f"one.{kind}", kind, value).array(f"many.{kind}", kind, [value, value])
    metadata = open_checkpoint(file.write(tmp_path / "model.gguf")).metadata
    for kind, value in values.items():
        assert metadata[f"one.{kind}"] == value
        assert type(metadata[f"one.{kind}"]) is type(value)
        assert list(metadata[f"many.{kind}"]) == [value, value]


def test_the_reference_writer_agrees(tmp_path: Path, write_model) -> None:
    weights = np.arange(705 * 32, dtype=np.float32).reshape(705, 32)
    path = write_model(tmp_path / "tiny.gguf", set_tensors={"token_embd.weight": weights})
    checkpoint = open_checkpoint(path)
    assert len(checkpoint.tensors) == 2 + 2 * 9
    tensor = checkpoint.tensors["token_embd.weight"]
    assert tensor.shape == (705, 32)
    raw = path.read_bytes()[tensor.offset : tensor.offset + tensor.n_bytes]
    assert np.array_equal(np.frombuffer(raw, np.float32).reshape(tensor.shape), weights)


def test_leading_ones_of_a_shape_are_left_out(tmp_path: Path, raw_gguf) -> None:
    file = raw_gguf(data=bytes(192))
    file.tensor("row", [8, 1]).tensor("column", [1, 8], offset=32).tensor("one", [1, 1], offset=64)
    file.tensor("stack", [4, 1, 2, 1], offset=96)
    tensors = open_checkpoint(file.write(tmp_path / "model.gguf")).tensors
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {"row": (8,), "column": (8, 1), "one": (1,), "stack": (2, 1, 4)}


def test_another_alignment(tmp_path: Path, raw_gguf) -> None:
    file = raw_gguf(alignment=256, data=bytes(260)).key("general.alignment", UINT32, 256)
    file.tensor("a", [1]).tensor("b", [1], offset=256)
    tensors = open_checkpoint(file.write(tmp_path / "model.gguf")).tensors
    assert tensors["a"].offset % 256 == 0
    assert tensors["b"].offset == tensors["a"].offset + 256


def test_a_vocabulary_alone_opens(tmp_path: Path, raw_gguf) -> None:
    file = raw_gguf().array("tokenizer.ggml.tokens", STRING, ["a", "b"])
    path = tmp_path / "vocab.gguf"
    path.write_bytes(file.header())
    checkpoint = open_checkpoint(path)
    assert checkpoint.tensors == {}
    assert checkpoint.metadata["tokenizer.ggml.tokens"][1] == "b"


def test_texts_that_are_not_utf_8(tmp_path: Path, raw_gguf) -> None:
    file = raw_gguf().raw_key("general.name", STRING, struct.pack("<Q", 3) + b"a\xffb")
    file.raw_key("list", ARRAY, struct.pack("<IQQ", STRING, 1, 2) + b"\xe2\x82")
    metadata = open_checkpoint(file.write(tmp_path / "model.gguf")).metadata
    assert metadata["general.name"] == "a\ufffdb"
    assert list(metadata["list"]) == ["\ufffd"]


def test_a_large_vocabulary_is_read_to_its_end(tmp_path: Path, raw_gguf) -> None:
    n_tokens, n_merges = 128_256, 280_147
    file = raw_gguf(version=3)
    for key, count in (("tokens", n_tokens), ("merges", n_merges)):
        texts = b"".join(struct.pack("<Q", 8) + b"%8d" % index for index in range(count))
        file.raw_key(f"tokenizer.ggml.{key}", ARRAY, struct.pack("<IQ", STRING, count) + texts)
    path = file.write(tmp_path / "vocab.gguf")
    metadata = open_checkpoint(path).metadata
    assert len(metadata["tokenizer.ggml.tokens"]) == n_tokens
    assert metadata["tokenizer.ggml.tokens"][n_tokens - 1].strip() == str(n_tokens - 1)


def test_the_header_of_a_model_needs_no_numpy(tmp_path: Path, write_model) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    code = (
        "import sys; from engine.checkpoints import open_checkpoint\n"
        "from engine.architecture.gguf_config import config_from_gguf\n"
        "c = open_checkpoint(sys.argv[1]); config_from_gguf(c.metadata, c.tensors)\n"
        "sys.exit(bool({'numpy', 'numba', 'gguf'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


class TestSplitFiles:
    """Models in several files."""

    @pytest.fixture
    def parts(self, tmp_path: Path, raw_gguf) -> list[Path]:
        paths = [tmp_path / f"big-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
        for index, path in enumerate(paths):
            file = raw_gguf(data=bytes([index]) * 32)
            if index == 0:
                file.key("general.architecture", STRING, "llama")
            file.key("split.no", UINT16, index).key("split.count", UINT16, 3).key("split.tensors.count", INT32, 3)
            file.tensor(f"part{index}", [8]).write(path)
        return paths

    @pytest.mark.parametrize("opened", [0, 1, 2])
    def test_any_part_opens_the_whole(self, parts: list[Path], opened: int) -> None:
        checkpoint = open_checkpoint(parts[opened])
        assert checkpoint.files == tuple(parts)
        assert checkpoint.metadata["general.architecture"] == "llama"
        assert [tensor.path for tensor in checkpoint.tensors.values()] == parts
        assert checkpoint.size_bytes == sum(part.stat().st_size for part in parts)

    def test_a_missing_part_is_named(self, parts: list[Path]) -> None:
        parts[1].unlink()
        with pytest.raises(ModelFileError, match=r"big-00002-of-00003\.gguf is missing"):
            open_checkpoint(parts[0])

    def test_a_renamed_part(self, parts: list[Path]) -> None:
        other = parts[0].with_name("big.gguf")
        parts[0].rename(other)
        with pytest.raises(ModelFileError, match="part 1 of 3, but its name does not say so"):
            open_checkpoint(other)

    def test_the_same_tensor_in_two_parts(self, parts: list[Path]) -> None:
        parts[1].write_bytes(parts[1].read_bytes().replace(b"part1", b"part0"))
        with pytest.raises(ModelFileError, match="part0 is there twice"):
            open_checkpoint(parts[0])

    def test_a_part_of_another_model(self, parts: list[Path], raw_gguf) -> None:
        raw_gguf().key("split.no", UINT16, 1).key("split.count", UINT16, 3).write(parts[1])
        with pytest.raises(ModelFileError, match="promises 3 tensors, the parts have 2"):
            open_checkpoint(parts[0])

    def test_a_number_beyond_the_count(self, tmp_path: Path, raw_gguf) -> None:
        file = raw_gguf().key("split.no", UINT16, 3).key("split.count", UINT16, 3)
        with pytest.raises(ModelFileError, match=r"split\.no is 3"):
            open_checkpoint(file.write(tmp_path / "a-00004-of-00003.gguf"))


class TestWhatIsNoGguf:
    """Other files are named for what they are."""

    @pytest.mark.parametrize(
        ("head", "what"),
        [
            (b"PK\x03\x04" + bytes(60), "zip archive"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
            (b"FUGG" + bytes(60), "reversed"),
        ],
    )
    def test_known_kinds(self, tmp_path: Path, head: bytes, what: str) -> None:
        path = tmp_path / "model.bin"
        path.write_bytes(head)
        with pytest.raises(UnsupportedModelError, match=what):
            open_checkpoint(path)

    def test_nonsense_and_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(b"nonsense")
        with pytest.raises(ModelFileError, match="no model file that is known"):
            open_checkpoint(path)
        path.write_bytes(b"")
        with pytest.raises(ModelFileError, match="is empty"):
            open_checkpoint(path)
        with pytest.raises(ModelFileError, match="does not exist"):
            open_checkpoint(tmp_path / "missing.gguf")
        (tmp_path / "folder").mkdir()
        with pytest.raises(UnsupportedModelError, match="is a folder without a model"):
            open_checkpoint(tmp_path / "folder")
        with pytest.raises(ModelFileError, match="cannot be read"):
            open_checkpoint("a\0b")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.gguf")
        with pytest.raises(ModelFileError, match="not a regular file"):
            open_checkpoint(tmp_path / "pipe.gguf")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(b"GGUF")
        path.chmod(0)
        with pytest.raises(ModelFileError, match="cannot be read"):
            open_checkpoint(path)
