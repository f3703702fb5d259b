"""PyTorch's files: real ones are read, and whatever asks for more than tensors is refused unrun."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.pickles import MAX_BYTES, UnsafePickleError, read_pickle
from engine.checkpoints.rows import read_rows
from engine.checkpoints.torch_zip import read_torch
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine.checkpoints.refusing import refused_by

DATA = Path(__file__).parents[2] / "data" / "pytorch"

DEEP = b")" + b"\x85" * 5000
DOUBLED = b")q\x00" + b"h\x00\x86q\x00" * 60
LONG = b"\x8b\0\x10\0\0" + b"\x7f" * 4096
"""Values of a pickle that are nested 5000 times, written as 2^60 parts, and a number of ten thousand digits."""


def floats(tensor):
    rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
    raw = np.ascontiguousarray(read_rows(tensor, 0, rows))
    kinds = {"F32": np.float32, "F16": np.float16}
    if tensor.type.name == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)
    return raw.view(kinds[tensor.type.name]).astype(np.float32).reshape(tensor.shape)


class TestRealFiles:
    """Files that PyTorch 2.13 wrote, by tests/data/pytorch/write.py; values count up from 0 in steps of 1/8."""

    @pytest.mark.parametrize("name", ["half", "bfloat", "float"])
    def test_every_type(self, name: str) -> None:
        tensors = read_torch(DATA / f"{name}.pth")
        assert {key: tensor.shape for key, tensor in tensors.items()} == {"matrix": (3, 8), "vector": (5,)}
        np.testing.assert_array_equal(floats(tensors["matrix"]), np.arange(24).reshape(3, 8) / 8)
        np.testing.assert_array_equal(floats(tensors["vector"]), np.arange(5) / 8)

    def test_views_of_one_storage(self) -> None:
        tensors = read_torch(DATA / "views.pth")
        whole = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
        np.testing.assert_array_equal(floats(tensors["rows"]), whole[1:3])
        np.testing.assert_array_equal(floats(tensors["columns"]), whole[:, 2:5])
        np.testing.assert_array_equal(floats(tensors["turned"]), whole.T)
        np.testing.assert_array_equal(read_rows(tensors["turned"], 2, 1).view(np.float32)[0], whole.T[2])

    def test_parameters_and_wrappers(self) -> None:
        tensors = read_torch(DATA / "wrapped.pth")
        assert list(tensors) == ["parameter"]
        np.testing.assert_array_equal(floats(tensors["parameter"]), np.arange(6).reshape(2, 3) / 8)

    def test_a_module_with_its_versions(self) -> None:
        assert {key: t.shape for key, t in read_torch(DATA / "module.pth").items()} == {
            "weight": (2, 4),
            "bias": (2,),
        }

    def test_shards_make_a_whole(self, tmp_path: Path, write, spm_pieces) -> None:
        folder = tmp_path / "7B"
        shutil.copytree(DATA / "consolidated", folder)
        write.write_tokenizer(folder / "tokenizer.model", write.pieces_of(spm_pieces, 264))
        checkpoint = open_checkpoint(folder)
        assert checkpoint.format == "PyTorch (Meta), 2 parts"
        for tensor in checkpoint.tensors.values():
            expected = np.arange(tensor.n_elements).reshape(tensor.shape) % 256 / 8 if len(tensor.shape) > 1 else 1
            np.testing.assert_array_equal(floats(tensor), np.broadcast_to(expected, tensor.shape))
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)

    def test_a_pickle_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "other.bin").write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(UnsupportedModelError, match="is a pickle, but no model of PyTorch"):
            open_checkpoint(tmp_path / "other.bin")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.pth"


def refused(path: Path, match: str, kind: type[EngineError] = ModelFileError) -> None:
    refused_by(read_torch, path, match, kind, path.stat().st_size + (1 << 20))


def write_pickle(write, path: Path, raw: bytes, **files: bytes) -> Path:
    return write.write_zip(path, {"archive/data.pkl": raw, "archive/data/0": bytes(64), **files})


class TestHostilePickles:
    """What a pickle may not ask for."""

    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (os.system, rf"{os.system.__module__}\.system"),
            (eval, r"_*builtins?_*\.eval"),
            (exec, r"_*builtins?_*\.exec"),
            (__import__, r"_*builtins?_*\.__import__"),
            (getattr, r"_*builtins?_*\.getattr"),
            (open, r"\w+\.open"),
        ],
    )
    @pytest.mark.parametrize("protocol", [0, 1, 2, 4])
    def test_calls_are_refused_by_name(self, path: Path, write, function, name: str, protocol: int) -> None:
        proof = path.with_name("proof")

        class Harm:
            def __reduce__(self):
                return function, (f"touch {proof}",)

        write_pickle(write, path, pickle.dumps({"weight": Harm()}, protocol))
        refused(path, f"asks for {name}", UnsafePickleError)
        assert not proof.exists()

    @pytest.mark.parametrize(
        "name",
        [
            "torch.load",
            "torch.hub.load",
            "torch._utils._rebuild_tensor",
            "torch.storage._load_from_bytes",
            "collections.Counter",
            "numpy.core.multiarray._reconstruct",
            "functools.partial",
            "torch.HalfStorage.from_file",
        ],
    )
    def test_other_globals_are_refused_by_name(self, path: Path, write, name: str) -> None:
        module, _, member = name.rpartition(".")
        write_pickle(write, path, b"\x80\x02c" + f"{module}\n{member}\n".encode() + b")R.")
        refused(path, f"asks for {name}", UnsafePickleError)

    @pytest.mark.parametrize(
        "code",
        [
            b"",
            b".",
            b"\x80\x02",
            b"\x80\x02R.",
            b"\x80\x02t.",
            b"\x80\x02h\x05.",
            b"\x80\x02K\x01K\x02.",
            b"\x80\x02}b.",
            b"\x80\x02X\xff\xff\xff\x7fabc.",
            b"\x8b\xff\xff\xff\x7f.",
            b"\x80\x02(((((.",
            b"\x80\x02})K\x01s.",
            b"I1" * 9000,
        ],
    )
    def test_nonsense(self, path: Path, write, code: bytes) -> None:
        write_pickle(write, path, code)
        refused(path, r"pickle|tensors")

    def test_one_that_would_take_forever_to_hash(self, path: Path, write) -> None:
        raw = b"\x80\x02}K\x01" + b"\x85q\x00h\x00\x86" * 200 + b"K\x01s."
        write_pickle(write, path, raw)
        refused(path, "a key that is neither text nor number")

    @pytest.mark.parametrize("value", [DEEP, DOUBLED, LONG], ids=["deep", "doubled", "long"])
    def test_names_that_would_take_forever_to_write_down(self, path: Path, write, value: bytes) -> None:
        write_pickle(write, path, b"\x80\x04}" + write.text_op("torch") + value + b"\x93.")
        refused(path, "by what is no name")

    @pytest.mark.parametrize("value", [DEEP, DOUBLED, LONG], ids=["deep", "doubled", "long"])
    @pytest.mark.parametrize("place", ["key", "offset"])
    def test_values_that_would_take_forever_to_write_down(self, path: Path, write, value: bytes, place: str) -> None:
        whole = write.tensor_op("0", "FloatStorage", [4])
        at = whole.index(b"Q") + 1
        strange = {
            "key": whole.replace(write.text_op("0"), value),
            "offset": whole[:at] + value + whole[at + len(write.int_op(0)) :],
        }
        write_pickle(write, path, b"\x80\x02}" + write.text_op("w") + strange[place] + b"s.")
        refused(path, "impossible .* of the kind (tuple|int)")

    def test_a_pickle_of_absurd_size(self, path: Path, write) -> None:
        write_pickle(write, path, b"]" * (MAX_BYTES + 1))
        refused(path, "data.pkl has .* bytes, the limit is")

    def test_attributes_of_what_was_called(self, path: Path, write) -> None:
        call = write.tensor_op("0", "FloatStorage", [4])
        write_pickle(write, path, b"\x80\x02}" + write.text_op("w") + call + b"}b" + b"s.")
        refused(path, "sets the state of something else")


class TestHostileTensors:
    """Tensors that reach out of their storage, which has 64 bytes."""

    @pytest.mark.parametrize(
        ("shape", "changes", "match"),
        [
            ([4, 5], {"numel": 16}, "needs 20 numbers, its storage has 16"),
            ([17], {}, "storage of 17 numbers, the file has 64 bytes"),
            ([4], {"offset": 13, "numel": 16}, "needs 17 numbers, its storage has 16"),
            ([4], {"offset": -1}, "impossible offset -1"),
            ([4, 4], {"strides": [-4, 1]}, "impossible stride -4"),
            ([-4, 4], {"numel": 16}, "impossible size -4"),
            ([4, 4], {"strides": [5, 1]}, "needs 19 numbers, its storage has 16"),
            ([2**40, 2**40], {"strides": [0, 0], "numel": 16}, "needs .* numbers, its storage has 16"),
            ([2, 2**62], {"strides": [2**62, 1], "numel": 16}, "needs .* numbers, its storage has 16"),
            ([4], {"numel": -1}, "impossible storage size -1"),
            ([4], {"offset": 2**63, "numel": 16}, "impossible offset"),
            ([4, 4], {"strides": [1]}, "2 sizes and 1 strides"),
            ([1] * 9, {"numel": 1}, "no size of the usual form"),
            ([2, 2, 2], {"strides": [1, 2, 4], "numel": 16}, "does not lie in one piece"),
        ],
    )
    def test_places(self, path: Path, write, shape, changes, match: str) -> None:
        raw = write.state_pickle({"w": write.tensor_op("0", "FloatStorage", shape, **changes)})
        write_pickle(write, path, raw)
        refused(path, match, UnsupportedModelError if "one piece" in match else ModelFileError)

    @pytest.mark.parametrize("key", ["../0", "/etc/passwd", "a/b", "0\0", "", "..", "x" * 65])
    def test_names_of_storages(self, path: Path, write, key: str) -> None:
        write_pickle(write, path, write.state_pickle({"w": write.tensor_op(key, "FloatStorage", [4])}))
        refused(path, "a storage with the impossible name")

    def test_a_storage_that_is_not_there(self, path: Path, write) -> None:
        write_pickle(write, path, write.state_pickle({"w": write.tensor_op("7", "FloatStorage", [4])}))
        refused(path, "a storage 7 that is not in the file")

    def test_a_storage_that_is_none(self, path: Path, write) -> None:
        raw = write.state_pickle({"w": write.tensor_op("0", "Tensor", [4])})
        write_pickle(write, path, raw)
        refused(path, "a storage of the kind torch.Tensor")

    @pytest.mark.parametrize("root", [b"N", b"]", b"}", b"K\x01", b"X\x01\0\0\0a"])
    def test_no_tensors_at_all(self, path: Path, write, root: bytes) -> None:
        write_pickle(write, path, b"\x80\x02" + root + b".")
        refused(path, "holds no")


class TestHostileZips:
    """Archives that PyTorch never writes."""

    @pytest.fixture
    def state(self, write) -> bytes:
        return write.state_pickle({"w": write.tensor_op("0", "FloatStorage", [4])})

    def test_compressed_entries(self, path: Path, write, state: bytes) -> None:
        files = {"a/data.pkl": state, "a/data/0": bytes(64)}
        write.write_zip(path, files, zipfile.ZIP_DEFLATED)
        refused(path, "is compressed")

    def test_a_bomb(self, path: Path, write, state: bytes) -> None:
        write.write_zip(path, {"a/data.pkl": state, "a/data/0": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
        refused(path, "is compressed")

    def test_entries_that_are_there_twice(self, path: Path, write, state: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", state)
            archive.writestr("a/data/0", bytes(64))
            archive.writestr("a/data/0", bytes(64))
        refused(path, "'a/data/0' is there twice")

    @pytest.mark.parametrize("names", [["a/data.pkl", "b/data.pkl"], ["a/data.pkl", "a/other.pkl"], ["a/x.pkl"], ["a"]])
    def test_another_number_of_pickles(self, path: Path, write, state: bytes, names: list[str]) -> None:
        write.write_zip(path, dict.fromkeys(names, state))
        refused(path, "pickles called data.pkl")

    def test_entries_over_one_another(self, path: Path, write, state: bytes) -> None:
        write.write_zip(path, {"a/data.pkl": state, "a/data/0": bytes(64), "a/data/1": bytes(64)})
        content = bytearray(path.read_bytes())
        first, second = (content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 46 * n) for n in (1, 2))
        content[second + 42 : second + 46] = content[first + 42 : first + 46]
        path.write_bytes(content)
        refused(path, "reaches into what follows it")

    @pytest.mark.parametrize("value", [2**32 - 2, 2**32 - 1, 1 << 20])
    @pytest.mark.parametrize("field", [20, 42])
    def test_sizes_and_places_past_the_end(self, path: Path, write, state: bytes, field: int, value: int) -> None:
        write.write_zip(path, {"a/data.pkl": state})
        content = bytearray(path.read_bytes())
        at = content.index(b"PK\x01\x02")
        struct.pack_into("<I", content, at + field, value)
        if field == 20:
            struct.pack_into("<I", content, at + 24, value)
        path.write_bytes(content)
        refused(path, "reaches into|begin where it should|has no size")

    def test_a_directory_of_absurd_size(self, path: Path, write, state: bytes) -> None:
        write.write_zip(path, {"a/data.pkl": state})
        content = bytearray(path.read_bytes())
        at = content.rindex(b"PK\x05\x06")
        struct.pack_into("<L", content, at + 12, 2**32 - 1)
        path.write_bytes(content)
        refused(path, "directory at byte .* reaches past the end")

    @pytest.mark.parametrize("order", [b"big", b"", b"little" * 1000])
    def test_another_byte_order(self, path: Path, write, state: bytes, order: bytes) -> None:
        write.write_zip(path, {"a/data.pkl": state, "a/byteorder": order, "a/data/0": bytes(64)})
        refused(path, "big-endian", UnsupportedModelError)

    def test_cut_off_anywhere(self, path: Path, write, state: bytes) -> None:
        write.write_zip(path, {"a/data.pkl": state, "a/data/0": bytes(64)})
        content = path.read_bytes()
        for cut in range(4, len(content)):
            path.write_bytes(content[:cut])
            with pytest.raises(EngineError):
                read_torch(path)


def test_large_archives_have_wide_numbers(path: Path, write) -> None:
    """As for files over 4 GB: sizes and offsets in 64 bits."""
    state = write.state_pickle({"w": write.tensor_op("0", "FloatStorage", [16])})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("a/data.pkl", state), ("a/data/0", np.arange(16, dtype=np.float32).tobytes())):
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    name_length, header = (
        struct.unpack_from("<H", content, entry + 28)[0],
        struct.unpack_from("<L", content, entry + 42)[0],
    )
    wide = struct.pack("<HHQ", 1, 8, header)
    struct.pack_into("<L", content, entry + 42, 2**32 - 1)
    struct.pack_into("<H", content, entry + 30, len(wide))
    content[entry + 46 + name_length : entry + 46 + name_length] = wide
    end = content.rindex(b"PK\x05\x06")
    directory = struct.unpack_from("<L", content, end + 16)[0]
    size = end - directory
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, directory)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    struct.pack_into("<LL", content, end + 12, 2**32 - 1, 2**32 - 1)
    content[end:end] = record + locator
    path.write_bytes(content)
    np.testing.assert_array_equal(floats(read_torch(path)["w"]), np.arange(16, dtype=np.float32))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_never_crash_it(path: Path, write, data: st.DataObject) -> None:
    raw = bytearray(write.state_pickle({"w": write.tensor_op("0", "FloatStorage", [4, 4])}))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=5)):
        raw[at] = data.draw(st.integers(0, 255))
    write_pickle(write, path, bytes(raw))
    try:
        tensors = read_torch(path)
    except EngineError:
        return
    for tensor in tensors.values():
        assert read_rows(tensor, 0, tensor.shape[0] if len(tensor.shape) > 1 else 1).nbytes <= 64


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_of_the_archive_never_crash_it(path: Path, write, data: st.DataObject) -> None:
    """Its directory above all: places, sizes, names, and what says where the directory is."""
    write_pickle(write, path, write.state_pickle({"w": write.tensor_op("0", "FloatStorage", [4, 4])}))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    spots = st.integers(directory, len(content) - 1) | st.integers(0, len(content) - 1)
    sizes = st.sampled_from([0, 1, 64, 2**16 - 1, 2**31, 2**32 - 1])
    for at in data.draw(st.lists(spots, min_size=1, max_size=4)):
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            content[at : at + 4] = struct.pack("<L", data.draw(sizes))
    path.write_bytes(content[: data.draw(st.integers(len(content) - 30, len(content)))])
    try:
        tensors = read_torch(path)
    except EngineError as error:
        assert error.message
        return
    for tensor in tensors.values():
        assert read_rows(tensor, 0, tensor.n_rows).nbytes <= 64


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_never_crashes_the_machine(noise: bytes) -> None:
    for raw in (noise, b"\x80\x02" + noise):
        try:
            read_pickle(raw, frozenset(), "noise")
        except EngineError as error:
            assert "noise" in str(error)
