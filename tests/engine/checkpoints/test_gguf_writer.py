"""Headers as this project writes them: the reference package and our own reader find in them what went in."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType

from engine.checkpoints import TYPE_BY_NAME, Metadata, open_checkpoint
from engine.checkpoints.gguf_writer import NewTensor, lay_out

TENSORS = [
    NewTensor("matrix", (3, 64), TYPE_BY_NAME["Q4_0"]),
    NewTensor("vector", (5,), TYPE_BY_NAME["F32"]),
    NewTensor("stack", (2, 3, 256), TYPE_BY_NAME["Q6_K"]),
]

KEYS = {
    "general.architecture": "llama",
    "small": 7,
    "negative": -7,
    "large": 2**32,
    "very large": 2**64 - 1,
    "very negative": -(2**40),
    "real": 0.5,
    "huge": 1e300,
    "yes": True,
    "no": False,
    "name": "Käse\U0001f9c0",
    "empty": "",
    "texts": ["a", "", "▁b"],
    "flags": (True, False, True),
    "floats": array("f", [1.5, -2.0]),
    "doubles": array("d", [0.1]),
    "bytes": array("B", [0, 255]),
    "signed": array("i", [-1, 2]),
    "long": array("q", [-(2**40)]),
}


def write(path, keys, tensors):
    layout = lay_out(Metadata(keys), tensors)
    path.write_bytes(layout.header + bytes(layout.size - len(layout.header)))
    return layout


def test_keys_come_back_as_they_were(tmp_path):
    write(tmp_path / "m.gguf", KEYS, TENSORS)
    found = open_checkpoint(tmp_path / "m.gguf").metadata
    assert list(found) == list(KEYS)
    for key, value in KEYS.items():
        assert (list(found[key]) if isinstance(value, list) else found[key]) == value, key


def test_the_reference_package_reads_the_same(tmp_path):
    layout = write(tmp_path / "m.gguf", KEYS, TENSORS)
    reader = GGUFReader(tmp_path / "m.gguf")
    assert {key: reader.fields[key].contents() for key in KEYS} == {
        key: list(value) if isinstance(value, (array, tuple)) else value for key, value in KEYS.items()
    }
    kinds = {key: reader.fields[key].types[0] for key in KEYS}
    assert kinds["small"] == GGUFValueType.UINT32
    assert kinds["negative"] == GGUFValueType.INT32
    assert kinds["large"] == kinds["very large"] == GGUFValueType.UINT64
    assert kinds["very negative"] == GGUFValueType.INT64
    assert kinds["real"] == GGUFValueType.FLOAT32
    assert kinds["huge"] == GGUFValueType.FLOAT64
    for new, read in zip(TENSORS, reader.tensors, strict=True):
        assert (read.name, read.tensor_type.name, read.n_bytes) == (new.name, new.type.name, new.n_bytes)
        assert tuple(reversed(read.shape)) == new.shape
        assert read.data_offset == layout.offsets[new.name]


@pytest.mark.parametrize("alignment", [1, 8, 32, 64, 4096])
def test_tensors_begin_on_the_alignment(alignment, tmp_path):
    layout = write(tmp_path / "m.gguf", {"general.alignment": alignment}, TENSORS)
    assert all(offset % alignment == 0 for offset in [*layout.offsets.values(), len(layout.header), layout.size])
    found = open_checkpoint(tmp_path / "m.gguf").tensors
    assert {name: tensor.offset for name, tensor in found.items()} == layout.offsets


def test_numbers_keep_the_type_that_a_file_had_for_them(raw_gguf, tmp_path):
    raw = raw_gguf().key("a", 0, 200).key("b", 2, 3).key("c", 5, 7).key("d", 11, 9).key("e", 12, 0.5).key("f", 6, 0.1)
    source = raw.write(tmp_path / "old.gguf")
    metadata = open_checkpoint(source).metadata
    header = lay_out(metadata, []).header
    assert header.rstrip(b"\0") == source.read_bytes().rstrip(b"\0")


def test_real_numbers_are_of_32_bits_where_nobody_knows_better(tmp_path):
    write(tmp_path / "m.gguf", {"eps": 1e-6}, [])
    field = GGUFReader(tmp_path / "m.gguf").fields["eps"]
    assert (field.contents(), field.types) == (float(np.float32(1e-6)), [GGUFValueType.FLOAT32])


def test_a_number_that_outgrew_its_type_gets_a_larger_one(raw_gguf, tmp_path):
    metadata = open_checkpoint(raw_gguf().key("a", 0, 200).write(tmp_path / "old.gguf")).metadata
    metadata["a"] = 300
    (tmp_path / "new.gguf").write_bytes(lay_out(metadata, []).header)
    assert open_checkpoint(tmp_path / "new.gguf").metadata["a"] == 300


def test_infinite_and_undefined_numbers_are_written_as_they_are(tmp_path):
    write(tmp_path / "m.gguf", {"inf": float("inf"), "nan": float("nan")}, [])
    found = open_checkpoint(tmp_path / "m.gguf").metadata
    assert found["inf"] == np.inf
    assert found["nan"] != found["nan"]


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused(value):
    with pytest.raises(ValueError, match="beyond 64 bits"):
        lay_out(Metadata({"key": value}), [])


@pytest.mark.parametrize("value", [None, [1, "a"], b"raw"])
def test_what_a_gguf_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="cannot hold"):
        lay_out(Metadata({"key": value}), [])
