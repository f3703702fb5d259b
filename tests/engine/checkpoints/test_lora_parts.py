"""Adapters of more than a few matrices: norms, experts, an output of its own, on every architecture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import Checkpoint, open_checkpoint, open_with_base
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folder_names import expert_name, foreign_name
from tests.engine.checkpoints.folder_tensors import from_qwen35
from tests.engine.checkpoints.folders import write_folder

RANK, ALPHA = 4, 8.0
QUERIES = "blk.0.attn_q.weight"


def values_of(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    tensors = checkpoint.tensors.items()
    return {name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape) for name, tensor in tensors}


def write_peft(folder: Path, write, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    prefixed = {f"base_model.model.{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write.write_safetensors(folder / "adapter_model.safetensors", prefixed)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}))
    return folder


def write_gguf_adapter(path: Path, tensors: dict[str, np.ndarray], alpha: float | None = ALPHA) -> Path:
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def halves(name: str, rows: int, columns: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A and B for a matrix."""
    rng = np.random.default_rng(seed)
    shapes = {"A": (RANK, columns), "B": (rows, RANK)}
    return {f"{name}.lora_{half}.weight": rng.standard_normal(s, np.float32) for half, s in shapes.items()}


def nothing(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    """A and B that add nothing."""
    pair = halves(name, rows, columns)
    return pair | {f"{name}.lora_B.weight": pair[f"{name}.lora_B.weight"] * 0}


SHIFTED = ("gemma", "gemma2", "gemma3", "qwen35", "qwen35moe", "qwen3next", "nemotron")
"""What has norms stored as what they exceed 1 by."""


NOT_SHIFTED = ("gemma4", "gemma4-e", "gemma4-moe", "lfm2", "lfm2moe", "qwen3", "llama", "stablelm", "phi2")


@pytest.mark.parametrize("name", [*SHIFTED, *NOT_SHIFTED])
def test_norms_are_those_of_the_base_models_architecture(tmp_path: Path, write, name: str) -> None:
    base, architecture = tiny_models.write_tiny(tmp_path / "base.gguf", name), name.partition("-")[0]
    plain = values_of(open_checkpoint(base))
    norms = {key: values[::-1] for key, values in plain.items() if "norm" in key}
    assert len(norms) > 4
    tensors = {
        foreign_name(key, architecture): values
        - np.float32(name in SHIFTED and key.endswith("norm.weight") and "ssm_norm" not in key)
        for key, values in norms.items()
    }
    output = next(key for key in plain if key.endswith("attn_output.weight"))
    tensors |= nothing(foreign_name(output, architecture).removesuffix(".weight"), *plain[output].shape)
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, tensors)))
    assert found.keys() == plain.keys()
    for key, values in (plain | norms).items():
        np.testing.assert_allclose(found[key], values, atol=2e-7, err_msg=key)


