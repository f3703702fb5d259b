"""Adapters in every format on bases in every format: W + (alpha / r)·B·A, in the base's own order of rows."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from gguf.quants import GGMLQuantizationType, dequantize, quantize

from engine.checkpoints import open_checkpoint, open_with_base
from engine.checkpoints.derived import read_floats
from engine.checkpoints.rows import read_rows
from engine.errors import EngineError, ModelFileError, UnsupportedModelError

RANK, ALPHA = 4, 16.0
PARTS = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj"}


@pytest.fixture(scope="module")
def matrices(tiny_llama):
    """A and B for queries, keys and values of both layers, in GGUF's order."""
    rng = np.random.default_rng(8)
    found = {}
    for layer in range(2):
        for part in PARTS:
            a = rng.standard_normal((RANK, tiny_llama.dim)).astype(np.float32) * np.float32(0.1)
            b = rng.standard_normal((tiny_llama.dim, RANK)).astype(np.float32) * np.float32(0.1)
            found[f"blk.{layer}.{part}"] = (a, b)
    return found


def in_hugging_face_order(write, model, name: str, b: np.ndarray) -> np.ndarray:
    return b if name.endswith("attn_v") else write.from_rotary_order(b, model.n_heads)


def write_peft(folder: Path, write, model, matrices, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {}
    for name, (a, b) in matrices.items():
        _, layer, part = name.split(".")
        foreign = f"base_model.model.model.layers.{layer}.self_attn.{PARTS[part]}"
        tensors[f"{foreign}.lora_A.weight"] = a
        tensors[f"{foreign}.lora_B.weight"] = in_hugging_face_order(write, model, name, b)
    write.write_safetensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def write_ggla(path: Path, write, model, matrices, rank: int = RANK) -> Path:
    """As llama.cpp's convert-lora-to-ggml.py: A on its side, rows as Hugging Face has them."""
    out = bytearray(b"algg" + struct.pack("<3i", 1, rank, int(ALPHA)))
    for name, (a, b) in matrices.items():
        for half, matrix in (("A", a.T.copy()), ("B", in_hugging_face_order(write, model, name, b))):
            foreign = f"{write.foreign_name(name, write.META_NAMES)}.lora{half}".encode()
            out += struct.pack("<5i", 2, len(foreign), 0, matrix.shape[1], matrix.shape[0]) + foreign
            out += bytes(-len(out) % 32) + matrix.astype(np.float32).tobytes()
    path.write_bytes(out)
    return path


def write_gguf_adapter(path: Path, matrices) -> Path:
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, (a, b) in matrices.items():
        writer.add_tensor(f"{name}.weight.lora_a", a.astype(np.float16))
        writer.add_tensor(f"{name}.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=["peft", "ggla", "gguf"])
def adapter(request, tmp_path: Path, write, tiny_llama, matrices) -> Path:
    if request.param == "peft":
        return write_peft(tmp_path / "adapter", write, tiny_llama, matrices)
    (tmp_path / "adapter").mkdir()
    if request.param == "ggla":
        return write_ggla(tmp_path / "adapter" / "ggml-adapter-model.bin", write, tiny_llama, matrices)
    return write_gguf_adapter(tmp_path / "adapter" / "adapter.gguf", matrices)


@pytest.fixture(params=["gguf F16", "gguf F32", "gguf Q8_0", "ggml Q4_1", "meta", "hugging face"])
def base(request, tmp_path: Path, write, tiny_llama) -> Path:
    kind, _, type_name = request.param.partition(" ")
    if kind == "gguf":
        return write.write_gguf(tmp_path / "base.gguf", tiny_llama, type_name)
    if kind == "ggml":
        return write.write_ggml(tmp_path / "base.bin", tiny_llama, type_name, write.GGML)
    if kind == "meta":
        return write.write_meta(tmp_path / "LLaMA" / "13B", tiny_llama, n_parts=2)
    return write.write_hugging_face(tmp_path / "llama", tiny_llama)


def test_the_weights_are_the_sum(base: Path, adapter: Path, tiny_llama, matrices) -> None:
    plain, found = open_checkpoint(base), open_with_base(base, adapter)
    for name, tensor in found.tensors.items():
        pair = matrices.get(name.removesuffix(".weight"))
        if pair is None:
            n_rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
            np.testing.assert_array_equal(read_rows(tensor, 0, n_rows), read_rows(plain.tensors[name], 0, n_rows))
            continue
        kind = plain.tensors[name].type.name
        stored = tiny_llama.tensors[name.removesuffix(".weight")]
        if kind not in ("F16", "F32"):
            stored = dequantize(quantize(stored, GGMLQuantizationType[kind]), GGMLQuantizationType[kind])
        expected = stored + ALPHA / RANK * (pair[1] @ pair[0])
        assert tensor.type.name == ("F32" if kind == "F32" else "F16")
        np.testing.assert_allclose(read_floats(tensor, 0, 256), expected, atol=2e-3)
        np.testing.assert_array_equal(read_floats(tensor, 37, 5), read_floats(tensor, 0, 256)[37:42])
    assert set(found.files) >= {*plain.files}
    assert len(found.files) > len(plain.files)


def test_the_base_is_found_beside_it(tmp_path: Path, write, tiny_llama, matrices) -> None:
    base = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices)
    with pytest.raises(ModelFileError, match=r"needs its base model.*adapter/base"):
        open_checkpoint(adapter)
    (adapter / "base.gguf").symlink_to(base)
    checkpoint = open_checkpoint(adapter)
    assert checkpoint.format == "GGUF v3 with LoRA"
    assert checkpoint.path == adapter
    assert base in {file.resolve() for file in checkpoint.files}


@pytest.mark.parametrize("place", ["path", "neighbour", "name with ending"])
def test_the_base_is_found_by_what_the_adapter_says(tmp_path: Path, write, tiny_llama, matrices, place: str) -> None:
    base = write.write_gguf(tmp_path / "llama-7b.gguf", tiny_llama, "F16")
    named = {"path": str(base), "neighbour": "someone/llama-7b.gguf", "name with ending": "someone/llama-7b"}[place]
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices, base_model_name_or_path=named)
    assert base in open_checkpoint(adapter).files


