"""Every architecture in Hugging Face's format: the same configuration and the same weights as its GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from engine.checkpoints.rows import read_rows
from engine.conversion.messages import Conversion
from engine.conversion.plan import plan_conversion
from engine.conversion.run import run
from engine.conversion.stopping import Stop
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models

QWEN35 = {
    "head_dim": 32,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {"partial_rotary_factor": 0.5, "mrope_section": [3, 3, 2], "rope_theta": 10_000.0},
}

MODELS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 16}),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "qwen3moe": (
        "Qwen3MoeForCausalLM",
        {
            "head_dim": 32,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 48,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
    ),
    "qwen2": ("Qwen2ForCausalLM", {"rope_theta": 1e6, "sliding_window": 32, "use_sliding_window": False}),
    "qwen3": ("Qwen3ForCausalLM", {"rope_theta": 1e6, "head_dim": 32}),
    "gemma": ("GemmaForCausalLM", {"head_dim": 32}),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            "head_dim": 32,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        {"head_dim": 32, "sliding_window": 16, "rope_theta": 1e6, "rope_local_base_freq": 10_000.0},
    ),
    "phi3-long": (
        "Phi3ForCausalLM",
        {
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 64,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": np.linspace(1.0, 2.0, 6).tolist(),
                "long_factor": np.linspace(1.0, 5.0, 6).tolist(),
            },
        },
    ),
    "smollm3": ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 1, 1, 0, 1], "no_rope_layer_interval": 4}),
    "granite": (
        "GraniteForCausalLM",
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.1,
            "logits_scaling": 2.0,
        },
    ),
    "lfm2": (
        "Lfm2ForCausalLM",
        {
            "rope_theta": 1e6,
            "layer_types": ["conv", "conv", "full_attention", "conv", "full_attention"],
            "conv_L_cache": 3,
            "block_auto_adjust_ff_dim": False,
        },
    ),
    "qwen35": ("Qwen3_5ForCausalLM", {**QWEN35, "full_attention_interval": 2, "linear_num_key_heads": 4}),
    "qwen35-grouped": (
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": {
                **QWEN35,
                "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"],
                "linear_num_key_heads": 2,
            }
        },
    ),
    "stablelm": ("StableLmForCausalLM", {"layer_norm_eps": 1e-5, "use_qkv_bias": True}),
    "phi2": ("PhiForCausalLM", {"layer_norm_eps": 1e-5, "hidden_act": "gelu_new", "partial_rotary_factor": 0.5}),
    "starcoder2": ("Starcoder2ForCausalLM", {"norm_epsilon": 1e-5, "hidden_act": "gelu_pytorch_tanh"}),
    "nemotron": ("NemotronForCausalLM", {"norm_eps": 1e-5, "hidden_act": "relu2", "head_dim": 16}),
    "glm4": ("Glm4ForCausalLM", {"partial_rotary_factor": 0.5, "attention_bias": True, "head_dim": 16}),
}
"""Names in tiny_models.py, and what their config.json has beside the usual."""

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "block_sparse_moe.gate",
}
GEMMA_2 = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GEMMA_4 = {
    **GEMMA_2,
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}
GLM_4 = {
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
    "ffn_up": "mlp.gate_up_proj",
}
PHI_2 = {"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
LFM2 = {
    "attn_norm": "operator_norm",
    "ffn_norm": "ffn_norm",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv": "conv",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "ffn_gate_inp": "feed_forward.gate",
}
QWEN35_LAYER = {
    "post_attention_norm": "post_attention_layernorm",
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
}
EXPERT = {
    "llama": {
        "ffn_gate": "block_sparse_moe.{}.w1",
        "ffn_down": "block_sparse_moe.{}.w2",
        "ffn_up": "block_sparse_moe.{}.w3",
    },
    "qwen3moe": {"ffn_gate": "mlp.{}.gate_proj", "ffn_down": "mlp.{}.down_proj", "ffn_up": "mlp.{}.up_proj"},
}
"""The name of an expert's matrix, around `experts.NUMBER`."""