@pytest.mark.parametrize("name", ["qwen35moe", "qwen3next", "gemma4-moe"])
def test_vectors_whose_names_say_neither_weight_nor_bias(tmp_path: Path, write, name: str) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    model = open_checkpoint(base)
    plain = values_of(model)
    if name == "gemma4-moe":
        names = {
            "layer_output_scale.weight": "layer_scalar",
            "ffn_gate_inp.scale": "router.scale",
            "ffn_down_exps.scale": "router.per_expert_scale",
        }
    else:
        names = {"ssm_a": "linear_attn.A_log", "ssm_dt.bias": "linear_attn.dt_bias"}
    changed = {f"blk.0.{part}": plain[f"blk.0.{part}"][::-1] for part in names}
    recurrence = config_from_gguf(model.metadata, model.tensors).recurrence
    tensors = {}
    for part, foreign in names.items():
        values = changed[f"blk.0.{part}"]
        if name == "qwen35moe":
            values = from_qwen35(values, f"blk.0.{part}", recurrence)
        elif part == "ssm_a":
            values = np.log(-values)
        tensors[f"model.layers.0.{foreign}"] = values
    output = next(key for key in plain if key.endswith("attn_output.weight"))
    tensors |= nothing(foreign_name(output, "llama").removesuffix(".weight"), *plain[output].shape)
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, tensors)))
    for key, values in (plain | changed).items():
        np.testing.assert_allclose(found[key], values, rtol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("name", "key", "number", "foreign"),
    [
        ("lfm2moe", "blk.2.ffn_down_exps.weight", 3, "layers.2.feed_forward.experts.3.w2"),
        ("lfm2moe", "blk.2.ffn_gate_inp.weight", None, "layers.2.feed_forward.gate"),
        ("lfm2moe", "blk.0.shortconv.out_proj.weight", None, "layers.0.conv.out_proj"),
        ("gemma4-moe", "blk.1.ffn_gate_inp.weight", None, "layers.1.router.proj"),
        ("gemma4-e", "per_layer_model_proj.weight", None, "per_layer_model_projection"),
        ("qwen3next", "blk.0.ssm_ba.weight", None, "layers.0.linear_attn.in_proj_ba"),
        ("qwen3next", "blk.0.ssm_out.weight", None, "layers.0.linear_attn.out_proj"),
        ("qwen35moe", "blk.1.ffn_up_exps.weight", 5, "layers.1.mlp.experts.5.up_proj"),
        ("phi2", "blk.1.attn_output.weight", None, "layers.1.self_attn.dense"),
        ("phi2", "blk.0.ffn_down.weight", None, "layers.0.mlp.fc2"),
        ("starcoder2", "blk.0.ffn_up.weight", None, "layers.0.mlp.c_fc"),
    ],
)
def test_matrices_with_names_of_their_own(
    tmp_path: Path, write, name: str, key: str, number: int | None, foreign: str
) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    expected = values_of(open_checkpoint(base))
    changed = expected[key] if number is None else expected[key][number]
    pair = halves(f"model.{foreign}", *changed.shape)
    a, b = pair.values()
    changed += ALPHA / RANK * b @ a
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, pair)))
    for each, values in expected.items():
        np.testing.assert_allclose(found[each], values, rtol=1e-3, atol=2e-3, err_msg=each)


def test_the_norm_behind_gpt_oss_attention(tmp_path: Path, write) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "gpt-oss")
    norm = np.linspace(0.5, 2.0, 64, dtype=np.float32)
    adapter = write_peft(tmp_path / "adapter", write, {"model.layers.1.post_attention_layernorm.weight": norm})
    np.testing.assert_array_equal(values_of(open_with_base(base, adapter))["blk.1.post_attention_norm.weight"], norm)


def test_pairs_for_an_embedding_are_told_by_their_name(tmp_path: Path, write) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama")
    n_vocab, dim = values_of(open_checkpoint(base))["token_embd.weight"].shape
    tensors = {
        f"model.embed_tokens.lora_embedding_{half}": np.ones(shape, np.float32)
        for half, shape in (("A", (RANK, n_vocab)), ("B", (dim, RANK)))
    }
    with pytest.raises(UnsupportedModelError, match=r"embed_tokens\.lora_embedding_A is for no part of a model"):
        open_with_base(base, write_peft(tmp_path / "adapter", write, tensors))


