"""ggml files that were made to hurt, or cut off: an error that names the file and the field, and no memory spent."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints import open_checkpoint
from engine.checkpoints.ggml import open_ggml
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine.checkpoints.refusing import refused_by

MEMORY_LIMIT = 4 << 20
HEADER = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot", "ftype")


def refused(path: Path, content: bytes, match: str, kind: type[EngineError] = ModelFileError) -> None:
    path.write_bytes(content)
    refused_by(open_checkpoint, path, match, kind, MEMORY_LIMIT)


@pytest.fixture(scope="module")
def small(write, spm_pieces):
    return write.TinyLlama(write.pieces_of(spm_pieces, 270), dim=64, n_heads=2, n_layers=1, hidden_dim=64)


@pytest.fixture(scope="module")
def sound(write, small, tmp_path_factory) -> bytes:
    """A sound ggjt v1 file: magic and version, then seven numbers at byte 8."""
    return write.write_ggml(tmp_path_factory.mktemp("ggml") / "model.bin", small, "Q4_0", write.GGJT1).read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.bin"


def changed(content: bytes, at: int, layout: str, *values: int) -> bytes:
    copy = bytearray(content)
    struct.pack_into(layout, copy, at, *values)
    return bytes(copy)


@pytest.mark.parametrize("field", [0, 1, 3, 4])
@pytest.mark.parametrize("value", [0, -1, 2**31 - 1, -(2**31)])
def test_impossible_numbers_in_the_header(path: Path, sound: bytes, field: int, value: int) -> None:
    refused(path, changed(sound, 8 + 4 * field, "<i", value), f"{HEADER[field]} is {value}, it should be between")


def test_heads_that_do_not_divide_the_width(path: Path, sound: bytes) -> None:
    refused(path, changed(sound, 8 + 12, "<i", 3), "n_embd is 64, which 3 heads do not share evenly")


@pytest.mark.parametrize("version", [0, 4, -1, 2**31 - 1])
def test_unknown_versions(path: Path, sound: bytes, version: int) -> None:
    refused(path, changed(sound, 4, "<i", version), f"version of this ggml file is {version}", UnsupportedModelError)


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 5000])
def test_impossible_lengths_of_tokens(path: Path, sound: bytes, length: int) -> None:
    refused(path, changed(sound, 36, "<i", length), f"length of token 0 is {length}")


def test_more_tokens_than_there_are(path: Path, sound: bytes) -> None:
    refused(path, changed(sound, 8, "<i", 280), r"token|no tensor begins")


def test_fewer_tokens_than_there_are(path: Path, sound: bytes) -> None:
    refused(path, changed(sound, 8, "<i", 260), "after 260 tokens of the vocabulary, at byte .* no tensor begins")


class TestTensors:
    """The header of a tensor, which stands in front of its weights."""

    @pytest.fixture
    def at(self, sound: bytes) -> int:
        """Where the header of the first one begins: three numbers, two sizes, a name."""
        return sound.index(b"tok_embeddings.weight") - 20

    @pytest.mark.parametrize(("field", "value"), [(0, 0), (0, 3), (0, -1), (1, 0), (1, -5), (1, 2**31 - 1)])
    def test_of_the_first_one(self, path: Path, sound: bytes, at: int, field: int, value: int) -> None:
        refused(path, changed(sound, at + 4 * field, "<i", value), "no tensor begins")

    @pytest.mark.parametrize("size", [0, -32, 2**31 - 32, 2**20])
    def test_impossible_sizes(self, path: Path, sound: bytes, at: int, size: int) -> None:
        match = "needs .* bytes at position" if size > 0 else "no tensor begins"
        refused(path, changed(sound, at + 16, "<i", size), match)

    def test_rows_that_are_no_whole_blocks(self, path: Path, sound: bytes, at: int) -> None:
        refused(path, changed(sound, at + 12, "<i", 65), "rows of 65, not a multiple of Q4_0's block of 32")

    def test_an_unknown_name(self, path: Path, sound: bytes) -> None:
        other = sound.replace(b"layers.0.attention.wq.weight", b"layers.0.attention.wz.weight")
        refused(path, other, "layers.0.attention.wz.weight is not part of a LLaMA", UnsupportedModelError)

    def test_one_that_is_there_twice(self, path: Path, sound: bytes) -> None:
        other = sound.replace(b"layers.0.attention.wk.weight", b"layers.0.attention.wq.weight")
        refused(path, other, "attention.wq.weight is there twice")

    def test_a_model_without_its_embedding(self, path: Path, write, small) -> None:
        write.write_ggml(path, small, "F16", write.GGML)
        content = path.read_bytes()
        begin, end = content.index(b"tok_embeddings.weight") - 20, content.index(b"norm.weight") - 16
        refused(path, content[:begin] + content[end:], r"the embedding tok_embeddings\.weight is missing")

    def test_an_embedding_that_no_number_of_parts_explains(self, path: Path, write, small) -> None:
        write.write_ggml(path, small, "F16", write.GGML)
        content = path.read_bytes()
        refused(path, changed(content, 8, "<i", 96), r"the embedding has rows of 64, the header says 96")

    def test_scales_that_make_no_sense(self, path: Path, write, small) -> None:
        write.write_ggml(path, small, "Q4_0", write.GGML)
        content = path.read_bytes()
        begin, size = content.index(b"tok_embeddings.weight") + 21, 270 * 2 * 20
        noise = bytes(i * 37 % 251 for i in range(size))
        refused(path, content[:begin] + noise + content[begin + size :], "scales of token_embd.weight make no sense")


def test_cut_off_anywhere(path: Path, sound: bytes) -> None:
    """At every byte of the header and of each tensor's header, and at some of the weights'."""
    names = [at for at in range(len(sound)) if sound.startswith((b"layers.", b"norm.weight", b"output.weight"), at)]
    cuts = {*range(4, 400), *range(400, len(sound), 997)} | {at + d for at in names for d in range(-24, 24)}
    for cut in sorted(cuts):
        path.write_bytes(sound[:cut])
        try:
            checkpoint = open_ggml(path)
        except EngineError as error:
            assert str(path) in str(error)
        else:
            assert len(checkpoint.tensors) < 12


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_never_crash_it(path: Path, sound: bytes, data: st.DataObject) -> None:
    content = bytearray(sound)
    begin = content.index(b"tok_embeddings.weight")
    spots = st.integers(0, 60) | st.integers(begin - 30, begin + 30) | st.integers(0, len(content) - 1)
    for at in data.draw(st.lists(spots, min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        checkpoint = open_checkpoint(path)
    except EngineError:
        return
    for tensor in checkpoint.tensors.values():
        assert tensor.offset + tensor.n_bytes <= len(content) or tensor.make_rows is not None


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_after_a_magic_never_crashes_it(path: Path, noise: bytes) -> None:
    for magic in (b"lmgg", b"fmgg", b"tjgg\1\0\0\0", b"tjgg\3\0\0\0", b"algg", b""):
        path.write_bytes(magic + noise)
        with pytest.raises(EngineError):
            open_checkpoint(path)