def foreign_name(name: str, architecture: str) -> str:
    outside = {
        "token_embd.weight": "model.embed_tokens.weight",
    }
    outside["token_embd_norm.weight"] = "model.embedding_norm.weight"
    outside["per_layer_proj_norm.weight"] = "model.per_layer_projection_norm.weight"
    norm = "final_layernorm" if architecture == "phi2" else "norm"
    outside |= {f"output_norm.{part}": f"model.{norm}.{part}" for part in ("weight", "bias")}
    if not name.startswith("blk."):
        return outside.get(name, name.replace("output", "lm_head"))
    _, layer, part, *rest = name.split(".")
    names = LAYER | (GEMMA_2 if architecture in ("gemma2", "gemma3") else {})
    names |= {"ffn_up": "mlp.gate_up_proj"} if architecture == "phi3" else {}
    names |= GEMMA_4 if architecture == "gemma4" else {}
    names |= QWEN35_LAYER if architecture in ("qwen35", "qwen35moe", "qwen3next") else {}
    if part in ("ssm_a", "ssm_dt"):
        return f"model.layers.{layer}.linear_attn.{'A_log' if part == 'ssm_a' else 'dt_bias'}"
    names |= LFM2 if architecture in ("lfm2", "lfm2moe") else {}
    names |= GLM_4 if architecture == "glm4" else {}
    names |= PHI_2 if architecture == "phi2" else {}
    names |= {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"} if architecture == "starcoder2" else {}
    names |= {"ffn_gate_inp": "mlp.gate"} if architecture == "qwen3moe" else {}
    return ".".join(["model.layers", layer, names[part], *rest])


def write_folder(folder: Path, twin, write, name: str) -> Path:
    """The twin in Hugging Face's format."""
    class_name, options = MODELS[name]
    config = config_from_gguf(twin.metadata, twin.tensors)
    architecture = config.architecture.name
    folder.mkdir()
    tensors = {}
    for gguf_name, tensor in twin.tensors.items():
        if gguf_name.startswith("rope_"):
            continue
        values = read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        if architecture in ("llama", "smollm3", "granite") and ("attn_q." in gguf_name or "attn_k." in gguf_name):
            heads = config.attention[0].n_heads if "attn_q" in gguf_name else config.attention[0].n_kv_heads
            values = write.from_rotary_order(values.reshape(len(values), -1), heads).reshape(values.shape)
        if architecture.startswith(("gemma", "nemotron")) and gguf_name.endswith("norm.weight"):
            values = values - np.float32(1)
        if "_exps." in gguf_name:
            _, layer, part, _ = gguf_name.split(".")
            place = f"model.layers.{layer}.{EXPERT[architecture][part.removesuffix('_exps')]}.weight"
            tensors |= {place.format(f"experts.{i}"): each for i, each in reversed(list(enumerate(values)))}
        else:
            values = values[:, None] if "shortconv.conv." in gguf_name else values
            if architecture == "qwen35":
                values = from_qwen35(values, gguf_name, config.recurrence)
            tensors[foreign_name(gguf_name, architecture)] = values
    write.write_safetensors(folder / "model.safetensors", tensors)
    values = {
        "architectures": [class_name],
        "hidden_size": config.dim,
        "intermediate_size": config.experts.hidden_dim if config.experts else config.hidden_dims[0],
        "max_position_embeddings": config.max_seq_len,
        "num_attention_heads": config.attention[0].n_heads,
        "num_key_value_heads": max(attention.n_kv_heads for attention in config.attention),
        "num_hidden_layers": config.n_layers,
        **({"rms_norm_eps": 1e-5} if config.architecture.norm == "rms" else {}),
        "tie_word_embeddings": config.tied,
    }
    (folder / "config.json").write_text(json.dumps(values | options))
    tokens, scores = twin.metadata["tokenizer.ggml.tokens"], twin.metadata["tokenizer.ggml.scores"]
    pieces = list(zip(tokens, scores, twin.metadata["tokenizer.ggml.token_type"], strict=True))
    write.write_tokenizer(folder / "tokenizer.model", pieces)
    return folder


def from_qwen35(values, name, recurrence):
    """Value heads of a key head side by side, norms less 1, logarithms of decays, a dimension of 1 more."""
    part, keys, dim = [*name.split("."), ""][2], recurrence.key_heads, recurrence.state_dim
    per_key = recurrence.value_heads // keys
    if name.endswith("norm.weight") and "ssm_norm" not in name:
        return values - np.float32(1)
    if part == "ssm_a":
        values = np.log(-values)

    def grouped(heads, width):
        shape = heads.shape
        return heads.reshape(per_key, keys, width, *shape[1:]).swapaxes(0, 1).reshape(shape)

    if part in ("attn_qkv", "ssm_conv1d"):
        values = np.concatenate([values[: 2 * keys * dim], grouped(values[2 * keys * dim :], dim)])
    elif part == "attn_gate":
        values = grouped(values, dim)
    elif part == "ssm_out":
        values = grouped(values.T, dim).T
    elif part in ("ssm_beta", "ssm_alpha", "ssm_a", "ssm_dt"):
        values = grouped(values, 1)
    return values[:, None] if part == "ssm_conv1d" else values


def convert(source: Path, target: Path) -> Path:
    run(plan_conversion(Conversion(source=str(source), target=str(target), type="Q8_0")), 2, Stop(), lambda _: None)
    return target


@pytest.mark.parametrize("name", MODELS)
def test_as_its_gguf(tmp_path: Path, write, decode, name: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", name)
    twin = open_checkpoint(path)
    folder = write_folder(tmp_path / "model", twin, write, name)
    found = open_checkpoint(folder)
    expected, config = (config_from_gguf(model.metadata, model.tensors) for model in (twin, found))
    for field in expected.__slots__:
        value = getattr(expected, field)
        if field not in ("name", "rope_scaling"):
            assert getattr(config, field) == (pytest.approx(value) if isinstance(value, float) else value), field
    assert config.rope_scaling.original_max_seq_len == expected.rope_scaling.original_max_seq_len
    assert found.tensors.keys() == twin.tensors.keys()
    for key, tensor in twin.tensors.items():
        values = read_floats(found.tensors[key], 0, tensor.n_rows)
        np.testing.assert_allclose(values, read_floats(tensor, 0, tensor.n_rows), atol=2e-7, err_msg=key)
    if not name.startswith("phi3"):
        assert decode(folder) == decode(path)


def test_the_factor_of_phis_long_contexts(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "phi3-long"))
    folder = write_folder(tmp_path / "model", twin, write, "phi3-long")
    factor = open_checkpoint(folder).metadata["phi3.rope.scaling.attn_factor"]
    assert factor == pytest.approx(np.sqrt(1 + np.log(256 / 64) / np.log(64)))


def test_the_window_of_starcoder_2(tmp_path: Path, write) -> None:
    """Its GGUFs do not have it, since llama.cpp does without."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "starcoder2"))
    folder = write_folder(tmp_path / "model", twin, write, "starcoder2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 16}))
    model = open_checkpoint(folder)
    assert [layer.window for layer in config_from_gguf(model.metadata, model.tensors).attention] == [16, 16]


@pytest.mark.parametrize("name", ["mixtral", "qwen3moe"])
def test_experts_convert_as_those_of_the_gguf(tmp_path: Path, write, decode, monkeypatch, name: str) -> None:
    """In pieces that begin and end amid an expert's rows."""
    monkeypatch.setattr("engine.conversion.plan.PIECE_WEIGHTS", 37 * 64)
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", name)
    folder = write_folder(tmp_path / "model", open_checkpoint(path), write, name)
    new, same = (convert(source, tmp_path / f"{source.stem}-q8.gguf") for source in (folder, path))
    content = [
        {
            key: (t.shape, t.type.name, read_rows(t, 0, t.n_rows).tobytes())
            for key, t in open_checkpoint(file).tensors.items()
        }
        for file in (new, same)
    ]
    assert content[0] == content[1]
    assert content[0]["blk.1.ffn_down_exps.weight"][0][0] == 8
    assert decode(new) == decode(same)


def test_an_early_gguf_of_experts_converts_to_a_stacked_one(tmp_path: Path, decode) -> None:
    early = tiny_models.write_tiny(tmp_path / "early.gguf", "mixtral-apart")
    late = tiny_models.write_tiny(tmp_path / "late.gguf", "mixtral")
    new = convert(early, tmp_path / "new.gguf")
    assert {tensor.name for tensor in GGUFReader(new).tensors} == {tensor.name for tensor in GGUFReader(late).tensors}
    assert decode(new) == decode(convert(late, tmp_path / "same.gguf"))


def test_a_missing_expert_is_named(tmp_path: Path, write) -> None:
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", "qwen3moe")
    twin = open_checkpoint(path)
    folder = write_folder(tmp_path / "model", twin, write, "qwen3moe")
    tensors = {
        name: read_floats(t, 0, t.n_rows).reshape(t.shape)
        for name, t in read_weights([folder / "model.safetensors"]).items()
    }
    del tensors["model.layers.1.mlp.experts.5.up_proj.weight"]
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"of the experts of blk\.1\.ffn_up_exps\.weight number 5 is missing"):
        open_checkpoint(folder)


SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("qwen3moe", {"norm_topk_prob": False}, "shares of experts do not add up to one .norm_topk_prob."),
        ("llama", {"hidden_act": "gelu"}, "activation is 'gelu' .hidden_act., .* in a llama model"),
        ("nemotron", {"hidden_act": "relu"}, "activation is 'relu' .hidden_act., .* in a nemotron model"),
        ("gemma2", {"hidden_act": "gelu", "hidden_activation": "silu"}, "'silu' .hidden_activation., .* in a gemma2"),
        ("gemma2", {"query_pre_attn_scalar": 224}, "scaled by 224 .query_pre_attn_scalar.; only 32"),
        ("qwen2", SLIDING, "no more than 4 tokens .use_sliding_window., .* in a qwen2 model"),
        ("qwen3", SLIDING | {"layer_types": ["full_attention", "sliding_attention"]}, "no more than 4 tokens"),
        ("qwen3moe", SLIDING | {"max_window_layers": 2}, "no more than 4 tokens"),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 4}, "no more than 4 tokens .* in a smollm3 model"),
        ("smollm3", SLIDING | {"layer_types": ["full_attention", "sliding_attention"]}, "no more than 4 tokens"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}, "other layers than every 4th .* .no_rope_layers."),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(tmp_path: Path, write, name: str, options, match: str) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", name))
    folder = write_folder(tmp_path / "model", twin, write, name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | options))
    with pytest.raises(UnsupportedModelError, match=match):
        open_checkpoint(folder)
