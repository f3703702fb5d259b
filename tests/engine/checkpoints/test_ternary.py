"""Folders whose weights are -1, 0 or 1, four to a byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from engine.checkpoints.rows import read_rows
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.checkpoints.ternary import as_stored
from engine.errors import EngineError, ModelFileError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder

DIVIDED = {"quant_method": "bitnet"}
MULTIPLIED = DIVIDED | {"linear_class": "autobitlinear", "quantization_mode": "offline"}
SCALE = np.float32(1.40625)


def ternary(weights: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weights / np.abs(weights).mean()), -1, 1)


def packed(weights: np.ndarray) -> np.ndarray:
    """Four rows, a quarter of all rows apart, in a row of bytes."""
    quarters = (weights + 1).astype(np.uint8).reshape(4, -1, weights.shape[1])
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def ternary_folder(folder: Path, write, name: str, how: dict[str, Any]) -> Path:
    """The matrices of layers packed, with the same scale; rows of 256 weights but for the last matrix of each layer."""
    twin = open_checkpoint(tiny_models.write_tiny(folder.with_suffix(".gguf"), name, dim=256))
    write_folder(folder, twin, write, name)
    tensors = {}
    for foreign, tensor in read_weights([folder / "model.safetensors"]).items():
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if values.ndim == 2 and "layers." in foreign:
            tensors[f"{foreign}_scale"] = np.array([SCALE])
            values = packed(ternary(values))
        tensors[foreign] = values
    write.write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))
    return folder


@pytest.mark.parametrize(
    ("name", "how", "factor"),
    [("bitnet-b1.58", MULTIPLIED, SCALE), ("bitnet-b1.58", DIVIDED, 1 / SCALE), ("llama", DIVIDED, 1 / SCALE)],
)
def test_bytes_become_weights(tmp_path: Path, write, decode, name: str, how: dict[str, Any], factor: float) -> None:
    """Bit for bit, read in pieces that begin and end amid a quarter."""
    folder = ternary_folder(tmp_path / "model", write, name, how)
    twin, found = open_checkpoint(tmp_path / "model.gguf").tensors, open_checkpoint(folder).tensors
    assert found.keys() == twin.keys()
    for key, tensor in found.items():
        expected = read_floats(twin[key], 0, tensor.n_rows)
        if key.startswith("blk.") and len(tensor.shape) > 1:
            assert tensor.type.name == ("F16" if "ffn_down" in key else "TQ2_0")
            assert tensor.shape == twin[key].shape
            pieces = [read_rows(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))
            expected = ternary(expected) * np.float32(np.float16(factor))
        np.testing.assert_array_equal(read_floats(tensor, 0, tensor.n_rows), expected)
    assert decode(folder)


def plain_folder(folder: Path, write, kind: type) -> Path:
    """Numbers that are to become -1, 0 or 1 only while the model runs."""
    twin = open_checkpoint(tiny_models.write_tiny(folder.with_suffix(".gguf"), "bitnet-b1.58", dim=256))
    write_folder(folder, twin, write, "bitnet-b1.58")
    tensors = {
        name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape).astype(kind)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
    }
    write.write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    how = MULTIPLIED | {"quantization_mode": "online"}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))
    return folder


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_numbers_become_weights(tmp_path: Path, write, decode, monkeypatch, kind: type) -> None:
    monkeypatch.setattr("engine.checkpoints.ternary.ROWS_AT_ONCE", 37)
    folder = plain_folder(tmp_path / "model", write, kind)
    twin, found = open_checkpoint(tmp_path / "model.gguf").tensors, open_checkpoint(folder).tensors
    assert found.keys() == twin.keys()
    for key, tensor in found.items():
        expected = read_floats(twin[key], 0, tensor.n_rows).astype(kind).astype(np.float32)
        if key.startswith("blk.") and len(tensor.shape) > 1:
            assert tensor.type.name == ("F16" if "ffn_down" in key else "TQ2_0")
            pieces = [read_rows(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))
            expected = ternary(expected) * np.float16(np.abs(expected.astype(np.float64)).mean())
        np.testing.assert_array_equal(read_floats(tensor, 0, tensor.n_rows), expected)
    assert decode(folder)


@pytest.mark.parametrize(("number", "nearest"), [(1.00390625, 1.0), (1.01171875, 1.015625), (1.005, 1.0078125)])
def test_a_mean_has_as_many_digits_as_the_weights(number: float, nearest: float) -> None:
    assert as_stored(np.float32(number), TYPE_BY_NAME["BF16"]) == nearest


def test_numbers_that_are_none(tmp_path: Path, write) -> None:
    folder = plain_folder(tmp_path / "model", write, np.float32)
    tensors = {
        name: np.array(read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape))
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
    }
    tensors["model.layers.1.self_attn.q_proj.weight"][3, 5] = np.nan
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"q_proj\.weight has numbers in it that are not finite"):
        read_rows(open_checkpoint(folder).tensors["blk.1.attn_q.weight"], 0, 8)


@pytest.mark.parametrize(
    ("how", "changed", "kind", "match"),
    [
        (DIVIDED | {"linear_class": 1}, {}, ModelFileError, "linear_class"),
        (
            DIVIDED,
            {"weight_scale": np.ones(3, np.float32)},
            ModelFileError,
            "with a scale of shape .3,. are no weights",
        ),
        (DIVIDED, {"weight_scale": np.zeros(1, np.float32)}, ModelFileError, "weight_scale is 0.0, which is no scale"),
        (DIVIDED, {"weight": np.ones((256, 256), np.float16)}, ModelFileError, "q_proj.weight, F16 of shape"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, write, how: dict[str, Any], changed: dict[str, np.ndarray], kind: type[EngineError], match: str
) -> None:
    folder = ternary_folder(tmp_path / "model", write, "bitnet-b1.58", how)
    tensors = {
        name: np.asarray(read_rows(t, 0, t.n_rows)).view(np.uint8 if t.type.name == "I8" else np.float32)
        for name, t in read_weights([folder / "model.safetensors"]).items()
    }
    tensors |= {f"model.layers.1.self_attn.q_proj.{name}": values for name, values in changed.items()}
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(kind, match=match):
        matrix = open_checkpoint(folder).tensors["blk.1.attn_q.weight"]
        read_rows(matrix, 0, matrix.n_rows)
