"""Folders of compressed-tensors and of NVIDIA's ModelOpt, held to what the first makes of its own."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.opening import files_of
from engine.checkpoints.quantized import unpacker_of
from engine.checkpoints.rows import read_rows
from engine.checkpoints.safetensors import read_safetensors
from engine.checkpoints.small_floats import e2m1_numbers, e4m3_numbers
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine.checkpoints.quantized_folders import (
    Stored,
    as_bf16,
    change_config,
    change_tensors,
    from_bf16,
    quantised_folder,
    recorded,
    stored,
    write_stored,
)

CASES = recorded("compressed-tensors")
TYPES = {
    "four bits": "Q4_0",
    "four bits of rows": "Q4_0",
    "four bits with zeros": "Q5_0",
    "eight bits": "Q8_0",
    "eight bits with zeros": "F16",
    "bytes": "Q8_0",
    "nvfp4": "F16",
    "mxfp4": "MXFP4",
}
GROUP = 16


def how(form: str, **more: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": "compressed-tensors", "format": form, "config_groups": {}, **more}}


NVFP4 = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}


def in_words(name: str, weights: np.ndarray, zeros: bool = False) -> dict[str, Stored]:
    """Four bits in groups of 32, or of a row; zeros of 1, shifted as numbers are."""
    group = 32 if weights.shape[-1] % 32 == 0 else weights.shape[-1]
    groups = weights.reshape(len(weights), -1, group)
    scales = from_bf16(as_bf16(np.abs(groups).max(2) / 7))
    levels = np.clip(np.rint(groups / scales[..., None]), -8, 7).astype(np.int32).reshape(weights.shape) + 8
    parts = {
        f"{name}.weight_packed": stored(words_of(levels), "I32"),
        f"{name}.weight_scale": stored(scales, "BF16"),
        f"{name}.weight_shape": stored(np.array(weights.shape, np.int64), "I64"),
        f"{name}.input_scale": stored(np.ones(1, np.float32), "F32"),
    }
    if zeros:
        parts[f"{name}.weight_zero_point"] = stored(words_of(np.full(scales.shape, 9).T).T, "I32")
    return parts


def words_of(levels: np.ndarray) -> np.ndarray:
    padded = np.pad(levels, ((0, 0), (0, -levels.shape[1] % 8))).astype(np.uint32)
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    return (padded.reshape(len(levels), -1, 8) << shifts).sum(2, dtype=np.uint32)


def in_nvfp4(name: str, weights: np.ndarray) -> dict[str, Stored]:
    groups = weights.reshape(len(weights), -1, GROUP)
    whole = np.abs(groups).max() / 6 / 448
    numbers = e4m3_numbers()[:127]
    bytes_of_scales = np.abs(np.abs(groups).max(2)[..., None] / 6 / whole - numbers).argmin(2).astype(np.uint8)
    scales = numbers[bytes_of_scales] * np.float32(whole)
    chosen = np.abs(groups[..., None] / scales[..., None, None] - e2m1_numbers()).argmin(3).reshape(weights.shape)
    return {
        f"{name}.weight": stored((chosen[:, ::2] | chosen[:, 1::2] << 4).astype(np.uint8), "U8"),
        f"{name}.weight_scale": stored(bytes_of_scales, "F8_E4M3"),
        f"{name}.weight_scale_2": ("F32", (), np.float32(whole).tobytes()),
        f"{name}.input_scale": ("F32", (), np.float32(1).tobytes()),
    }


@pytest.mark.parametrize("name", CASES)
def test_weights_are_what_the_library_takes_them_for(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    found = read_safetensors(write_stored(tmp_path / "m.safetensors", case.tensors))
    weights = unpacker_of(case.how, Metadata({}, tmp_path))(found)
    assert list(weights) == ["m.weight"]
    tensor = weights["m.weight"]
    assert (tensor.name, tensor.shape, tensor.type.name) == ("m.weight", case.shape, TYPES[name])
    numbers = read_floats(tensor, 0, tensor.n_rows).reshape(-1)
    # The library gives NVFP4 as BF16; F16 rounds less, and blocks of integers nothing.
    closeness = {"nvfp4": 2**-8, "eight bits with zeros": 2**-11}.get(name, 2**-23)
    np.testing.assert_allclose(numbers, case.weights, rtol=closeness, atol=2**-25)
    pieces = [read_rows(tensor, first, min(4, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 4)]
    np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))


@pytest.mark.parametrize(
    ("name", "settings", "quantise", "kind", "most"),
    [
        ("llama", how("pack-quantized"), in_words, "Q4_0", 0.08),
        ("qwen3moe", how("pack-quantized"), in_words, "Q4_0", 0.08),
        ("qwen3", NVFP4, in_nvfp4, "F16", 0.2),
    ],
)
def test_folders_open(
    tmp_path: Path, write, decode, name: str, settings: dict[str, Any], quantise: Any, kind: str, most: float
) -> None:
    folder = quantised_folder(tmp_path / "model", write, name, settings, quantise)
    twin, found = open_checkpoint(tmp_path / "model.gguf").tensors, open_checkpoint(folder).tensors
    assert found.keys() == twin.keys()
    for key, tensor in found.items():
        expected = read_floats(twin[key], 0, tensor.n_rows)
        error = np.abs(read_floats(tensor, 0, tensor.n_rows) - expected).max() / np.abs(expected).max()
        is_quantised = key.startswith("blk.") and len(tensor.shape) > 1
        assert (0 < error < most) if is_quantised else error == 0, key
        if is_quantised:
            assert tensor.type.name == (kind if tensor.shape[-1] % 32 == 0 else "F16"), key
    assert decode(folder)


def test_zeros_are_taken_away(tmp_path: Path, write) -> None:
    folders = [
        quantised_folder(tmp_path / str(zeros), write, "llama", how("pack-quantized"), partial(in_words, zeros=zeros))
        for zeros in (False, True)
    ]
    name = "blk.0.ffn_up.weight"
    plain, shifted = (open_checkpoint(folder).tensors[name] for folder in folders)
    assert (plain.type.name, shifted.type.name) == ("Q4_0", "Q5_0")
    step = read_floats(plain, 0, plain.n_rows) - read_floats(shifted, 0, plain.n_rows)
    # A zero of 1 takes a scale from each weight of a group.
    assert (step > 0).all()
    assert len(np.unique(step[0].round(7))) <= plain.shape[1] // 32


def test_inputs_in_another_order(tmp_path: Path, write) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", how("pack-quantized"), in_words)
    name, place = "blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj"
    expected = read_floats(open_checkpoint(folder).tensors[name], 0, 8)

    def ordered(groups: np.ndarray) -> None:
        def change(tensors: dict[str, Stored]) -> None:
            tensors[f"{place}.weight_g_idx"] = stored(groups.astype(np.int32), "I32")

        change_tensors(folder, change)

    in_order = np.arange(64) // 32
    for groups in (in_order, np.full(64, -1)):
        ordered(groups)
        tensor = open_checkpoint(folder).tensors[name]
        assert tensor.type.name == "F16"
        np.testing.assert_allclose(read_floats(tensor, 0, 8), expected, rtol=2**-11)
    ordered(1 - in_order)
    swapped = read_floats(open_checkpoint(folder).tensors[name], 0, 8)
    ratio = swapped[:, :32] / np.where(expected[:, :32] == 0, np.nan, expected[:, :32])
    assert np.nanmax(np.nanstd(ratio, axis=1) / np.nanmean(ratio, axis=1)) < 2e-3
    ordered(in_order + 1)
    with pytest.raises(ModelFileError, match=r"up_proj\.weight_g_idx names a group beyond the 2"):
        read_rows(open_checkpoint(folder).tensors[name], 0, 1)


def test_settings_of_modelopt_beside_the_configuration(tmp_path: Path, write) -> None:
    folder = quantised_folder(tmp_path / "model", write, "qwen3", NVFP4, in_nvfp4)
    expected = {
        name: np.array(read_rows(each, 0, each.n_rows)) for name, each in open_checkpoint(folder).tensors.items()
    }
    change_config(folder, quantization_config=None)
    settings = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    (folder / "hf_quant_config.json").write_text(json.dumps(settings))
    found = open_checkpoint(folder)
    assert folder / "hf_quant_config.json" in found.files
    assert folder / "hf_quant_config.json" in files_of(folder)
    for name, tensor in found.tensors.items():
        np.testing.assert_array_equal(read_rows(tensor, 0, tensor.n_rows), expected[name], name)
    settings["quantization"] = {"quant_algo": "W4A8_AWQ"}
    (folder / "hf_quant_config.json").write_text(json.dumps(settings))
    with pytest.raises(UnsupportedModelError, match=r"quantised for a GPU \(modelopt\)"):
        open_checkpoint(folder)


Q_PROJ = "model.layers.0.self_attn.q_proj"


def replaced(part: str, array: np.ndarray, kind: str) -> Any:
    return lambda tensors: tensors.update({f"{Q_PROJ}.{part}": stored(array, kind)})


@pytest.mark.parametrize(
    ("settings", "change", "kind", "match"),
    [
        (how("marlin-24"), None, UnsupportedModelError, r"quantised for a GPU \(compressed-tensors\)"),
        (how("pack-quantized", sparsity_config={"format": "sparse-24-bitmask"}), None, UnsupportedModelError, "GPU"),
        (how("pack-quantized", transform_config={"config_groups": {"R1": {}}}), None, UnsupportedModelError, "GPU"),
        (
            how("pack-quantized"),
            replaced("weight_shape", np.array([128, 1 << 61]), "I64"),
            ModelFileError,
            r"q_proj\.weight_packed, I32 of shape .*, does not fit what is beside it: .*weight_shape I64",
        ),
        (how("pack-quantized"), replaced("weight_shape", np.array([-1, 64]), "I64"), ModelFileError, "does not fit"),
        (how("pack-quantized"), replaced("weight_shape", np.array([128, 3]), "I64"), ModelFileError, "does not fit"),
        (how("pack-quantized"), replaced("weight_scale", np.ones((3, 2)), "BF16"), ModelFileError, "does not fit"),
        (how("pack-quantized"), replaced("weight_scale", np.ones((128, 0)), "BF16"), ModelFileError, "does not fit"),
        (how("pack-quantized"), replaced("weight_g_idx", np.ones(3, np.int32), "I32"), ModelFileError, "does not fit"),
        (
            how("pack-quantized"),
            replaced("weight_zero_point", np.ones((3, 2), np.int32), "I32"),
            ModelFileError,
            "does not fit what is beside it: .*weight_zero_point I32",
        ),
        (
            how("pack-quantized"),
            lambda tensors: tensors.pop(f"{Q_PROJ}.weight_scale"),
            ModelFileError,
            r"q_proj\.weight_packed, I32 of shape .*, does not fit what is beside it: weight_shape",
        ),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, write, settings: dict[str, Any], change: Any, kind: type[EngineError], match: str
) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", settings, in_words)
    if change is not None:
        change_tensors(folder, change)
    with pytest.raises(kind, match=match) as caught:
        open_checkpoint(folder)
    assert str(folder) in caught.value.message


@pytest.mark.parametrize("whole", [0.0, float("nan"), float("inf")])
def test_a_scale_that_is_none(tmp_path: Path, write, whole: float) -> None:
    folder = quantised_folder(tmp_path / "model", write, "qwen3", NVFP4, in_nvfp4)
    change_tensors(folder, replaced("weight_scale_2", np.array([whole], np.float32), "F32"))
    with pytest.raises(ModelFileError, match=rf"{Q_PROJ}\.weight_scale_2 is {whole}, which is no scale"):
        read_rows(open_checkpoint(folder).tensors["blk.0.attn_q.weight"], 0, 2)
