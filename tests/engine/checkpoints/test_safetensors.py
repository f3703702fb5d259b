"""safetensors files: sound ones are read in place, and headers that lie are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints.rows import read_rows
from engine.checkpoints.safetensors import MAX_HEADER_BYTES, read_safetensors
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine.checkpoints.refusing import refused_by


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def write_raw(path: Path, header: Any, data: bytes, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(kind: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("padding", range(8))
def test_weights_come_out_wherever_they_lie(path: Path, padding: int) -> None:
    matrix, vector = np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(2, dtype=np.float16)
    header = {
        "__metadata__": {"format": "pt", "x": "y" * padding},
        "v": entry("F16", [2], [48, 52]),
        "m": entry("F32", [3, 4], [0, 48]),
    }
    tensors = read_safetensors(write_raw(path, header, matrix.tobytes() + vector.tobytes()))
    np.testing.assert_array_equal(read_rows(tensors["m"], 1, 2).view(np.float32), matrix[1:])
    np.testing.assert_array_equal(read_rows(tensors["v"], 0, 1).view(np.float16)[0], vector)
    assert (tensors["m"].shape, tensors["m"].type.name, tensors["v"].type.name) == ((3, 4), "F32", "F16")


def refused(path: Path, match: str, kind: type[EngineError] = ModelFileError) -> None:
    refused_by(read_safetensors, path, match, kind, 20 * path.stat().st_size + (1 << 20))


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 2**30, MAX_HEADER_BYTES, 75])
def test_headers_longer_than_the_file(path: Path, length: int) -> None:
    write_raw(path, {"w": entry()}, bytes(0), length)
    refused(path, f"header should have {length} bytes, the limit is")


def test_headers_longer_than_the_limit(path: Path) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES * 2)
    with pytest.raises(ModelFileError, match=f"the limit is {MAX_HEADER_BYTES}"):
        read_safetensors(path)


@pytest.mark.parametrize("n_bytes", range(8))
def test_too_short(path: Path, n_bytes: int) -> None:
    path.write_bytes(b"\0" * n_bytes)
    refused(path, "too short")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"w": 1}',
        b"\xff",
        b'{"w": {}, "w": {}}',
        b'{"w": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda header: repr(header[:20]),
)
def test_headers_that_are_no_description(path: Path, header: bytes) -> None:
    write_raw(path, header, bytes(16))
    refused(path, "JSON|no description|has the type None", EngineError)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": [5]}, r"needs 20 bytes, it has 16"),
        ({"shape": [2**40, 2**40]}, "needs .* bytes, it has 16"),
        ({"shape": [-4]}, "impossible shape"),
        ({"shape": [2**63]}, "impossible shape"),
        ({"shape": [4.0]}, "impossible shape"),
        ({"shape": [True, 4]}, "impossible shape"),
        ({"shape": "4"}, "impossible shape"),
        ({"shape": None}, "impossible shape"),
        ({"shape": [1] * 9}, "impossible shape"),
        ({"offsets": [0, 2**64]}, "lies at"),
        ({"offsets": [0, 17]}, "lies at"),
        ({"offsets": [16, 0]}, "lies at"),
        ({"offsets": [-16, 0]}, "lies at"),
        ({"offsets": [0]}, "lies at"),
        ({"offsets": {}}, "lies at"),
        ({"offsets": [0, "16"]}, "lies at"),
    ],
)
def test_impossible_places(path: Path, changes: dict[str, Any], match: str) -> None:
    write_raw(path, {"w": entry(**changes)}, bytes(16))
    refused(path, match)


@pytest.mark.parametrize("kind", ["F8_E5M2", "F4", "", "f32", None, 7, []])
def test_types_that_are_not_known(path: Path, kind: Any) -> None:
    write_raw(path, {"w": entry(kind)}, bytes(16))
    refused(path, "which is not known", UnsupportedModelError)


def test_tensors_over_one_another(path: Path) -> None:
    write_raw(path, {"a": entry(), "b": entry(offsets=[8, 24])}, bytes(24))
    refused(path, "the tensors a and b overlap")


def test_the_same_place_twice(path: Path) -> None:
    write_raw(path, {"a": entry(), "b": entry()}, bytes(16))
    refused(path, "the tensors a and b overlap")


@pytest.mark.parametrize(("begin", "end", "size"), [(8, 24, 24), (0, 16, 20)])
def test_bytes_of_no_tensor(path: Path, begin: int, end: int, size: int) -> None:
    write_raw(path, {"a": entry(offsets=[begin, end])}, bytes(size))
    refused(path, "bytes after .* are of no tensor")


def test_cut_off_anywhere(path: Path) -> None:
    content = write_raw(path, {"a": entry(), "b": entry(offsets=[16, 32])}, bytes(32)).read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(EngineError):
            read_safetensors(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_never_crash_it(path: Path, data: st.DataObject) -> None:
    content = bytearray(write_raw(path, {"a": entry(), "b": entry(offsets=[16, 32])}, bytes(32)).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        tensors = read_safetensors(path)
    except EngineError:
        return
    for tensor in tensors.values():
        assert tensor.offset + tensor.n_bytes <= len(content)
