"""Folders whose weights Apple's MLX has quantised, held to what that library makes of them."""

from __future__ import annotations

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
    as_bf16,
    change_config,
    change_tensors,
    from_bf16,
    quantised_folder,
    recorded,
    stored,
    write_stored,
)

CASES = recorded("mlx")
TYPES = {
    **dict.fromkeys(("two bits", "three bits", "four bits", "four bits in F16"), "Q4_1"),
    "five bits": "Q5_1",
    "mxfp4": "MXFP4",
}


def quantiser(bits: int, group: int) -> Any:
    """From weights to words, BF16 scales and biases; what is no whole groups wide stays as it is."""

    def quantise(name: str, weights: np.ndarray) -> dict[str, Stored]:
        if weights.shape[-1] % group:
            return {f"{name}.weight": stored(weights, "F32")}
        groups = weights.reshape(*weights.shape[:-1], -1, group)
        lows, highs = groups.min(-1), groups.max(-1)
        scales, biases = (from_bf16(as_bf16(each)) for each in ((highs - lows) / ((1 << bits) - 1), lows))
        levels = np.clip(np.rint((groups - biases[..., None]) / scales[..., None]), 0, (1 << bits) - 1)
        each = levels.reshape(weights.shape).astype(np.uint8)[..., None] >> np.arange(bits, dtype=np.uint8) & 1
        words = np.packbits(each.reshape(*weights.shape[:-1], -1), axis=-1, bitorder="little").view(np.uint32)
        return {
            f"{name}.weight": stored(words, "U32"),
            f"{name}.scales": stored(scales, "BF16"),
            f"{name}.biases": stored(biases, "BF16"),
        }

    return quantise