def test_an_adapter_with_nothing_in_it_is_damaged(tmp_path: Path, write) -> None:
    with pytest.raises(ModelFileError, match="has no LoRA matrices"):
        open_with_base(
            tiny_models.write_tiny(tmp_path / "base.gguf", "llama"), write_peft(tmp_path / "adapter", write, {})
        )


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("gptneox", "gpt_neox.layers.1.attention.query_key_value"),
        ("falcon", "transformer.h.1.self_attention.query_key_value"),
        ("internlm2", "model.layers.1.attention.wqkv"),
        ("qwen3next", "model.layers.1.linear_attn.in_proj_qkvz"),
        ("granitemoe-shared", "model.layers.1.shared_mlp.input_linear"),
    ],
)
def test_matrices_that_are_several_or_lie_otherwise_in_a_gguf(tmp_path: Path, write, name: str, foreign: str) -> None:
    """The base as GGUF with the adapter is the folder with the merged matrix."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    folder = write_folder(tmp_path / "merged", open_checkpoint(base), write, name)
    merged = {
        key: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        for key, tensor in read_weights([folder / "model.safetensors"]).items()
    }
    pair = halves(foreign, *merged[f"{foreign}.weight"].shape)
    change = pair[f"{foreign}.lora_B.weight"] @ pair[f"{foreign}.lora_A.weight"] * np.float32(ALPHA / RANK)
    write.write_safetensors(
        folder / "model.safetensors", merged | {f"{foreign}.weight": merged[f"{foreign}.weight"] + change}
    )
    plain, expected = values_of(open_checkpoint(base)), values_of(open_checkpoint(folder))
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, pair)))
    changed = {key for key in plain if not np.allclose(plain[key], expected[key], atol=1e-6)}
    assert changed
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key], atol=2e-5, err_msg=key)


@pytest.mark.parametrize(
    "name", "llama mistral3 smollm3 granite granitemoe arcee minicpm deepseek qwen3 cohere2 olmo2".split()
)
def test_queries_and_keys_are_turned_where_the_architecture_wants_it(tmp_path: Path, write, name: str) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    plain = values_of(open_checkpoint(base))
    for part, n_heads in (("q", 4), ("k", 2)):
        key, foreign = f"blk.1.attn_{part}.weight", f"model.layers.1.self_attn.{part}_proj"
        pair = halves(foreign, *plain[key].shape)
        a, b = pair.values()
        theirs = b if name in ("qwen3", "cohere2", "olmo2") else write.from_rotary_order(b, n_heads)
        adapter = write_peft(tmp_path / part, write, pair | {f"{foreign}.lora_B.weight": theirs})
        found = values_of(open_with_base(base, adapter))[key]
        np.testing.assert_allclose(found, plain[key] + ALPHA / RANK * b @ a, atol=1e-5)


def test_biases_of_llama_are_turned_as_its_matrices_are(tmp_path: Path, write) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama-biases")
    expected = values_of(open_checkpoint(base))["blk.1.attn_q.bias"]
    tensors = nothing("model.layers.0.self_attn.o_proj", 64, 64)
    tensors["model.layers.1.self_attn.q_proj.bias"] = write.from_rotary_order(expected[:, None], 4)[:, 0]
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, tensors)))
    np.testing.assert_array_equal(found["blk.1.attn_q.bias"], expected)


def test_a_norm_in_a_gguf_adapter(tmp_path: Path) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama")
    norm = np.linspace(0.5, 2.0, 64, dtype=np.float32)
    a, b = halves("", 64, 64).values()
    tensors = {f"{QUERIES}.lora_a": a, f"{QUERIES}.lora_b": b, "blk.0.attn_norm.weight": norm}
    expected, found = (
        values_of(model)
        for model in (
            open_checkpoint(base),
            open_with_base(base, write_gguf_adapter(tmp_path / "adapter.gguf", tensors)),
        )
    )
    np.testing.assert_array_equal(found["blk.0.attn_norm.weight"], norm)
    np.testing.assert_allclose(found[QUERIES], expected[QUERIES] + ALPHA / RANK * b @ a, atol=1e-5)


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "blk.7.attn_norm.weight", "blk.0.odd.lora_c"])
def test_a_tensor_in_a_gguf_adapter_that_its_base_has_not(tmp_path: Path, name: str) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama")
    a, b = halves("", 64, 64).values()
    tensors = {f"{QUERIES}.lora_a": a, f"{QUERIES}.lora_b": b, name: np.ones(32, np.float32)}
    with pytest.raises(ModelFileError, match=rf"changes {name} of shape \(32,\), but the base model"):
        open_with_base(base, write_gguf_adapter(tmp_path / "adapter.gguf", tensors))


@pytest.mark.parametrize("alpha", [0.0, None])
def test_a_gguf_adapter_without_alpha_is_not_scaled(tmp_path: Path, alpha: float | None) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama")
    a, b = halves("", 64, 64).values()
    adapter = write_gguf_adapter(
        tmp_path / "adapter.gguf", {f"{QUERIES}.lora_a": a, f"{QUERIES}.lora_b": b}, alpha=alpha
    )
    plain, found = (values_of(model)[QUERIES] for model in (open_checkpoint(base), open_with_base(base, adapter)))
    np.testing.assert_allclose(found, plain + b @ a, atol=1e-5)


@pytest.mark.parametrize(("name", "architecture"), [("mixtral", "llama"), ("qwen3moe", "qwen3moe")])
def test_experts_of_hugging_face(tmp_path: Path, write, name: str, architecture: str) -> None:
    """Some of the experts, of which each has a pair; rows are read across the borders of experts."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name, types=["Q8_0"])
    expected, tensors = values_of(open_checkpoint(base)), {}
    for part, number in (("ffn_gate", 0), ("ffn_gate", 5), ("ffn_down", 7), ("ffn_up", 1)):
        key = f"blk.1.{part}_exps.weight"
        foreign = expert_name(key, architecture).format(f"experts.{number}").removesuffix(".weight")
        stack = expected[key]
        pair = halves(foreign, *stack[number].shape, seed=number)
        a, b = pair.values()
        stack[number] += ALPHA / RANK * b @ a
        tensors |= pair
    model = open_with_base(base, write_peft(tmp_path / "adapter", write, tensors))
    for key, values in values_of(model).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-3, atol=2e-3, err_msg=key)
    stack = model.tensors["blk.1.ffn_gate_exps.weight"]
    n_rows = stack.shape[1]
    whole = read_floats(stack, 0, stack.n_rows)
    for first, count in ((n_rows - 3, 7), (4 * n_rows + 5, 2 * n_rows), (5 * n_rows, n_rows), (n_rows, 0)):
        np.testing.assert_allclose(read_floats(stack, first, count), whole[first : first + count], atol=2e-3)


