"""Folders of Llama 4, and of Nanbeige, which goes through its layers several times."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.names import from_hugging_face
from engine.errors import UnsupportedModelError
from engine.loading import load
from engine.protocol import Load
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import values_of

IDS = np.random.default_rng(6).integers(3, 705, 60).tolist()

OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    **{f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"},
    "attn_output": "self_attn.o_proj",
}
UNIT = {f"ffn_{part}": f"{part}_proj" for part in ("gate", "up", "down")}
LLAMA_4 = {
    **{name: f"feed_forward.{part}" for name, part in UNIT.items()},
    **{f"{name}_shexp": f"feed_forward.shared_expert.{part}" for name, part in UNIT.items()},
    "ffn_gate_inp": "feed_forward.router",
}

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "intermediate_size_mlp": 96,
    "head_dim": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 5,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "interleave_moe_layer_step": 1,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "no_rope_layers": [1, 1, 1, 0, 1],
    "use_qk_norm": True,
}
CHUNKS = {"attention_chunk_size": 16, "attn_scale": 0.3, "floor_scale": 8, "attn_temperature_tuning": 4}
NAMED = {"layer_types": ["chunked_attention"] * 3 + ["full_attention", "chunked_attention"], "no_rope_layers": []}
INTERLEAVED = {"interleave_moe_layer_step": 2, "attn_temperature_tuning": True}
FOLDERS = {
    "scout": ("llama4", {"divisors": []}, {}),
    "chunks": ("llama4-chunks", {"divisors": []}, CHUNKS),
    "named": ("llama4-chunks", {"divisors": []}, CHUNKS | NAMED),
    "interleaved": ("llama4", {"divisors": [], "interleave_moe_layer_step": 2}, INTERLEAVED),
    "untuned": (
        "llama4-chunks",
        {"divisors": [], "attention.temperature_scale": 0.0},
        CHUNKS | {"attn_temperature_tuning": False},
    ),
}
NANBEIGE = {
    "architectures": ["NanbeigeForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


def tensors_of(twin, layer_names, prefix, write):
    """The twin's tensors as the folder has them."""
    found = {}
    for name in twin.tensors:
        values, (*block, part, kind) = values_of(twin, name), name.split(".")
        if part.endswith("_exps"):
            continue
        place = f"model.layers.{block[1]}.{layer_names[part]}" if block else OUTSIDE[part]
        if not prefix and part in ("attn_q", "attn_k"):
            values = write.from_rotary_order(values, 4 if part == "attn_q" else 2)
        found[f"{prefix}{place}.{kind}"] = values
        if part == "ffn_gate_inp":
            gate, up, down = (
                values_of(twin, f"blk.{block[1]}.ffn_{each}_exps.weight") for each in ("gate", "up", "down")
            )
            experts = f"{prefix}model.layers.{block[1]}.feed_forward.experts"
            found[f"{experts}.gate_up_proj"] = np.concatenate([gate, up], axis=1).transpose(0, 2, 1)
            found[f"{experts}.down_proj"] = down.transpose(0, 2, 1)
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


def write_folder(folder, twin, config, tensors, write):
    folder.mkdir()
    write.write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    parts = ("tokens", "scores", "token_type")
    pieces = list(zip(*(twin.metadata[f"tokenizer.ggml.{part}"] for part in parts), strict=True))
    write.write_tokenizer(folder / "tokenizer.model", pieces)
    return folder


def write_llama4(tmp_path, write, name, **options):
    gguf_name, changes, text = FOLDERS[name]
    changes = {key.replace(".", "__"): value for key, value in changes.items()}
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", gguf_name, **changes)
    twin = open_checkpoint(path)
    tensors = tensors_of(twin, LAYER | LLAMA_4, "language_model.", write)
    tensors["vision_model.patch_embedding.linear.weight"] = np.zeros((2, 2), np.float32)
    tensors["multi_modal_projector.linear_1.weight"] = np.zeros((2, 2), np.float32)
    config = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": TEXT | text | options}
    return path, write_folder(tmp_path / "model", twin, config, tensors, write)


def logits(path):
    model = load(Load(path=str(path), threads=1), lambda *_: None)
    found = model.evaluate(IDS, 0).copy()
    model.close()
    return found


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_llama_4_says_what_its_gguf_says(tmp_path, write, name):
    path, folder = write_llama4(tmp_path, write, name)
    np.testing.assert_array_equal(logits(folder), logits(path))


@pytest.mark.parametrize("name", ["nanbeige", "nanbeige-unnormed"])
def test_a_folder_of_nanbeige_says_what_its_gguf_says(tmp_path, write, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, untied=False)
    twin = open_checkpoint(path)
    names = LAYER | {name: f"mlp.{part}" for name, part in UNIT.items()}
    loops = {key: twin.metadata[f"nanbeige.{key}"] for key in ("num_loops", "skip_loop_final_norm")}
    folder = write_folder(tmp_path / "model", twin, NANBEIGE | loops, tensors_of(twin, names, "", write), write)
    np.testing.assert_array_equal(logits(folder), logits(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_qk_norm": False}, "use_qk_norm is false with 8 experts"),
        ({"no_rope_layers": [1, 1, 0, 1, 1], **{"layer_types": NAMED["layer_types"]}}, "no_rope_layers"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(tmp_path, write, options, message):
    _, folder = write_llama4(tmp_path, write, "scout", **options)
    with pytest.raises(UnsupportedModelError, match=message):
        open_checkpoint(folder)


def test_names_of_experts():
    name = "language_model.model.layers.3.feed_forward.shared_expert.up_proj.weight"
    assert from_hugging_face(name, "llama4") == "blk.3.ffn_up_shexp.weight"
    assert from_hugging_face(name, "llama") is None