@pytest.mark.parametrize("named", ["x" * 300, "someone/" + "x" * 300, "x\0y", "/" + "y/" * 3000])
def test_the_base_has_a_name_that_no_file_can_have(tmp_path: Path, write, tiny_llama, matrices, named: str) -> None:
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices, base_model_name_or_path=named)
    with pytest.raises(ModelFileError, match="not beside it"):
        open_checkpoint(adapter)


def test_looking_at_it_needs_no_numpy(adapter: Path, write, tiny_llama) -> None:
    """What the app's process does when it lists models."""
    write.write_gguf(adapter.with_name("base.gguf") if adapter.is_file() else adapter / "base.gguf", tiny_llama, "F16")
    code = (
        "import sys; from engine.model_info import inspect_model; inspect_model(sys.argv[1]);"
        "print([name for name in ('numpy', 'numba', 'sentencepiece', 'tokenizers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(adapter)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_an_adapter_on_itself_has_an_end(tmp_path: Path, write, tiny_llama, matrices) -> None:
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices, base_model_name_or_path="../adapter")
    with pytest.raises(ModelFileError, match="not beside it"):
        open_checkpoint(adapter)
    other = write_peft(tmp_path / "other", write, tiny_llama, matrices, base_model_name_or_path="../adapter")
    with pytest.raises(UnsupportedModelError, match="is an adapter, not a model"):
        open_checkpoint(other)