@pytest.mark.parametrize(("name", "experts"), [("qwen2moe", "shared_expert"), ("glm4moe", "shared_experts")])
def test_what_is_shared_beside_experts(tmp_path: Path, write, name: str, experts: str) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    key, foreign = "blk.1.ffn_down_shexp.weight", f"model.layers.1.mlp.{experts}.down_proj"
    plain = values_of(open_checkpoint(base))
    pair = halves(foreign, *plain[key].shape)
    a, b = pair.values()
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, pair)))
    np.testing.assert_allclose(found.pop(key), plain.pop(key) + ALPHA / RANK * b @ a, atol=1e-5)
    for other, values in plain.items():
        np.testing.assert_array_equal(found[other], values)


@pytest.mark.parametrize(
    ("model", "part", "rows", "columns"), [("mixtral", "down", 64, 96), ("gemma4-moe", "gate_up", 96, 64)]
)
def test_experts_of_a_gguf_adapter(tmp_path: Path, model: str, part: str, rows: int, columns: int) -> None:
    """A and B of all experts are a stack each, as llama.cpp has them."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", model)
    name = f"blk.0.ffn_{part}_exps.weight"
    pairs = [tuple(halves("", rows, columns, seed=number).values()) for number in range(8)]
    a, b = (np.stack(half) for half in zip(*pairs, strict=True))
    adapter = write_gguf_adapter(tmp_path / "adapter.gguf", {f"{name}.lora_a": a, f"{name}.lora_b": b})
    plain, found = (values_of(model) for model in (open_checkpoint(base), open_with_base(base, adapter)))
    np.testing.assert_allclose(found.pop(name), plain.pop(name) + ALPHA / RANK * b @ a, atol=1e-5)
    for key, values in plain.items():
        np.testing.assert_array_equal(found[key], values)


def test_matrices_of_one_row_in_a_gguf_adapter(tmp_path: Path) -> None:
    """A of rank 1, and B for a gate that is a vector."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "qwen2moe")
    name, rng = "blk.0.ffn_gate_inp_shexp.weight", np.random.default_rng(0)
    a, b = rng.standard_normal((1, 64), np.float32), rng.standard_normal((1, 1), np.float32)
    adapter = write_gguf_adapter(tmp_path / "adapter.gguf", {f"{name}.lora_a": a, f"{name}.lora_b": b})
    plain, found = (values_of(model) for model in (open_checkpoint(base), open_with_base(base, adapter)))
    np.testing.assert_allclose(found[name], plain[name] + ALPHA * (b @ a)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ((8, RANK, 96), (7, 64, RANK), "are no pair"),
        ((8, RANK, 96), (64, RANK), "are no pair"),
        ((1025, 1, 1), (1025, 1, 1), "are no pair"),
        ((8, RANK, 64), (8, 64, RANK), r"changes blk.0.ffn_down.0.weight of shape \(64, 64\), but .* has \(64, 96\)"),
        ((9, RANK, 96), (9, 64, RANK), "changes blk.0.ffn_down.8.weight of shape .* has no such matrix"),
    ],
)
def test_stacks_that_do_not_fit(tmp_path: Path, a: tuple[int, ...], b: tuple[int, ...], match: str) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "mixtral")
    tensors = {f"blk.0.ffn_down_exps.weight.lora_{half}": np.zeros(s, np.float32) for half, s in (("a", a), ("b", b))}
    with pytest.raises(ModelFileError, match=match):
        open_with_base(base, write_gguf_adapter(tmp_path / "adapter.gguf", tensors))


