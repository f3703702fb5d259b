"""GGUF files that were made to hurt: an error that names the file, the field and the limit, and no memory spent."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints import open_checkpoint
from engine.checkpoints.gguf import MAX_NAME_BYTES
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine.checkpoints.refusing import refused_by

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
HUGE = [2**64 - 1, 2**63, 2**40, 2**30]
MEMORY_LIMIT = 1 << 20


def refused(path: Path, content: bytes, match: str, kind: type[EngineError] = ModelFileError) -> None:
    path.write_bytes(content)
    refused_by(open_checkpoint, path, match, kind, MEMORY_LIMIT + len(content))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.gguf"


@pytest.mark.parametrize("count", HUGE)
class TestCountsBeyondTheFile:
    """Numbers of things that the file has no room for."""

    def test_keys(self, path: Path, raw_gguf, count: int) -> None:
        refused(path, raw_gguf(n_keys=count).build(), f"number of keys is {count}.*room for")

    def test_tensors(self, path: Path, raw_gguf, count: int) -> None:
        refused(path, raw_gguf(n_tensors=count).build(), f"number of tensors is {count}.*room for")

    def test_length_of_a_key(self, path: Path, raw_gguf, count: int) -> None:
        file = raw_gguf(n_keys=1)
        file.keys.append(struct.pack("<Q", count) + b"name")
        refused(path, file.build(), f"name of key 0 has {count} bytes, the limit is 65535")

    def test_length_of_a_text(self, path: Path, raw_gguf, count: int) -> None:
        file = raw_gguf().raw_key("general.name", STRING, struct.pack("<Q", count) + b"x")
        refused(path, file.build(), rf"general\.name needs {count} bytes")

    @pytest.mark.parametrize("kind", [UINT8, FLOAT32, BOOL, STRING, UINT64])
    def test_length_of_an_array(self, path: Path, raw_gguf, count: int, kind: int) -> None:
        file = raw_gguf().array("many", kind, [], length=count)
        refused(path, file.build(), f"length of many is {count}.*room for")

    def test_length_of_a_text_in_an_array(self, path: Path, raw_gguf, count: int) -> None:
        content = struct.pack("<IQQ", STRING, 2, count) + bytes(40)
        refused(path, raw_gguf().raw_key("many", ARRAY, content).build(), "many has texts that reach past")

    def test_length_of_a_tensor_name(self, path: Path, raw_gguf, count: int) -> None:
        file = raw_gguf()
        file.infos.append(struct.pack("<Q", count) + bytes(60))
        refused(path, file.build(), f"name of a tensor has {count} bytes")

    def test_dimension(self, path: Path, raw_gguf, count: int) -> None:
        refused(path, raw_gguf().tensor("w", [count]).build(), "w needs .* bytes, the whole file has")

    def test_offset(self, path: Path, raw_gguf, count: int) -> None:
        offset = count & ~31
        refused(path, raw_gguf(data=bytes(32)).tensor("w", [8], offset=offset).build(), "w ends at byte")


class TestShapes:
    """Dimensions that no tensor has."""

    @pytest.mark.parametrize("n_dims", [0, 5, 2**31, 2**32 - 1])
    def test_number_of_dimensions(self, path: Path, raw_gguf, n_dims: int) -> None:
        file = raw_gguf().tensor("w", [1, 1, 1, 1, 1], n_dims=n_dims)
        refused(path, file.build(), f"w has {n_dims} dimensions, it should have 1 to 4")

    @pytest.mark.parametrize("dims", [[0], [8, 0], [0, 8]])
    def test_a_dimension_of_zero(self, path: Path, raw_gguf, dims: list[int]) -> None:
        refused(path, raw_gguf(data=bytes(64)).tensor("w", dims).build(), "w has a dimension of 0")

    @pytest.mark.parametrize("dims", [[2**32, 2**32], [2**63, 2], [2**62, 4, 4], [2**16] * 4, [2**64 - 1] * 4])
    def test_products_that_overflow_64_bits(self, path: Path, raw_gguf, dims: list[int]) -> None:
        refused(path, raw_gguf(data=bytes(64)).tensor("w", dims).build(), "the whole file has")

    def test_rows_that_are_not_whole_blocks(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [33], kind=2)
        refused(path, file.build(), "rows of 33, not a multiple of Q4_0's block of 32")


class TestTypes:
    """Types that are not known, or in the wrong place."""

    @pytest.mark.parametrize("kind", [42, 1000, 2**31, 2**32 - 1])
    def test_unknown_tensor_type(self, path: Path, raw_gguf, kind: int) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [32], kind=kind)
        refused(path, file.build(), f"tensor type {kind}, which is not known", UnsupportedModelError)

    def test_tensor_type_of_the_past(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [32], kind=4)
        refused(path, file.build(), "Q4_2, which is no longer in use", UnsupportedModelError)

    def test_tensor_type_of_a_fork(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [32], kind=36)
        refused(path, file.build(), "w has the tensor type I2_S of Microsoft's fork", UnsupportedModelError)

    @pytest.mark.parametrize("kind", [13, 255, 2**32 - 1])
    def test_unknown_value_type(self, path: Path, raw_gguf, kind: int) -> None:
        refused(path, raw_gguf().raw_key("key", kind, bytes(16)).build(), f"key has the unknown value type {kind}")

    def test_unknown_element_type(self, path: Path, raw_gguf) -> None:
        file = raw_gguf().raw_key("key", ARRAY, struct.pack("<IQ", 77, 1) + bytes(8))
        refused(path, file.build(), "key is a list of the unknown type 77")

    def test_lists_of_lists(self, path: Path, raw_gguf) -> None:
        content = struct.pack("<IQ", ARRAY, 1) * 1000
        refused(path, raw_gguf().raw_key("key", ARRAY, content).build(), "key is a list of lists")


def test_a_name_of_absurd_length_is_not_told_in_full(path: Path, raw_gguf) -> None:
    path.write_bytes(raw_gguf().tensor("w" * MAX_NAME_BYTES, [8]).build())
    with pytest.raises(ModelFileError, match=r"hostile\.gguf: ww+ … w+ ends at byte") as caught:
        open_checkpoint(path)
    assert len(caught.value.message) < 2100


class TestAlignment:
    """`general.alignment` decides where tensors lie."""

    @pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1])
    def test_out_of_range(self, path: Path, raw_gguf, value: int) -> None:
        file = raw_gguf(data=bytes(64)).key("general.alignment", UINT32, value).tensor("w", [1])
        refused(path, file.build(), rf"general\.alignment is {value}, it should be between")

    @pytest.mark.parametrize("value", [3, 24, 33])
    def test_not_a_power_of_two(self, path: Path, raw_gguf, value: int) -> None:
        file = raw_gguf(data=bytes(64)).key("general.alignment", UINT32, value).tensor("w", [1])
        refused(path, file.build(), rf"general\.alignment is {value}, it should be a power of two")

    @pytest.mark.parametrize(("kind", "value"), [(STRING, "32"), (FLOAT32, 32.0), (BOOL, True)])
    def test_wrong_type(self, path: Path, raw_gguf, kind: int, value: object) -> None:
        file = raw_gguf(data=bytes(64)).key("general.alignment", kind, value).tensor("w", [1])
        refused(path, file.build(), r"general\.alignment should be an integer")

    def test_a_tensor_beside_it(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [1], offset=4)
        refused(path, file.build(), "offset 4, not a multiple of the alignment 32")


class TestPlaces:
    """Where tensors lie."""

    def test_past_the_end(self, path: Path, raw_gguf) -> None:
        refused(path, raw_gguf(data=bytes(32)).tensor("w", [8], offset=32).build(), "w ends at byte .* file has")

    def test_cut_off_by_one_byte(self, path: Path, raw_gguf) -> None:
        refused(path, raw_gguf(data=bytes(32)).tensor("w", [8]).build()[:-1], "w ends at byte")

    def test_overlapping(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(96)).tensor("a", [16]).tensor("b", [8], offset=32)
        refused(path, file.build(), "tensors a and b overlap")

    def test_the_same_place(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(96)).tensor("a", [8]).tensor("b", [8])
        refused(path, file.build(), "tensors a and b overlap")


class TestTwice:
    """Names that are there twice."""

    def test_a_key(self, path: Path, raw_gguf) -> None:
        file = raw_gguf().key("llama.block_count", UINT32, 1).key("llama.block_count", UINT32, 2)
        refused(path, file.build(), r"the key llama\.block_count is there twice")

    def test_a_tensor(self, path: Path, raw_gguf) -> None:
        file = raw_gguf(data=bytes(64)).tensor("w", [8]).tensor("w", [8], offset=32)
        refused(path, file.build(), "w is there twice")


class TestVersions:
    """Versions that are not read."""

    @pytest.mark.parametrize("version", [0, 4, 2**31 + 1])
    def test_unknown(self, path: Path, raw_gguf, version: int) -> None:
        refused(path, raw_gguf(version=version).build(), f"GGUF version {version}", UnsupportedModelError)

    def test_big_endian(self, path: Path) -> None:
        content = b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
        refused(path, content, "for big-endian machines", UnsupportedModelError)


def whole_file(raw_gguf: Callable[..., object], version: int) -> bytes:
    file = raw_gguf(version=version, data=bytes(64))
    file.key("general.architecture", STRING, "llama").array("tokens", STRING, ["a", "bc"])
    file.array("scores", FLOAT32, [1.0, 2.0]).key("flag", BOOL, True)
    return file.tensor("a", [4, 2]).tensor("b", [8], offset=32).build()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_cut_off_at_every_byte(path: Path, raw_gguf, version: int) -> None:
    content = whole_file(raw_gguf, version)
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match=r"hostile\.gguf"):
            open_checkpoint(path)
    path.write_bytes(content)
    assert len(open_checkpoint(path).tensors) == 2


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_never_crash(path: Path, raw_gguf, data: st.DataObject) -> None:
    content = bytearray(whole_file(raw_gguf, data.draw(st.sampled_from([1, 2, 3]))))
    interesting = st.sampled_from([0, 1, 2, 4, 8, 9, 32, 2**16, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(content) - 65))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            content[at : at + 8] = struct.pack("<Q", data.draw(interesting))
    path.write_bytes(content)
    try:
        checkpoint = open_checkpoint(path)
    except EngineError as error:
        assert str(path) in error.message
    else:
        size = path.stat().st_size
        assert all(0 < t.offset and t.offset + t.n_bytes <= size for t in checkpoint.tensors.values())
        for value in checkpoint.metadata.values():
            if not isinstance(value, (int, float)):
                # What is read only when it is asked for can be read.
                list(value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(version=st.sampled_from([1, 2, 3]), rest=st.binary(max_size=300))
def test_noise_after_the_magic_never_crashes(path: Path, version: int, rest: bytes) -> None:
    path.write_bytes(b"GGUF" + struct.pack("<I", version) + rest)
    try:
        open_checkpoint(path)
    except EngineError as error:
        assert str(path) in error.message