def test_the_scale_of_rank_stabilised_adapters(tmp_path: Path, write, tiny_llama, matrices) -> None:
    base = write.write_gguf(tmp_path / "base.gguf", tiny_llama, "F32")
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices, use_rslora=True)
    a, b = matrices["blk.0.attn_q"]
    expected = tiny_llama.tensors["blk.0.attn_q"] + ALPHA / RANK**0.5 * (b @ a)
    found = read_floats(open_with_base(base, adapter).tensors["blk.0.attn_q.weight"], 0, 256)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_whole_matrices_that_were_trained_besides(tmp_path: Path, write, tiny_llama, matrices) -> None:
    base = write.write_gguf(tmp_path / "base.gguf", tiny_llama, "F16")
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices)
    a, b = matrices["blk.0.attn_v"]
    output = tiny_llama.tensors["output"][::-1].copy()
    foreign = "base_model.model.model.layers.0.self_attn.v_proj"
    tensors = {f"{foreign}.lora_A.default.weight": a, f"{foreign}.lora_B.default.weight": b}
    tensors["base_model.model.lm_head.modules_to_save.default.weight"] = output
    write.write_safetensors(adapter / "adapter_model.safetensors", tensors)
    found = open_with_base(base, adapter)
    np.testing.assert_array_equal(read_floats(found.tensors["output.weight"], 0, 696), output)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"peft_type": "IA3"}, "IA3 adapters are not read"),
        ({"use_dora": True}, "adapters with use_dora"),
        ({"fan_in_fan_out": True}, "adapters with fan_in_fan_out"),
        ({"rank_pattern": {"q_proj": 2}}, "adapters with a rank_pattern"),
        ({"r": 8}, "have rank 4, by the settings 8"),
        ({"r": 0}, "r is 0"),
        ({"r": None}, "r is missing"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"lora_alpha": "16"}, "lora_alpha should be a number"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, write, tiny_llama, matrices, changes, match: str) -> None:
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices, **changes)
    with pytest.raises(EngineError, match=match):
        open_checkpoint(adapter)


@pytest.mark.parametrize(
    ("name", "shapes", "match"),
    [
        ("layers.0.self_attn.q_proj", ((4, 256), (256, 5)), "are no pair"),
        ("layers.0.self_attn.q_proj", ((4, 128), (256, 4)), "but the base model .* has"),
        ("layers.9.self_attn.q_proj", ((4, 256), (256, 4)), "has no such matrix"),
        ("layers.0.self_attn.z_proj", ((4, 256), (256, 4)), "no part of a model"),
        ("layers.0.self_attn.q_proj", ((4, 256), None), "one is missing"),
    ],
)
def test_matrices_that_do_not_fit(tmp_path: Path, write, tiny_llama, matrices, name: str, shapes, match: str) -> None:
    base = write.write_gguf(tmp_path / "base.gguf", tiny_llama, "F16")
    adapter = write_peft(tmp_path / "adapter", write, tiny_llama, matrices)
    halves = {half: shape for half, shape in zip("AB", shapes, strict=True) if shape}
    foreign = {
        f"base_model.model.model.{name}.lora_{half}.weight": np.zeros(s, np.float32) for half, s in halves.items()
    }
    write.write_safetensors(adapter / "adapter_model.safetensors", foreign)
    with pytest.raises(EngineError, match=match):
        open_with_base(base, adapter)


def test_a_ggla_cut_off_anywhere(tmp_path: Path, write, tiny_llama, matrices) -> None:
    path = write_ggla(tmp_path / "adapter.bin", write, tiny_llama, dict(list(matrices.items())[:1]))
    content = path.read_bytes()
    for cut in [*range(4, 120), *range(120, len(content), 501), len(content) - 1]:
        path.write_bytes(content[:cut])
        with pytest.raises(EngineError):
            open_checkpoint(path)


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (4, 2, "ggla version 2"),
        (8, 0, "rank is 0"),
        (8, 7, "have rank 4, by the settings 7"),
        (12, -1, "alpha is -1"),
        (16, 3, "number of dimensions of a matrix is 3"),
        (20, -1, "length of a matrix's name is -1"),
        (24, 2, "type of a matrix is 2"),
        (28, 0, "dimension of a matrix is 0"),
        (32, 2**31 - 1, "needs .* bytes at position"),
    ],
)
def test_a_ggla_that_lies(tmp_path: Path, write, tiny_llama, matrices, at: int, value: int, match: str) -> None:
    path = write_ggla(tmp_path / "adapter.bin", write, tiny_llama, matrices)
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, at, value)
    path.write_bytes(content)
    with pytest.raises(EngineError, match=match):
        open_checkpoint(path)


def test_a_whole_model_is_no_addition(tmp_path: Path, write, tiny_llama) -> None:
    path = write.write_gguf(tmp_path / "model.gguf", tiny_llama, "F16")
    with pytest.raises(ModelFileError, match="is a whole model, neither an adapter nor a difference"):
        open_with_base(path, path)