def test_an_output_of_its_own_on_a_base_whose_output_is_its_embedding(tmp_path: Path, write) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "llama")
    plain = values_of(open_checkpoint(base))
    embedding = plain["token_embd.weight"]
    pair = halves("lm_head", *embedding.shape)
    a, b = pair.values()
    whole = nothing("model.layers.0.self_attn.o_proj", 64, 64)
    whole |= {"model.embed_tokens.weight": embedding * 2, "lm_head.weight": embedding[::-1]}
    for name, tensors, expected in (
        ("added", pair, {"output.weight": embedding + ALPHA / RANK * b @ a}),
        ("whole", whole, {"output.weight": embedding[::-1], "token_embd.weight": embedding * 2}),
        ("none", nothing("model.layers.0.self_attn.o_proj", 64, 64), {}),
    ):
        model = open_with_base(base, write_peft(tmp_path / name, write, tensors))
        assert config_from_gguf(model.metadata, model.tensors).tied == ("output.weight" not in expected)
        found = values_of(model)
        assert found.keys() == {**plain, **expected}.keys()
        for key, values in {**plain, **expected}.items():
            np.testing.assert_allclose(found[key], values, atol=1e-5, err_msg=f"{name}: {key}")


@pytest.mark.parametrize("name", ["olmo2", "exaone4", "seed_oss", "glm4moe"])
def test_a_norm_behind_attention_is_found_by_its_name(tmp_path: Path, write, name: str) -> None:
    """Where others have the norm before the feed-forward layer."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", name)
    norm = np.linspace(0.5, 2.0, 64, dtype=np.float32)
    tensors = nothing(
        "model.layers.0.self_attn.o_proj", *values_of(open_checkpoint(base))["blk.0.attn_output.weight"].shape
    )
    tensors["model.layers.0.post_attention_layernorm.weight"] = norm
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, tensors)))
    np.testing.assert_array_equal(found["blk.0.post_attention_norm.weight"], norm)


LATENT = "model.layers.0.self_attn.kv_b_proj"


def test_keys_and_values_of_a_latent_vector_in_one(tmp_path: Path, write) -> None:
    """As older GGUFs of DeepSeek have them."""
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "deepseek2-in-one")
    pair = halves(LATENT, 4 * 64, 64)
    found = values_of(open_with_base(base, write_peft(tmp_path / "adapter", write, pair)))
    name = "blk.0.attn_kv_b.weight"
    a, b = (pair[f"{LATENT}.lora_{half}.weight"] for half in "AB")
    np.testing.assert_allclose(found[name], values_of(open_checkpoint(base))[name] + ALPHA / RANK * b @ a, rtol=1e-4)


def test_keys_and_values_of_a_latent_vector_apart_are_refused(tmp_path: Path, write) -> None:
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "deepseek2")
    adapter = write_peft(tmp_path / "adapter", write, halves(LATENT, 4 * 64, 64))
    with pytest.raises(UnsupportedModelError, match=r"changes .*kv_b_proj.*, of which the base model .* has two"):
        open_with_base(base, adapter)
