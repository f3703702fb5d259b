"""Folders whose small files hold anything at all: a clear error or a model, never a crash."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelFileError
from engine.model_info import inspect_model
from engine.tokenizer import load_tokenizer

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = st.integers(-3, 300) | st.sampled_from([2**31, 2**63, -(2**63), 10**30]) | st.floats(width=32)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=6)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)

CONFIG_KEYS = (
    "architectures hidden_size intermediate_size max_position_embeddings num_attention_heads num_key_value_heads "
    "num_hidden_layers rms_norm_eps head_dim rope_theta rope_scaling rope_parameters tie_word_embeddings bos_token_id "
    "eos_token_id unk_token_id sliding_window partial_rotary_factor quantization_config num_local_experts "
    "n_routed_experts moe_topk moe_intermediate_size n_shared_experts norm_topk_prob scoring_func layer_types "
    "sliding_window_pattern logit_scale text_config model_type per_layer_config quantization block_configs"
).split()
CLASSES = (
    "LlamaForCausalLM DeciLMForCausalLM Gemma4ForCausalLM GptOssForCausalLM Qwen3NextForCausalLM "
    "HunYuanMoEV1ForCausalLM"
).split()
OPTION_KEYS = "chat_template bos_token eos_token unk_token add_bos_token added_tokens_decoder".split()
ROPE_KEYS = "rope_type type factor low_freq_factor high_freq_factor original_max_position_embeddings".split()


@pytest.fixture(scope="module")
def model(write, spm_pieces) -> Any:
    return write.TinyLlama(write.pieces_of(spm_pieces, 300), dim=32, n_heads=2, n_layers=1, hidden_dim=32)


@pytest.fixture
def folder(tmp_path: Path, write, model) -> Path:
    return write.write_hugging_face(tmp_path / "model", model)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "model-00001-of-00001.safetensors",
    ],
)
def test_pipes_do_not_hang(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    if name.startswith("model"):
        (folder / "model.safetensors").unlink(missing_ok=True)
    os.mkfifo(folder / name)
    opens_or_says_why(folder)


HALF = "\ud800"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {f"<{HALF}>": 299}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"5": {"content": HALF, "special": True}}}),
        ("tokenizer_config.json", {"chat_template": HALF}),
        ("config.json", {"architectures": [HALF]}),
        ("model.safetensors.index.json", {"weight_map": {"w": HALF}}),
        ("adapter_config.json", {"base_model_name_or_path": HALF}),
    ],
)
def test_half_a_character(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match=rf"{name}: it is not JSON: it has half a character"):
        load_tokenizer(open_checkpoint(folder).metadata)


def test_half_a_character_in_the_name_of_a_tensor(folder: Path) -> None:
    header = json.dumps({HALF: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ModelFileError, match=r"safetensors: its header is not JSON: it has half a character"):
        open_checkpoint(folder)


def test_both_halves_of_a_character(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<\U0001f600>": 5}, ensure_ascii=True))
    assert load_tokenizer(open_checkpoint(folder).metadata).vocabulary.tokens[5] == "<\U0001f600>"


def opens_or_says_why(folder: Path) -> None:
    try:
        checkpoint = open_checkpoint(folder)
        inspect_model(folder)
        load_tokenizer(checkpoint.metadata)
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    except EngineError as error:
        assert error.message
        assert error.hint


@SETTINGS
@given(st.sampled_from(CLASSES), st.dictionaries(st.sampled_from(CONFIG_KEYS), ANYTHING, min_size=1, max_size=3))
def test_config(folder: Path, write, model, name: str, changes: dict[str, Any]) -> None:
    write.write_config(folder, model, **{"architectures": [name], **changes})
    opens_or_says_why(folder)


QUANTISED_KEYS = (
    "quant_method bits group_size mode format config_groups packing_format desc_act weight_block_size load_in_4bit "
    "quant_algo version checkpoint_format sparsity_config zero_point model.layers.0.self_attn.q_proj"
).split()
METHODS = "bitsandbytes gptq awq fp8 compressed-tensors modelopt auto-round mxfp4 bitnet aqlm".split()
MODES = "affine mxfp4 nvfp4 mxfp8 gemm pack-quantized float-quantized auto_round:auto_gptq NVFP4".split()


@SETTINGS
@given(
    st.sampled_from(["quantization", "quantization_config"]),
    st.dictionaries(
        st.sampled_from(QUANTISED_KEYS), ANYTHING | st.sampled_from([*METHODS, *MODES, 4, 32, True]), min_size=1
    ),
    st.lists(st.sampled_from(["weight", "weight_packed", "qweight", "scales", "weight_scale", "SCB"]), max_size=3),
)
def test_quantised(folder: Path, write, model, key: str, how: dict[str, Any], parts: list[str]) -> None:
    tensors = {name: values.astype("float32") for name, values in write.hugging_face_tensors(model).items()}
    place = "model.layers.0.self_attn.q_proj"
    tensors |= {f"{place}.{part}": tensors["model.norm.weight"].astype("int32") for part in parts}
    write.write_safetensors(folder / "model.safetensors", tensors)
    write.write_config(folder, model, **{key: how})
    opens_or_says_why(folder)


@SETTINGS
@given(st.dictionaries(st.sampled_from(ROPE_KEYS), SCALARS | st.sampled_from(["llama3", "yarn", "linear"])))
def test_rope(folder: Path, write, model, scaling: dict[str, Any]) -> None:
    write.write_config(folder, model, rope_scaling=scaling)
    opens_or_says_why(folder)


@SETTINGS
@given(
    st.dictionaries(st.sampled_from(OPTION_KEYS), ANYTHING, min_size=1, max_size=3),
    st.dictionaries(st.text(max_size=8), ANYTHING, max_size=3),
)
def test_tokenizer_options(folder: Path, options: dict[str, Any], added: dict[str, Any]) -> None:
    decoder = options.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        options["added_tokens_decoder"] = {str(i * 150): value for i, value in enumerate(decoder.values())}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    (folder / "added_tokens.json").write_text(json.dumps(added))
    opens_or_says_why(folder)


@SETTINGS
@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["BPE", "Unigram"]) | ANYTHING},
        optional={
            "vocab": st.dictionaries(st.text(max_size=3), NUMBERS | SCALARS, max_size=4) | ANYTHING,
            "merges": st.lists(st.text(max_size=4) | ANYTHING, max_size=3) | ANYTHING,
            "byte_fallback": ANYTHING,
        },
    ),
    st.sampled_from([{"type": "ByteLevel"}, {"type": "Sequence", "pretokenizers": []}]) | ANYTHING,
    st.lists(st.fixed_dictionaries({"id": NUMBERS, "content": st.text(max_size=4) | ANYTHING}), max_size=2) | ANYTHING,
)
def test_tokenizer_json(folder: Path, model_part: Any, pre_tokenizer: Any, added: Any) -> None:
    (folder / "tokenizer.model").unlink(missing_ok=True)
    root = {"model": model_part, "pre_tokenizer": pre_tokenizer, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(root))
    opens_or_says_why(folder)


@SETTINGS
@given(st.binary(max_size=120), st.integers(0, 4000))
def test_tokenizer_model(folder: Path, write, model, noise: bytes, at: int) -> None:
    whole = write.write_tokenizer(folder / "tokenizer.model", model.pieces).read_bytes()
    at = min(at, len(whole))
    (folder / "tokenizer.model").write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    opens_or_says_why(folder)


@SETTINGS
@given(st.dictionaries(st.sampled_from(["dim", "n_heads", "n_layers", "norm_eps", "rope_theta"]), SCALARS, min_size=1))
def test_params(tmp_path: Path, write, model, changes: dict[str, Any]) -> None:
    folder = tmp_path / "LLaMA" / "7B"
    if not folder.exists():
        write.write_meta(folder, model)
    params = {"dim": 32, "n_heads": 2, "n_layers": 1, "norm_eps": 1e-6}
    (folder / "params.json").write_text(json.dumps(params | changes))
    opens_or_says_why(folder)


@SETTINGS
@given(
    st.dictionaries(
        st.sampled_from(["peft_type", "r", "lora_alpha", "use_dora", "rank_pattern", "base_model_name_or_path"]),
        SCALARS | st.sampled_from(["LORA", "..", ".", "/", "../model"]),
        min_size=1,
    )
)
def test_adapter(tmp_path: Path, write, model, changes: dict[str, Any]) -> None:
    folder = tmp_path / "adapter"
    if not folder.exists():
        folder.mkdir()
        write.write_gguf(folder / "base.gguf", model, "F16")
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        halves = {"A": model.tensors["token_embd"][:2], "B": model.tensors["blk.0.attn_q"][:, :2].copy()}
        write.write_safetensors(
            folder / "adapter_model.safetensors", {f"{name}{h}.weight": m for h, m in halves.items()}
        )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | changes))
    opens_or_says_why(folder)
