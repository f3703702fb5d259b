"""Folders whose weights bitsandbytes has quantised, held to what that library makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.quantized import unpacker_of
from engine.checkpoints.rows import read_rows
from engine.checkpoints.safetensors import read_safetensors
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.model_info import inspect_model
from tests.engine.checkpoints.quantized_folders import (
    Stored,
    change_config,
    change_tensors,
    quantised_folder,
    recorded,
    stored,
    write_stored,
)

CASES = recorded("bitsandbytes")
NF4 = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}
INT8 = {"quantization_config": {"load_in_8bit": True}}
BLOCK = 64
STATE = "weight.quant_state.bitsandbytes__nf4"
NUMBERS = np.frombuffer(CASES["nf4 6x96"].tensors["m.weight.quant_map"][2], np.float32)
"""The 16 numbers of NF4, as the library wrote them."""


def in_four_bits(name: str, weights: np.ndarray) -> dict[str, Stored]:
    flat = weights.reshape(-1)
    blocks = np.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    largest = np.abs(blocks).max(1)
    chosen = np.abs(blocks[:, :, None] / largest[:, None, None] - NUMBERS).argmin(2).reshape(-1)[: len(flat)]
    packed = (chosen[::2] << 4 | chosen[1::2]).astype(np.uint8)[:, None]
    state = json.dumps({"quant_type": "nf4", "blocksize": BLOCK, "dtype": "float16", "shape": list(weights.shape)})
    return {
        f"{name}.weight": stored(packed, "U8"),
        f"{name}.weight.absmax": stored(largest, "F32"),
        f"{name}.weight.quant_map": stored(NUMBERS, "F32"),
        f"{name}.{STATE}": stored(np.frombuffer(state.encode(), np.uint8), "U8"),
    }


def in_eight_bits(name: str, weights: np.ndarray) -> dict[str, Stored]:
    largest = np.abs(weights).max(1)
    return {
        f"{name}.weight": stored(np.rint(weights / largest[:, None] * 127).astype(np.int8), "I8"),
        f"{name}.SCB": stored(largest, "F32"),
        f"{name}.weight_format": ("U8", (), b"\0"),
    }


@pytest.mark.parametrize("name", CASES)
def test_weights_are_what_the_library_takes_them_for(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    found = read_safetensors(write_stored(tmp_path / "m.safetensors", case.tensors))
    weights = unpacker_of(case.how, Metadata({}, tmp_path))(found)
    assert list(weights) == ["m.weight"]
    tensor = weights["m.weight"]
    assert tensor.shape == case.shape
    assert tensor.type.name == ("Q8_0" if "eight" in name else "F16")
    numbers = read_floats(tensor, 0, tensor.n_rows).reshape(-1)[:: case.step]
    # What F16 rounds, of each weight or of a row's scale.
    np.testing.assert_allclose(numbers, case.weights, rtol=2**-11, atol=2**-25)
    if tensor.type.name == "F16":
        np.testing.assert_array_equal(numbers, case.weights.astype(np.float16).astype(np.float32))
    pieces = [read_rows(tensor, first, min(5, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 5)]
    np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))


@pytest.mark.parametrize(
    ("name", "how", "quantise", "most"),
    [("llama", NF4, in_four_bits, 0.16), ("qwen3moe", NF4, in_four_bits, 0.16), ("llama", INT8, in_eight_bits, 0.005)],
)
def test_folders_open(
    tmp_path: Path, write, decode, name: str, how: dict[str, Any], quantise: Any, most: float
) -> None:
    folder = quantised_folder(tmp_path / "model", write, name, how, quantise)
    twin, found = open_checkpoint(tmp_path / "model.gguf"), open_checkpoint(folder)
    assert found.tensors.keys() == twin.tensors.keys()
    for key, tensor in found.tensors.items():
        expected = read_floats(twin.tensors[key], 0, tensor.n_rows)
        error = np.abs(read_floats(tensor, 0, tensor.n_rows) - expected).max() / np.abs(expected).max()
        assert (0 < error < most) if key.startswith("blk.") and len(tensor.shape) > 1 else error == 0, key
    info = inspect_model(folder)
    assert info.parameters == inspect_model(tmp_path / "model.gguf").parameters
    assert info.weights_bytes == sum(tensor.n_bytes for tensor in found.tensors.values())
    assert decode(folder)


Q_PROJ = "model.layers.0.self_attn.q_proj"


def states(**changes: Any) -> Any:
    def change(tensors: dict[str, Stored]) -> None:
        state = json.loads(tensors[f"{Q_PROJ}.{STATE}"][2]) | changes
        raw = json.dumps({key: value for key, value in state.items() if value is not None}).encode()
        tensors[f"{Q_PROJ}.{STATE}"] = ("U8", (len(raw),), raw)

    return change


def renamed(tensors: dict[str, Stored]) -> None:
    tensors[f"{Q_PROJ}.weight.quant_state.bitsandbytes__af4"] = tensors.pop(f"{Q_PROJ}.{STATE}")


def cut(tensors: dict[str, Stored]) -> None:
    kind, shape, raw = tensors[f"{Q_PROJ}.weight.absmax"]
    tensors[f"{Q_PROJ}.weight.absmax"] = (kind, (shape[0] - 1,), raw[:-4])


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (states(blocksize=0), ModelFileError, "blocksize is 0"),
        (states(blocksize=1 << 60), ModelFileError, "blocksize is"),
        (states(blocksize=32), ModelFileError, r"q_proj\.weight\.absmax.* does not fit a matrix"),
        (states(blocksize=None), ModelFileError, "blocksize is missing"),
        (states(shape=[128, -1]), ModelFileError, "shape is -1"),
        (states(shape=[1 << 62, 64]), ModelFileError, "shape is"),
        (states(shape="all"), ModelFileError, "the shape should be two numbers"),
        (states(shape=[128, 65]), ModelFileError, r"q_proj\.weight, I8 of shape .* does not fit a matrix"),
        (states(nested_blocksize=256, nested_offset=0.1), ModelFileError, r"nested_quant_map is missing"),
        (states(nested_blocksize=256, nested_offset=float("nan")), ModelFileError, r"nested_offset is nan"),
        (lambda tensors: tensors.pop(f"{Q_PROJ}.weight.quant_map"), ModelFileError, r"quant_map is missing"),
        (lambda tensors: tensors.update({f"{Q_PROJ}.{STATE}": ("U8", (1,), b"{")}), ModelFileError, "is not JSON"),
        (cut, ModelFileError, r"absmax.* does not fit a matrix"),
        (renamed, UnsupportedModelError, "af4 of bitsandbytes, of which only nf4 and fp4 are read"),
    ],
)
def test_four_bits_that_do_not_fit(tmp_path: Path, write, change: Any, kind: type[EngineError], match: str) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", NF4, in_four_bits)
    change_tensors(folder, change)
    with pytest.raises(kind, match=match) as caught:
        open_checkpoint(folder)
    assert str(folder) in caught.value.message


def without_row(tensors: dict[str, Stored]) -> None:
    tensors[f"{Q_PROJ}.SCB"] = stored(np.ones(3, np.float32), "F32")


def for_a_gpu(tensors: dict[str, Stored]) -> None:
    tensors[f"{Q_PROJ}.weight_format"] = ("U8", (), b"\2")


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (without_row, ModelFileError, r"q_proj\.SCB, of shape \(3,\), does not fit weights of I8"),
        (for_a_gpu, UnsupportedModelError, r"q_proj\.weight lies in the order of a GPU's instructions"),
    ],
)
def test_eight_bits_that_do_not_fit(tmp_path: Path, write, change: Any, kind: type[EngineError], match: str) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", INT8, in_eight_bits)
    change_tensors(folder, change)
    with pytest.raises(kind, match=match):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("how", "quantise", "end"), [(NF4, in_four_bits, "weight.absmax"), (INT8, in_eight_bits, "SCB")]
)
def test_scales_that_are_not_finite(tmp_path: Path, write, how: Any, quantise: Any, end: str) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", how, quantise)

    def spoil(tensors: dict[str, Stored]) -> None:
        kind, shape, raw = tensors[f"{Q_PROJ}.{end}"]
        tensors[f"{Q_PROJ}.{end}"] = (kind, shape, np.full(len(raw) // 4, np.nan, np.float32).tobytes())

    change_tensors(folder, spoil)
    tensor = open_checkpoint(folder).tensors["blk.0.attn_q.weight"]
    with pytest.raises(ModelFileError, match=rf"{Q_PROJ}\.weight has (?:a scale|scales)"):
        read_rows(tensor, 0, 2)


def test_weights_that_were_left_as_they_are(tmp_path: Path, write, decode) -> None:
    """Layers that a configuration's list leaves out are plain numbers beside quantised ones."""

    def all_but_queries(name: str, weights: np.ndarray) -> Any:
        return {f"{name}.weight": stored(weights, "F32")} if "q_proj" in name else in_four_bits(name, weights)

    folder = quantised_folder(tmp_path / "model", write, "llama", NF4, all_but_queries)
    found = open_checkpoint(folder).tensors
    assert {found[f"blk.0.{name}.weight"].type.name for name in ("attn_q", "attn_k")} == {"F32", "F16"}
    assert decode(folder)
    change_config(folder, quantization_config=None)
    with pytest.raises(UnsupportedModelError, match="is not part of a llama model"):
        open_checkpoint(folder)