def settings(bits: int, group: int, **own: Any) -> dict[str, Any]:
    return {"quantization": {"group_size": group, "bits": bits, **own}}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_what_the_library_takes_them_for(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    found = read_safetensors(write_stored(tmp_path / "m.safetensors", case.tensors))
    weights = unpacker_of(case.how, Metadata({}, tmp_path))(found)
    assert list(weights) == ["m.weight"]
    tensor = weights["m.weight"]
    assert tensor.shape == case.shape
    assert tensor.type.name == TYPES.get(name, "F16")
    numbers = read_floats(tensor, 0, tensor.n_rows).reshape(-1)
    if tensor.type.name == "F16":
        np.testing.assert_allclose(numbers, case.weights, rtol=2**-11, atol=2**-25)
    else:
        # Nothing is lost: the library's one rounding of a sum is not ours.
        np.testing.assert_allclose(numbers, case.weights, rtol=0, atol=2**-24)
    pieces = [read_rows(tensor, first, min(4, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 4)]
    np.testing.assert_array_equal(np.concatenate(pieces), read_rows(tensor, 0, tensor.n_rows))


@pytest.mark.parametrize(
    ("name", "bits", "kind", "most"),
    [("llama", 4, "Q4_1", 0.08), ("qwen3moe", 4, "Q4_1", 0.08), ("qwen3", 8, "F16", 0.01), ("gemma3", 5, "Q5_1", 0.04)],
)
def test_folders_open(tmp_path: Path, write, decode, name: str, bits: int, kind: str, most: float) -> None:
    """The embedding is quantised, too."""
    folder = quantised_folder(tmp_path / "model", write, name, settings(bits, 32), quantiser(bits, 32), outside=True)
    twin, found = open_checkpoint(tmp_path / "model.gguf"), open_checkpoint(folder)
    assert found.tensors.keys() == twin.tensors.keys()
    n_quantised = 0
    for key, tensor in found.tensors.items():
        expected = read_floats(twin.tensors[key], 0, tensor.n_rows)
        error = np.abs(read_floats(tensor, 0, tensor.n_rows) - expected).max() / np.abs(expected).max()
        is_quantised = len(tensor.shape) > 1 and tensor.shape[-1] % 32 == 0
        assert (0 < error < most) if is_quantised else error < 1e-6, key
        assert tensor.type.name == (kind if is_quantised else "F32"), key
        n_quantised += is_quantised
    assert n_quantised > 10
    info = inspect_model(folder)
    assert info.quantization == kind
    assert info.parameters == inspect_model(tmp_path / "model.gguf").parameters
    assert info.weights_bytes == sum(tensor.n_bytes for tensor in found.tensors.values())
    assert decode(folder)


def test_settings_of_one_module(tmp_path: Path, write) -> None:
    """Modules may have bits of their own, or be left as they are."""
    of_values, plain = "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj"

    def quantise(name: str, weights: np.ndarray) -> dict[str, Stored]:
        if name == plain:
            return {f"{name}.weight": stored(weights, "F32")}
        return quantiser(6 if name == of_values else 4, 32)(name, weights)

    own = {of_values: {"group_size": 32, "bits": 6}, plain: False}
    folder = quantised_folder(tmp_path / "model", write, "llama", settings(4, 32, **own), quantise)
    found = open_checkpoint(folder).tensors
    types = [found[f"blk.{layer}.attn_v.weight"].type.name for layer in (0, 1)]
    assert [*types, found["blk.0.attn_k.weight"].type.name] == ["F16", "F32", "Q4_1"]
    change_config(folder, **settings(4, 32))
    with pytest.raises(ModelFileError, match=r"v_proj\.weight, of shape .*, and 4 bits in groups of 32 \(affine\)"):
        open_checkpoint(folder)


def test_experts_in_stacks(tmp_path: Path, write, decode) -> None:
    """MLX has all experts of a layer in one tensor, under a name of its own."""
    folder = quantised_folder(tmp_path / "model", write, "qwen3moe", settings(4, 32), quantiser(4, 32))
    expected = {
        name: np.array(read_rows(each, 0, each.n_rows)) for name, each in open_checkpoint(folder).tensors.items()
    }

    def stack(tensors: dict[str, Stored]) -> None:
        experts = sorted(name for name in tensors if ".experts." in name)
        places: dict[str, list[Stored]] = {}
        for name in sorted(experts, key=lambda name: int(name.split(".experts.")[1].split(".")[0])):
            before, behind = name.split(".experts.")
            places.setdefault(f"{before}.switch_mlp.{behind.split('.', 1)[1]}", []).append(tensors.pop(name))
        for name, parts in places.items():
            kind, shape, _ = parts[0]
            tensors[name] = (kind, (len(parts), *shape), b"".join(raw for _, _, raw in parts))

    change_tensors(folder, stack)
    found = open_checkpoint(folder).tensors
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(read_rows(tensor, 0, tensor.n_rows), expected[name], name)
    assert decode(folder)


@pytest.mark.parametrize("name", ["qwen3next", "qwen35"])
def test_delta_nets_as_mlx_has_them(tmp_path: Path, write, decode, name: str) -> None:
    """Convolutions lie otherwise there, and norms have 1 added."""
    folder = quantised_folder(tmp_path / "model", write, name, settings(4, 32), lambda name, each: {
        f"{name}.weight": stored(each, "F32")
    })  # fmt: skip
    change_config(folder, quantization=None)
    expected = {key: read_floats(each, 0, each.n_rows) for key, each in open_checkpoint(folder).tensors.items()}

    def as_mlx(tensors: dict[str, Stored]) -> None:
        for key, (kind, shape, raw) in tensors.items():
            if key.endswith("conv1d.weight"):
                tensors[key] = (kind, (shape[0], shape[2], 1), raw)
            elif key.endswith("norm.weight") and "linear_attn" not in key:
                tensors[key] = (kind, shape, (np.frombuffer(raw, np.float32) + np.float32(1)).tobytes())

    change_tensors(folder, as_mlx)
    change_config(folder, **settings(4, 32))
    found = open_checkpoint(folder).tensors
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        np.testing.assert_allclose(read_floats(tensor, 0, tensor.n_rows), expected[key], atol=1e-6, err_msg=key)
    assert decode(folder)


V_PROJ = "model.layers.0.self_attn.v_proj"


def misshapen(tensors: dict[str, Stored]) -> None:
    kind, shape, raw = tensors[f"{V_PROJ}.scales"]
    tensors[f"{V_PROJ}.scales"] = (kind, shape[::-1], raw)


@pytest.mark.parametrize(
    ("how", "change", "kind", "match"),
    [
        (
            settings(4, 64),
            None,
            ModelFileError,
            r"weight, of shape .* in groups of 64 \(affine\)",
        ),
        (settings(8, 32), None, ModelFileError, r"8 bits in groups of 32"),
        (settings(7, 32), None, ModelFileError, "bits is 7, which MLX's mode 'affine' does not have"),
        (settings(4, 0), None, ModelFileError, "group_size is 0"),
        (settings(4, 1 << 60), None, ModelFileError, "group_size is"),
        (settings(4, 32, mode="mxfp4"), None, ModelFileError, r"4 bits in groups of 32 \(mxfp4\)"),
        (settings(4, 32, mode="gguf"), None, UnsupportedModelError, "in the mode 'gguf' of MLX"),
        (settings(4, 32, **{V_PROJ: {"bits": "x"}}), None, ModelFileError, "bits should be an integer"),
        (settings(4, 32), misshapen, ModelFileError, r"v_proj\.weight, of shape .*, does not fit scales"),
        (settings(4, 32), lambda tensors: tensors.pop(f"{V_PROJ}.biases"), ModelFileError, "no biases"),
    ],
)
def test_words_that_do_not_fit(
    tmp_path: Path, write, how: dict[str, Any], change: Any, kind: type[EngineError], match: str
) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", how, quantiser(4, 32))
    if change is not None:
        change_tensors(folder, change)
    with pytest.raises(kind, match=match) as caught:
        open_checkpoint(folder)
    assert str(folder) in caught.value.message


@pytest.mark.parametrize(("part", "bad"), [("scales", np.nan), ("biases", np.inf), ("scales", 1e6)])
def test_scales_that_are_no_numbers(tmp_path: Path, write, part: str, bad: float) -> None:
    folder = quantised_folder(tmp_path / "model", write, "llama", settings(4, 32), quantiser(4, 32))

    def spoil(tensors: dict[str, Stored]) -> None:
        kind, shape, raw = tensors[f"{V_PROJ}.{part}"]
        tensors[f"{V_PROJ}.{part}"] = (kind, shape, as_bf16(np.full(len(raw) // 2, bad)).tobytes())

    change_tensors(folder, spoil)
    tensor = open_checkpoint(folder).tensors["blk.0.attn_v.weight"]
    with pytest.raises(ModelFileError, match=rf"{V_PROJ}\.weight has a scale that is infinite, too large or no number"):
        read_rows(tensor, 0, 2)


def test_factors_that_weights_may_have_been_multiplied_by(tmp_path: Path, write) -> None:
    def plain(name: str, weights: np.ndarray) -> dict[str, Stored]:
        return {f"{name}.weight": stored(weights, "F32")}

    folder = quantised_folder(tmp_path / "model", write, "falcon-h1", {}, plain)
    assert open_checkpoint(folder).tensors
    change_config(folder, **settings(4, 32))
    with pytest.raises(UnsupportedModelError, match="does not say whether MLX has multiplied the weights"):
        open_checkpoint(folder)
