"""The files of 2023 made into GGUF: each the same as its twin that was converted from GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from engine.checkpoints import open_checkpoint
from engine.checkpoints.dequantize import dequantize_rows
from engine.checkpoints.rows import read_rows
from engine.conversion.messages import Conversion
from engine.conversion.plan import plan_conversion
from engine.conversion.run import run
from engine.conversion.stopping import Stop

pytestmark = pytest.mark.slow


def convert(source: Path, target: Path, kind: str, base: Path | None = None) -> Path:
    conversion = Conversion(source=str(source), target=str(target), type=kind, base=None if base is None else str(base))
    run(plan_conversion(conversion), 2, Stop(), lambda _: None)
    return target


def content(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of every tensor."""
    return {
        name: (tensor.type.name, read_rows(tensor, 0, tensor.n_rows).tobytes())
        for name, tensor in open_checkpoint(path).tensors.items()
    }


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Every tensor as float32."""
    tensors = open_checkpoint(path).tensors.items()
    return {name: dequantize_rows(read_rows(tensor, 0, tensor.n_rows), tensor.type) for name, tensor in tensors}


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "F16", "Q4_K_M"])
@pytest.mark.parametrize("n_parts", [1, 2])
def test_metas_own(tmp_path: Path, write, tiny_llama, decode, kind: str, n_parts: int) -> None:
    folder = write.write_meta(tmp_path / "LLaMA" / "7B", tiny_llama, n_parts=n_parts)
    twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")
    new, same = convert(folder, tmp_path / "new.gguf", kind), convert(twin, tmp_path / "same.gguf", kind)
    assert content(new) == content(same)
    assert decode(new) == decode(same)
    assert all(type_ == "F32" for name, (type_, _) in content(new).items() if name.endswith("_norm.weight"))


def test_numbers_have_the_types_that_readers_insist_on(tmp_path: Path, write, tiny_llama) -> None:
    folder = write.write_meta(tmp_path / "LLaMA" / "7B", tiny_llama)
    fields = GGUFReader(convert(folder, tmp_path / "new.gguf", "Q8_0")).fields
    kinds = {key: fields[f"llama.{key}"].types[0].name for key in ("block_count", "attention.layer_norm_rms_epsilon")}
    assert kinds == {"block_count": "UINT32", "attention.layer_norm_rms_epsilon": "FLOAT32"}
    assert fields["tokenizer.ggml.bos_token_id"].types[0].name == "UINT32"


@pytest.mark.parametrize("parts", [{"kind": "safetensors", "n_parts": 3}, {"kind": "bin", "n_parts": 1}])
def test_hugging_faces(tmp_path: Path, write, tiny_llama, decode, parts) -> None:
    folder = write.write_hugging_face(tmp_path / "llama-7b-hf", tiny_llama, **parts)
    twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")
    new, same = convert(folder, tmp_path / "new.gguf", "Q5_1"), convert(twin, tmp_path / "same.gguf", "Q5_1")
    assert content(new) == content(same)
    assert decode(new) == decode(same)


@pytest.mark.parametrize(("kind", "error"), [("Q4_0", 0.03), ("F16", 0.001)])
def test_a_quantised_ggml_file(tmp_path: Path, write, tiny_llama, decode, kind: str, error: float) -> None:
    """GGUF has scales in half precision, this file in float32; of Q4_0, the last matrix becomes Q6_K."""
    path = tmp_path / "ggml-alpaca-7b-q4.bin"
    write.write_ggml(path, tiny_llama, "Q4_0", write.GGML_ROWS)
    new = convert(path, tmp_path / "new.gguf", kind)
    before, after = numbers(path), numbers(new)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert np.linalg.norm(after[name] - values) < error * np.linalg.norm(values), name
    assert decode(new, "alpaca.cpp", 3) == decode(path, "alpaca.cpp", 3)


def test_a_difference_with_its_base(tmp_path: Path, write, tiny_llama, decode) -> None:
    rng = np.random.default_rng(11)
    base = write.write_meta(tmp_path / "LLaMA" / "7B", tiny_llama)
    changes = {
        name: (rng.standard_normal(weight.shape, np.float32) * np.float32(0.01)).astype(np.float16).astype(np.float32)
        for name, weight in tiny_llama.tensors.items()
    }
    delta = write.write_hugging_face(tmp_path / "vicuna-7b-delta-v1.1", tiny_llama.with_tensors(changes))
    new = convert(delta, tmp_path / "new.gguf", "Q8_0", base=base)
    assert decode(new, "vicuna")
    old = open_checkpoint(base).tensors["blk.0.attn_v.weight"]
    added = open_checkpoint(new).tensors["blk.0.attn_v.weight"]
    assert old.shape == added.shape
    assert content(new)["blk.0.attn_v.weight"] != content(convert(base, tmp_path / "base.gguf", "Q8_0"))[old.name]


def test_an_adapter_with_its_base(tmp_path: Path, write, tiny_llama, decode) -> None:
    rng = np.random.default_rng(5)
    a, b = (
        (rng.standard_normal(shape) * 0.1).astype(np.float32) for shape in ((8, tiny_llama.dim), (tiny_llama.dim, 8))
    )
    key = "base_model.model.model.layers.0.self_attn.v_proj"
    adapter = tmp_path / "elsewhere" / "vigogne-lora-7b"
    adapter.mkdir(parents=True)
    write.write_safetensors(
        adapter / "adapter_model.safetensors", {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
    )
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}))
    base = write.write_gguf(tmp_path / "llama.gguf", tiny_llama, "F16")
    new = convert(adapter, tmp_path / "new.gguf", "F32", base=base)
    merged = np.frombuffer(content(new)["blk.0.attn_v.weight"][1], np.float32).reshape(tiny_llama.dim, -1)
    expected = tiny_llama.tensors["blk.0.attn_v"].astype(np.float16).astype(np.float32) + 2 * (b @ a)
    np.testing.assert_allclose(merged, expected, atol=1e-3)
    assert decode(new) != decode(base)
