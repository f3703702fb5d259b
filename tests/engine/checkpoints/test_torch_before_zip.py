"""PyTorch's files before version 1.6: a real one and others are read, and whatever is not whole is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.pickles import UnsafePickleError
from engine.checkpoints.rows import read_rows
from engine.checkpoints.torch_zip import read_torch
from engine.errors import EngineError, ModelFileError, UnsupportedModelError

REAL = Path(__file__).parents[2] / "data" / "pytorch" / "before_1_6.pth"

WEIGHTS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(4, 6),
    "b.weight": np.arange(40, dtype=np.float16).reshape(5, 8),
    "c.bias": np.arange(7, dtype=np.uint16),
}


def test_a_real_file() -> None:
    (tensor,) = read_torch(REAL).values()
    assert (tensor.name, tensor.shape) == ("w", (2, 2))
    np.testing.assert_array_equal(np.array(read_rows(tensor, 0, 2)).view(np.float32), [[0, 0.125], [0.25, 0.375]])
    with pytest.raises(ModelFileError, match="has weights only"):
        open_checkpoint(REAL)


def test_storages_one_after_the_other(tmp_path: Path, write) -> None:
    tensors = read_torch(write.write_torch_before_zip(tmp_path / "w.bin", WEIGHTS))
    assert {name: tensor.type.name for name, tensor in tensors.items()} == {
        "a.weight": "F32",
        "b.weight": "F16",
        "c.bias": "BF16",
    }
    for name, expected in WEIGHTS.items():
        rows = read_rows(tensors[name], 0, tensors[name].n_rows)
        np.testing.assert_array_equal(np.array(rows).view(expected.dtype).reshape(expected.shape), expected)


def test_a_folder_with_such_weights(tmp_path: Path, write, tiny_llama, decode) -> None:
    newer = write.write_hugging_face(tmp_path / "newer", tiny_llama, kind="PyTorch")
    older = write.write_hugging_face(tmp_path / "older", tiny_llama, kind="PyTorch")
    write.write_torch_before_zip(older / "pytorch_model.bin", write.hugging_face_tensors(tiny_llama))
    assert decode(older) == decode(newer)
    assert open_checkpoint(older / "pytorch_model.bin").format == open_checkpoint(newer).format


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"version": 1000}, ModelFileError, "of a version that PyTorch never had"),
        ({"little_endian": False}, UnsupportedModelError, "big-endian"),
        ({"names": ["1"]}, ModelFileError, "storage '1' is not whole"),
        ({"names": []}, ModelFileError, "has a storage 93985734215984 that is not in the file"),
        ({"names": "abc"}, ModelFileError, "does not name its storages"),
        ({"more": 1}, ModelFileError, "is not whole"),
        ({"more": -100}, ModelFileError, "is not whole"),
        ({"more": 1 << 60}, ModelFileError, "is not whole"),
        ({"view": b"K\x01"}, UnsupportedModelError, "a part of another one"),
        ({"view": b"cos\nsystem\n"}, UnsafePickleError, r"asks for os\.system"),
    ],
)
def test_what_is_refused(tmp_path: Path, write, changes: dict, kind: type[EngineError], match: str) -> None:
    path = write.write_torch_before_zip(tmp_path / "w.bin", WEIGHTS, **changes)
    with pytest.raises(kind, match=match) as caught:
        read_torch(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("n_bytes", [15, 20, 100, 300, 700, 900])
def test_what_is_cut_off(tmp_path: Path, write, n_bytes: int) -> None:
    path = write.write_torch_before_zip(tmp_path / "w.bin", WEIGHTS)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ModelFileError):
        read_torch(path)
