"""The models of spring 2023, each in the files that it came in: recognised, and with the same tokens as its twin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint, open_with_base
from engine.errors import ModelFileError, UnsupportedModelError

pytestmark = pytest.mark.slow

PARTS = {"7B": 1, "13B": 2, "30B": 4, "65B": 8}


@pytest.mark.parametrize(("size", "n_parts"), PARTS.items())
class TestLlama:
    """Meta's own: as many parts as the largest one had GPUs."""

    def test_as_meta_gave_it_out(self, tmp_path: Path, write, tiny_llama, decode, size: str, n_parts: int) -> None:
        folder = write.write_meta(tmp_path / "LLaMA" / size, tiny_llama, n_parts=n_parts)
        twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")
        assert decode(folder, "completion") == decode(twin)
        assert decode(folder / "consolidated.00.pth") == decode(twin)

    def test_as_llama_cpp_quantised_it(
        self, tmp_path: Path, write, tiny_llama, decode, size: str, n_parts: int
    ) -> None:
        folder = tmp_path / "models" / size
        folder.mkdir(parents=True)
        path = folder / "ggml-model-q4_0.bin"
        write.write_ggml(path, tiny_llama, "Q4_0", write.GGML, n_parts=n_parts)
        twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "Q4_0")
        assert len(open_checkpoint(path).files) == n_parts
        assert decode(path, "completion") == decode(twin)


def test_alpaca_cpp(tmp_path: Path, write, tiny_llama, decode) -> None:
    path = tmp_path / "ggml-alpaca-7b-q4.bin"
    write.write_ggml(path, tiny_llama, "Q4_0", write.GGML_ROWS)
    twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "Q4_0")
    assert open_checkpoint(path).format == "ggml, row-wise"
    assert decode(path, "alpaca.cpp") == decode(twin)


def test_gpt4all_with_the_token_that_is_not_listed(tmp_path: Path, write, tiny_llama, decode) -> None:
    rng = np.random.default_rng(9)
    tensors = dict(tiny_llama.tensors)
    for name in ("token_embd", "output"):
        row = rng.standard_normal((1, tiny_llama.dim), np.float32) * np.float32(0.01)
        tensors[name] = np.concatenate([tensors[name], row])
    model = tiny_llama.with_tensors(tensors)
    path = tmp_path / "gpt4all-lora-quantized.bin"
    write.write_ggml(path, model, "Q4_0", write.GGML, n_vocab=len(model.pieces) + 1)
    padded = dataclasses.replace(model, pieces=[*model.pieces, ("<pad>", -1000.0, 3)])
    twin = write.write_gguf(tmp_path / "twin.gguf", padded, "Q4_0")
    assert open_checkpoint(path).metadata["tokenizer.ggml.tokens"][-1] == "<pad>"
    assert decode(path, "gpt4all") == decode(twin)


