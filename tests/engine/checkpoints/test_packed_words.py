"""Folders whose weights are packed into words as GPTQ and AWQ do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.finding import is_model_folder
from engine.checkpoints.huggingface import read_weights
from engine.checkpoints.opening import files_of
from engine.checkpoints.rows import read_rows
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
AWQ_NIBBLES = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight outputs lies in each four bits of a word, from the lowest on."""


def packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """(…, numbers of a word) → words; of three bits, (…, 32 numbers) → three words."""
    if bits == 3:
        each = numbers.astype(np.uint8)[..., None] >> np.arange(3, dtype=np.uint8) & 1
        raw = np.packbits(each.reshape(*numbers.shape[:-1], -1), axis=-1, bitorder="little")
        return np.ascontiguousarray(raw).view(np.uint32)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    return (numbers.astype(np.uint32) << shifts).sum(-1, dtype=np.uint32).astype(np.uint32)


def in_words(weights: np.ndarray, how: dict[str, Any], order: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The parts of a packed matrix (outputs, inputs); order: which inputs make the groups, one after the other."""
    bits, columns = how["bits"], weights.shape[1]
    group = how["group_size"] if how["group_size"] > 0 else columns
    group_of = np.arange(columns) // group
    if order is not None:
        group_of[order] = group_of.copy()
    turned, most = weights.T, (1 << bits) - 1
    lows, highs = (
        np.stack([limit(turned[group_of == g], axis=0) for g in range(group_of.max() + 1)])
        for limit in (np.min, np.max)
    )
    scales = (np.maximum(highs, 0) - np.minimum(lows, 0)) / most
    if how.get("sym"):
        scales = np.maximum(highs, -lows) * 2 / most
    scales = scales.astype(np.float16)
    zeros = (
        np.full(scales.shape, 1 << bits - 1)
        if how.get("sym")
        else np.clip(np.rint(-np.minimum(lows, 0) / scales), 0 if how["quant_method"] == "awq" else 1, most)
    )
    numbers = np.clip(np.rint(turned / scales[group_of] + zeros[group_of]), 0, most)
    per_word = 32 if bits == 3 else 32 // bits
    if how["quant_method"] == "awq":
        both = (each.reshape(len(each), -1, per_word)[:, :, AWQ_NIBBLES] for each in (numbers, zeros))
        words, zeros = (packed(each, bits) for each in both)
    else:
        words = packed(numbers.reshape(-1, per_word, numbers.shape[1]).swapaxes(1, 2), bits)
        if bits == 3:
            words = words.swapaxes(1, 2).reshape(-1, numbers.shape[1])
        zeros = zeros - (how.get("checkpoint_format", "gptq") == "gptq")
        zeros = packed(zeros.reshape(len(zeros), -1, per_word), bits).reshape(len(zeros), -1)
    words = np.ascontiguousarray(words)
    parts = {"qweight": words.view(np.int32), "qzeros": zeros.view(np.int32), "scales": scales}
    return parts | ({} if order is None else {"g_idx": group_of.astype(np.int32)})


def packed_folder(folder: Path, write, name: str, how: dict[str, Any], *, shuffled: bool = False) -> Path:
    """The matrices of layers in words."""
    twin = open_checkpoint(tiny_models.write_tiny(folder.with_suffix(".gguf"), name))
    write_folder(folder, twin, write, name)
    tensors, rng = {}, np.random.default_rng(3)
    for foreign, tensor in read_weights([folder / "model.safetensors"]).items():
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if values.ndim == 2 and "layers." in foreign:
            order = rng.permutation(values.shape[1]) if shuffled else None
            parts = in_words(values, how, order).items()
            tensors |= {f"{foreign.removesuffix('weight')}{part}": array for part, array in parts}
        else:
            tensors[foreign] = values
    write.write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))
    return folder


@pytest.mark.parametrize(
    ("name", "how", "shuffled", "kind"),
    [
        ("llama", GPTQ, False, "Q5_0"),
        ("llama", GPTQ | {"desc_act": True}, True, "F16"),
        ("llama", GPTQ | {"checkpoint_format": "gptq_v2"}, False, "Q5_0"),
        ("llama", GPTQ | {"group_size": -1}, False, "Q5_0"),
        ("llama", GPTQ | {"sym": True}, False, "Q4_0"),
        ("llama", GPTQ | {"sym": True, "checkpoint_format": "gptq_v2"}, False, "Q4_0"),
        ("llama", GPTQ | {"bits": 8}, False, "F16"),
        ("llama", GPTQ | {"bits": 8, "sym": True}, False, "Q8_0"),
        ("llama", GPTQ | {"bits": 3}, False, "Q4_0"),
        ("llama", GPTQ | {"bits": 2}, False, "Q4_0"),
        ("llama", GPTQ | {"bits": 3, "checkpoint_format": "gptq_v2", "desc_act": True}, True, "F16"),
        ("llama", GPTQ | {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq"}, False, "Q5_0"),
        ("qwen2", AWQ, False, "Q5_0"),
        ("qwen2", AWQ | {"group_size": 16}, False, "F16"),
        ("qwen3moe", AWQ | {"group_size": 16}, False, "F16"),
    ],
)
def test_words_become_weights(
    tmp_path: Path, write, decode, name: str, how: dict[str, Any], shuffled: bool, kind: str
) -> None:
    folder = packed_folder(tmp_path / "model", write, name, how, shuffled=shuffled)
    twin, found = open_checkpoint(tmp_path / "model.gguf").tensors, open_checkpoint(folder).tensors
    assert found.keys() == twin.keys()
    for key, tensor in found.items():
        expected = read_floats(twin[key], 0, tensor.n_rows)
        error = np.abs(read_floats(tensor, 0, tensor.n_rows) - expected).max() / np.abs(expected).max()
        is_packed = key.startswith("blk.") and len(tensor.shape) > 1
        most = {8: 0.005, 4: 0.09, 3: 0.2, 2: 0.5}[how["bits"]] * (1 + how.get("sym", False))
        assert (0 < error < most) if is_packed else error == 0, key
        if is_packed:
            assert tensor.type.name == kind, key
            pieces = [read_rows(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))
    assert decode(folder)


@pytest.mark.parametrize(
    ("how", "kind", "match"),
    [
        (GPTQ | {"group_size": 16}, ModelFileError, "does not fit scales of shape .* groups of 16 inputs"),
        (GPTQ | {"bits": 8}, ModelFileError, "q_proj.qweight, of shape .*, does not fit scales"),
        (GPTQ | {"bits": 3}, ModelFileError, "q_proj.qweight, of shape .*, does not fit scales"),
        (GPTQ | {"bits": 5}, UnsupportedModelError, "quantised for a GPU"),
        (GPTQ | {"checkpoint_format": "marlin"}, UnsupportedModelError, "quantised for a GPU"),
        (GPTQ | {"bits": 0}, ModelFileError, "bits is 0"),
        (GPTQ | {"group_size": "all"}, ModelFileError, "group_size should be an integer"),
        (AWQ | {"version": "gemv"}, UnsupportedModelError, "quantised for a GPU"),
        (AWQ | {"bits": 8}, UnsupportedModelError, "quantised for a GPU"),
        (AWQ, ModelFileError, "does not fit scales"),
    ],
)
def test_words_that_do_not_fit(tmp_path: Path, write, how: Any, kind: type[EngineError], match: str) -> None:
    folder = packed_folder(tmp_path / "model", write, "llama", GPTQ)
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": how}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(kind, match=match):
        open_checkpoint(folder)


def test_a_folder_of_2023(tmp_path: Path, write) -> None:
    """The weights' name says how they are packed, and so does a file beside config.json."""
    folder = packed_folder(tmp_path / "model", write, "llama", GPTQ, shuffled=True)
    tensors = open_checkpoint(folder).tensors
    expected = {key: np.array(read_rows(tensor, 0, tensor.n_rows)) for key, tensor in tensors.items()}
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = None
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=r"q_proj\.qweight is not part of a llama model"):
        open_checkpoint(folder)
    (folder / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 32, "damp_percent": 0.01}))
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-32g.safetensors")
    found = open_checkpoint(folder)
    assert is_model_folder(folder)
    assert folder / "quantize_config.json" in files_of(folder)
    # What is kept of the weights under these files' looks is of no use with other settings.
    assert folder / "quantize_config.json" in found.files
    assert found.tensors.keys() == expected.keys()
    for key, tensor in found.tensors.items():
        np.testing.assert_array_equal(read_rows(tensor, 0, tensor.n_rows), expected[key], key)
    (folder / "gptq_model-4bit-64g.safetensors").touch()
    with pytest.raises(ModelFileError, match=r"has 2 models: gptq_model-4bit-32g\.safetensors, gptq_model-4bit-64g\.s"):
        open_checkpoint(folder)


