"""Folders whose weights have eight bits and scales beside them."""

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
from engine.checkpoints.small_floats import e4m3_numbers
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder

FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 32]}
LARGEST = 448.0


def compressed(**weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"weights": {"type": "float", "num_bits": 8, **weights}}}
    return {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups}


def as_bytes(weights: np.ndarray) -> np.ndarray:
    """The nearest of E4M3's numbers, as int8, which write_safetensors calls by that name."""
    numbers = e4m3_numbers()
    order = np.argsort(numbers)[:-2]
    middles = (numbers[order][1:] + numbers[order][:-1]) / 2
    return order[np.searchsorted(middles, weights)].astype(np.uint8).view(np.int8)


def spread(scales: np.ndarray, shape: tuple[int, ...], block: tuple[int, int]) -> np.ndarray:
    return np.repeat(np.repeat(scales, block[0], -2), block[1], -1)[..., : shape[-2], : shape[-1]]


def in_blocks(weights: np.ndarray, block: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes, and the scale of each block."""
    rows, columns = weights.shape[-2:]
    beyond = [(0, 0)] * (weights.ndim - 2) + [(0, -rows % block[0]), (0, -columns % block[1])]
    padded = np.pad(np.abs(weights), beyond)
    shape = padded.shape[-2] // block[0], block[0], padded.shape[-1] // block[1], block[1]
    scales = padded.reshape(*weights.shape[:-2], *shape).max((-3, -1)) / np.float32(LARGEST)
    return as_bytes(weights / spread(scales, weights.shape, block)), scales


def eight_bit_folder(folder: Path, write, name: str, how: dict[str, Any], block: tuple[int, int], end: str) -> Path:
    """The matrices of layers in eight bits; scales of whole matrices or rows are vectors."""
    twin = open_checkpoint(tiny_models.write_tiny(folder.with_suffix(".gguf"), name))
    write_folder(folder, twin, write, name)
    tensors = {}
    for foreign, tensor in read_weights([folder / "model.safetensors"]).items():
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if values.ndim > 1 and "layers." in foreign:
            size = tuple(min(pair) for pair in zip(block, values.shape[-2:], strict=True))
            values, scales = in_blocks(values, size)
            tensors[foreign + end] = scales.reshape(-1) if scales.shape[-1] == 1 and block[1] > 512 else scales
            tensors[foreign.removesuffix("weight") + "input_scale"] = np.ones(1, np.float32)
        tensors[foreign] = values
    write.write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))
    return folder


def test_what_bytes_stand_for() -> None:
    numbers = e4m3_numbers()
    known = {0x00: 0.0, 0x01: 2.0**-9, 0x08: 2.0**-6, 0x38: 1.0, 0x3C: 1.5, 0x7E: LARGEST, 0xB8: -1.0, 0xFE: -LARGEST}
    assert {byte: float(numbers[byte]) for byte in known} == known
    assert np.isnan(numbers[[0x7F, 0xFF]]).all()
    assert np.isfinite(numbers).sum() == 254


@pytest.mark.parametrize(
    ("name", "how", "block", "end"),
    [
        ("qwen3", FP8, (16, 32), "_scale_inv"),
        ("qwen3", FP8 | {"weight_block_size": [40, 48]}, (40, 48), "_scale_inv"),
        ("qwen3", FP8 | {"weight_block_size": None}, (1 << 20, 1 << 20), "_scale_inv"),
        ("qwen3moe", FP8, (16, 32), "_scale_inv"),
        ("llama", compressed(strategy="channel"), (1, 1 << 20), "_scale"),
        ("llama", compressed(strategy="block", block_structure=[16, 32]), (16, 32), "_scale"),
    ],
)
def test_weights_are_multiplied_by_their_scales(
    tmp_path: Path, write, decode, name: str, how: dict[str, Any], block: tuple[int, int], end: str
) -> None:
    folder = eight_bit_folder(tmp_path / "model", write, name, how, block, end)
    twin, found = open_checkpoint(tmp_path / "model.gguf").tensors, open_checkpoint(folder).tensors
    assert found.keys() == twin.keys()
    for key, tensor in found.items():
        expected = read_floats(twin[key], 0, tensor.n_rows)
        error = np.abs(read_floats(tensor, 0, tensor.n_rows) - expected).max() / np.abs(expected).max()
        in_eight_bits = key.startswith("blk.") and expected.shape[0] > 1
        assert (0 < error < 0.04) if in_eight_bits else error == 0, key
        if in_eight_bits:
            pieces = [read_rows(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))
    assert decode(folder)


@pytest.mark.parametrize(
    ("how", "kind", "match"),
    [
        (FP8 | {"weight_block_size": [16, 16]}, ModelFileError, r"q_proj.weight_scale_inv, of shape .*, does not fit"),
        (FP8 | {"weight_block_size": [0, 32]}, ModelFileError, "weight_block_size is 0"),
        (FP8 | {"weight_block_size": 128}, ModelFileError, "weight_block_size should be two numbers"),
        (
            FP8 | {"quant_method": "eetq"},
            UnsupportedModelError,
            r"quantised for a GPU \(eetq\): weights lie in the order",
        ),
        (compressed(strategy="block", block_structure=16), ModelFileError, "block_structure should be two numbers"),
        (compressed(strategy="group"), UnsupportedModelError, "quantised for a GPU"),
        ("fp8", UnsupportedModelError, "quantised for a GPU"),
    ],
)
def test_scales_that_do_not_fit(tmp_path: Path, write, how: Any, kind: type[EngineError], match: str) -> None:
    folder = eight_bit_folder(tmp_path / "model", write, "qwen3", FP8, (16, 32), "_scale_inv")
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": how}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(kind, match=match):
        open_checkpoint(folder)


def test_scales_of_weights_that_have_more_bits(tmp_path: Path, write) -> None:
    folder = eight_bit_folder(tmp_path / "model", write, "qwen3", FP8, (16, 32), "_scale_inv")
    tensors = {
        name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
        if tensor.type.name == "F32"
    }
    tensors["model.layers.0.self_attn.q_proj.weight"] = np.zeros((128, 64), np.float16)
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"q_proj\.weight is F16, its scales are those of eight bits"):
        open_checkpoint(folder)