@pytest.mark.parametrize("weights", ["adapter_model.bin", "adapter_model.safetensors"])
def test_vigogne_as_an_adapter(tmp_path: Path, write, tiny_llama, decode, weights: str) -> None:
    adapted, tensors = _lora(write, tiny_llama)
    write.write_hugging_face(tmp_path / "llama-7b-hf", tiny_llama)
    adapter = tmp_path / "vigogne-lora-7b"
    adapter.mkdir()
    writer = write.write_torch if weights.endswith(".bin") else write.write_safetensors
    writer(adapter / weights, tensors)
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "fan_in_fan_out": False}
    config |= {"base_model_name_or_path": "decapoda-research/llama-7b-hf", "target_modules": ["q_proj", "v_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    twin = write.write_gguf(tmp_path / "twin.gguf", adapted, "F16")
    assert decode(adapter, "vigogne") == decode(twin)
    assert decode(adapter / weights, "vigogne") == decode(twin)
    assert decode(adapter) != decode(tmp_path / "llama-7b-hf")
    elsewhere = write.write_meta(tmp_path / "elsewhere" / "7B", tiny_llama, n_parts=1)
    assert decode(adapter, "vigogne", base=elsewhere) == decode(twin)


def _lora(write, model):  # type: ignore[no-untyped-def]
    """The model with an adapter of rank 8 merged, and the adapter's tensors in Hugging Face's order."""
    rng = np.random.default_rng(5)
    merged, tensors = dict(model.tensors), {}
    for layer in range(model.n_layers):
        for name, part in (("q_proj", "attn_q"), ("v_proj", "attn_v")):
            a = (rng.standard_normal((8, model.dim)) * 0.1).astype(np.float32)
            b = (rng.standard_normal((model.dim, 8)) * 0.1).astype(np.float32)
            key = f"blk.{layer}.{part}"
            merged[key] = merged[key] + 2 * (b @ a)
            foreign = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{foreign}.lora_A.weight"] = a
            turned = write.from_rotary_order(b, model.n_heads) if part == "attn_q" else b
            tensors[f"{foreign}.lora_B.weight"] = turned
    return model.with_tensors(merged), tensors


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("n_parts", [1, 3])
def test_vigogne_merged(tmp_path: Path, write, tiny_llama, decode, kind: str, n_parts: int) -> None:
    folder = write.write_hugging_face(tmp_path / "vigogne-7b-chat", tiny_llama, kind=kind, n_parts=n_parts)
    twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "F16")
    assert decode(folder, "vigogne") == decode(twin)


def test_vigogne_merged_and_quantised(tmp_path: Path, write, tiny_llama, decode) -> None:
    path = write.write_ggml(tmp_path / "ggml-vigogne-7b-q4_1.bin", tiny_llama, "Q4_1", write.GGMF)
    twin = write.write_gguf(tmp_path / "twin.gguf", tiny_llama, "Q4_1")
    assert decode(path, "vigogne") == decode(twin)


@pytest.mark.parametrize(
    ("name", "family", "extra_tokens"),
    [("vicuna-7b-delta-v0", "vicuna-v0", 1), ("vicuna-7b-delta-v1.1", "vicuna", 0), ("koala-7b-diff", "koala", 0)],
)
def test_vicuna_and_koala_as_differences(
    tmp_path: Path, write, tiny_llama, decode, name: str, family: str, extra_tokens: int
) -> None:
    rng = np.random.default_rng(11)
    base = write.write_meta(tmp_path / "LLaMA" / "7B", tiny_llama, n_parts=1)
    changes, sums = {}, {}
    for key, tensor in tiny_llama.tensors.items():
        size = np.float32(0.001 if tensor.ndim == 1 else 0.02)
        change = (rng.standard_normal(tensor.shape, np.float32) * size).astype(np.float16).astype(np.float32)
        sums[key] = tensor + change
        if key in ("token_embd", "output") and extra_tokens:
            own = np.full((extra_tokens, tensor.shape[1]), 0.25, np.float32)
            change, sums[key] = np.concatenate([change, own]), np.concatenate([sums[key], own])
        changes[key] = change
    pieces = [*tiny_llama.pieces, *[("[PAD]", -1000.0, 3)] * extra_tokens]
    model = dataclasses.replace(tiny_llama.with_tensors(changes), pieces=pieces)
    delta = write.write_hugging_face(tmp_path / name, model)
    write.write_tokenizer(delta / "tokenizer.model", tiny_llama.pieces)
    (delta / "added_tokens.json").write_text(json.dumps({"[PAD]": 696} if extra_tokens else {}))

    with pytest.raises(UnsupportedModelError, match=r"is a difference to another model.*--base"):
        open_checkpoint(delta)
    summed = open_with_base(base, delta)
    assert list(summed.metadata["tokenizer.ggml.tokens"]) == [text for text, _, _ in pieces]
    converted = _as_gguf(summed, tmp_path / f"{name.replace('-delta', '').replace('-diff', '')}.gguf")
    whole = dataclasses.replace(tiny_llama.with_tensors(sums), pieces=pieces)
    twin = write.write_gguf(tmp_path / "twin.gguf", whole, "F16")
    assert decode(converted, family) == decode(twin)
    assert decode(delta, family, base=base) == decode(twin)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LLaMA/13B", "LLaMA 13B"),
        ("vicuna-7b-v1.1", "vicuna-7b-v1.1"),
        ("ggml-alpaca-7b-q4.bin", "ggml-alpaca-7b-q4"),
        ("vigogne-7b/ggml-model-q4_0.bin", "vigogne-7b ggml-model-q4_0"),
    ],
)
def test_a_model_keeps_its_name_when_it_becomes_another_file(
    tmp_path: Path, write, tiny_llama, name: str, expected: str
) -> None:
    path = tmp_path / name
    if name.endswith(".bin"):
        path.parent.mkdir(exist_ok=True)
        write.write_ggml(path, tiny_llama, "F16", write.GGML)
    elif name.startswith("LLaMA"):
        write.write_meta(path, tiny_llama)
    else:
        write.write_hugging_face(path, tiny_llama)
    assert open_checkpoint(path).metadata["general.name"] == expected


def _as_gguf(checkpoint, path: Path) -> Path:  # type: ignore[no-untyped-def]
    """What any program can do with a checkpoint: its keys and its rows, written as they come."""
    from array import array

    from gguf import GGMLQuantizationType, GGUFWriter

    from engine.checkpoints.rows import read_rows

    writer = GGUFWriter(path, "llama")
    for key, value in checkpoint.metadata.items():
        if key == "general.architecture":
            continue
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, list(value) if isinstance(value, array) else value)
    for name, tensor in checkpoint.tensors.items():
        rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
        raw = np.array(read_rows(tensor, 0, rows))
        kind = GGMLQuantizationType[tensor.type.name]
        writer.add_tensor(name, raw if len(tensor.shape) > 1 else raw[0].view(np.float32), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_difference_to_another_size_is_refused(tmp_path: Path, write, tiny_llama, spm_pieces) -> None:
    small = write.TinyLlama(tiny_llama.pieces, dim=128, n_heads=4, hidden_dim=256)
    base = write.write_hugging_face(tmp_path / "llama", small)
    changes = tiny_llama.with_tensors({name: t * np.float32(0.001) for name, t in tiny_llama.tensors.items()})
    delta = write.write_hugging_face(tmp_path / "vicuna-delta", changes)
    with pytest.raises(ModelFileError, match=r"of shape .* but the base model"):
        open_with_base(base, delta)