def test_words_without_scales(tmp_path: Path, write) -> None:
    folder = packed_folder(tmp_path / "model", write, "llama", GPTQ)
    tensors = {
        name: np.zeros(tensor.shape, np.int32 if tensor.type.name == "I32" else np.float32)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
        if name != "model.layers.1.mlp.up_proj.scales"
    }
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"layers\.1\.mlp\.up_proj has words without scales or zeros"):
        open_checkpoint(folder)


def test_a_group_that_there_is_not(tmp_path: Path, write) -> None:
    folder = packed_folder(tmp_path / "model", write, "llama", GPTQ, shuffled=True)
    tensors = {
        name: np.asarray(read_rows(tensor, 0, tensor.n_rows)).view(np.int32).reshape(tensor.shape)
        if tensor.type.name == "I32"
        else read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
    }
    for bad in (2, -1):
        tensors["model.layers.1.mlp.up_proj.g_idx"] = np.full(64, bad, np.int32)
        write.write_safetensors(folder / "model.safetensors", tensors)
        with pytest.raises(ModelFileError, match=r"up_proj\.g_idx names a group beyond the 2 that there are"):
            read_rows(open_checkpoint(folder).tensors["blk.1.ffn_up.weight"], 0, 1)


@pytest.mark.parametrize("part", ["qzeros", "g_idx"])
def test_a_matrix_that_is_not_as_the_first(tmp_path: Path, write, part: str) -> None:
    """Its numbers would not fit into the blocks that the first one's have room in."""
    folder = packed_folder(tmp_path / "model", write, "llama", GPTQ | {"sym": True})
    tensors = {
        name: np.array(read_rows(tensor, 0, tensor.n_rows)).view(np.int32).reshape(tensor.shape)
        if tensor.type.name == "I32"
        else read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
    }
    if part == "qzeros":
        tensors["model.layers.1.mlp.up_proj.qzeros"][:] = 0
    else:
        tensors["model.layers.1.mlp.up_proj.g_idx"] = np.arange(64, dtype=np.int32) % 2
    write.write_safetensors(folder / "model.safetensors", tensors)
    found = open_checkpoint(folder).tensors
    assert found["blk.1.ffn_up.weight"].type.name == "Q4_0"
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.mlp\.up_proj\.weight has other groups or zeros"):
        read_rows(found["blk.1.ffn_up.weight"], 0, 8)
