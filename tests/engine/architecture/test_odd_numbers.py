"""Numbers that do not fit, refused by name, of keys that only a few architectures have."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError
from tests.engine import tiny_models

INF = math.inf


@pytest.mark.parametrize(
    ("name", "keys", "match"),
    [
        ("gemma3n", {"gemma3n.altup.num_inputs": 5}, r"5 streams of 64; this engine runs up to 4"),
        ("gemma3n", {"gemma3n.altup.num_inputs": 3}, r"altup_proj\.weight has the shape \(3, 64, 64\)"),
        ("gemma3n", {"gemma3n.altup.num_inputs": 1}, r"altup\.num_inputs is 1"),
        ("gemma3n", {"gemma3n.altup.active_idx": 4}, r"altup\.active_idx is 4"),
        ("gemma3n", {"gemma3n.activation_sparsity_scale": [1.0] * 4}, r"sparsity_scale should be a list of 5 numbers"),
        ("gemma3n", {"gemma3n.activation_sparsity_scale": [INF] * 5}, r"sparsity_scale should be a list of 5 numbers"),
        ("gemma3n", {"gemma3n.activation_sparsity_scale": [math.nan] * 5}, r"should be a list of 5 numbers"),
        ("apertus", {"xielu.alpha_n": [1.0]}, r"xielu\.alpha_n has 1 elements, it should have 2"),
        ("apertus", {"xielu.alpha_p": [1.0, INF]}, r"xielu\.alpha_p"),
        ("apertus", {"xielu.beta": None}, r"xielu\.beta"),
        ("apertus", {"xielu.eps": -1.0}, r"an activation that changes at -1"),
        ("olmo", {"olmo.attention.clamp_kqv": -1.0}, r"clamp_kqv is -1"),
        ("mpt-biases", {"mpt.attention.clamp_kqv": 8.0}, r"adds to queries and limits them"),
        ("mpt", {"mpt.attention.max_alibi_bias": INF}, r"max_alibi_bias"),
        ("qwen", {"qwen.feed_forward_length": 1}, r"feed_forward_length is 1"),
        ("qwen", {"qwen.feed_forward_length": 194}, r"ffn_gate\.weight has the shape \(96, 64\)"),
        ("hunyuan_vl", {"hunyuan_vl.rope.scaling.alpha": -1.0}, r"scaling\.alpha is -1"),
        ("hunyuan_vl", {"hunyuan_vl.rope.scaling.alpha": math.nan}, r"scaling\.alpha"),
        ("hunyuan_vl", {"hunyuan_vl.rope.scaling.alpha": 1e-5}, r"scaling\.alpha is 1e-05, it should be 0 or"),
        (
            "hunyuan_vl",
            {"hunyuan_vl.rope.freq_base": 1e9, "hunyuan_vl.rope.scaling.alpha": 1e6},
            r"alpha is 1000000\.0, which makes a rotary base of",
        ),
        ("maple", {"maple.swiglu_clamp_exp": [7.0]}, r"swiglu_clamp_exp has 1 elements, it should have 3"),
        ("maple", {"maple.swiglu_clamp_exp": [7.0, -7.0, 7.0]}, r"swiglu_clamp_exp is -7"),
        ("maple", {"maple.swiglu_clamp_exp": [7.0, math.nan, 7.0]}, r"swiglu_clamp_exp"),
        ("maple", {"maple.swiglu_clamp_exp": math.inf}, r"swiglu_clamp_exp"),
        ("cohere2moe", {"cohere2moe.leading_dense_block_count": -1}, r"leading_dense_block_count is -1"),
        (
            "laguna-whole",
            {f"laguna.{key}": 24 for key in ("attention.key_length", "attention.value_length", "rope.dimension_count")},
            r"gates for heads of 24",
        ),
        ("k2-horizon", {"k2-horizon.attention.group_norm_groups": 3}, r"norms 3 parts of 64 numbers"),
        ("k2-horizon", {"k2-horizon.attention.group_norm_groups": 65}, r"group_norm_groups is 65"),
        ("k2-horizon", {"k2-horizon.attention.value_expert_count": 4}, r"has experts for values"),
        ("gpt2", {"gpt2.context_length": 128}, r"position_embd\.weight has the shape \(256, 64\)"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path: Path, name: str, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    for key, value in keys.items():
        checkpoint.metadata[key] = array("f", value) if isinstance(value, list) else value
    with pytest.raises(EngineError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_first_layers_of_gemma_3n_leave_gates_out_where_the_file_does_not_say(tmp_path: Path) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma3n-e2b", activation_sparsity_scale=None)
    checkpoint = open_checkpoint(path)
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert config.altup is not None
    np.testing.assert_allclose([cutoff or 0 for cutoff in config.altup.cutoffs], [1.6448535] * 10 + [0] * 12)


def test_vectors_of_positions_are_part_of_a_model_only_where_something_is_made_of_them(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "bloom"))
    name = "position_embd.weight"
    odd = replace(checkpoint.tensors["token_embd.weight"], name=name)
    with pytest.raises(EngineError, match=r"position_embd\.weight is not part of a bloom model"):
        config_from_gguf(checkpoint.metadata, {**checkpoint.tensors, name: odd})


@pytest.mark.parametrize(("rows", "wanted"), [(3, 2), (64, None), (65, 2)])
def test_each_head_has_one_gate_or_as_many_as_numbers(tmp_path: Path, rows: int, wanted: int | None) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "laguna"))
    name = "blk.0.attn_gate.weight"
    checkpoint.tensors[name] = replace(checkpoint.tensors[name], shape=(rows, 64))
    first = name if wanted is not None else "blk.1.attn_gate.weight"
    with pytest.raises(EngineError, match=rf"{first} has the shape"):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)
