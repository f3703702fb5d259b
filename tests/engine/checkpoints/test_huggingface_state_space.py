"""What configurations of models with Mamba-2's layers say, and what of it is not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint, open_with_base
from engine.checkpoints.derived import read_floats
from engine.checkpoints.rows import read_rows
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder


def folder_of(tmp_path: Path, write, name: str, **changes) -> Path:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", name))
    folder = write_folder(tmp_path / "model", twin, write, name)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("mamba2", {"time_step_limit": [0.001, 0.1]}, r"between 0\.001 and 0\.1 \(time_step_limit\)"),
        ("nemotron_h", {"mamba_dt_limit": [0.0, 100.0], "time_step_limit": None}, r"between 0 and 100"),
        ("falcon-h1-norms", {"mamba_norm_before_gate": True}, "normed before their gates"),
        ("falcon-h1", {"attention_bias": True}, "matrices have biases"),
        ("falcon-h1", {"tie_word_embeddings": True}, r"multiplied by 8 and by 0\.0625"),
        ("nemotron_h", {"hybrid_override_pattern": "M-*EMM", "moe_intermediate_size": 48}, "some layers have experts"),
        ("nemotron_h", {"mamba_hidden_act": "gelu"}, r"the activation 'gelu' \(mamba_hidden_act\)"),
        ("nemotron_h", {"mlp_hidden_act": "silu"}, "the activation is 'silu'"),
    ],
)
def test_what_is_not_run_is_said(tmp_path, write, name, changes, match):
    with pytest.raises(UnsupportedModelError, match=match):
        open_checkpoint(folder_of(tmp_path, write, name, **changes))


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("nemotron_h", {"hybrid_override_pattern": "M-?-MM"}, "does not say of each of 6 layers what it is"),
        ("granitehybrid", {"layer_types": ["mamba"]}, "does not say of each of 4 layers what it is"),
        ("falcon-h1", {"ssm_multipliers": [1.0]}, "ssm_multipliers should be a list of 5 numbers"),
        ("falcon-h1", {"mlp_multipliers": [1.0, "2"]}, "mlp_multipliers should be a number"),
        ("falcon-h1", {"key_multiplier": 0.0}, "key_multiplier is 0"),
        ("falcon-h1", {"mamba_d_ssm": 128}, "cannot be multiplied by the configuration's factors"),
        ("granitehybrid-moe", {"mamba_n_groups": 3}, "which 3 rows do not share"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, write, name, changes, match):
    with pytest.raises(ModelFileError, match=match):
        open_checkpoint(folder_of(tmp_path, write, name, **changes))


def test_limits_of_time_that_are_none(tmp_path, write):
    """Versions of transformers write infinity in different ways."""
    changes = {"time_step_limit": [0.0, {"__float__": "Infinity"}]}
    assert open_checkpoint(folder_of(tmp_path, write, "mamba2", **changes)).metadata["mamba2.ssm.state_size"] == 32


def test_granite_4_without_states_is_a_granite(tmp_path, write):
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "granite"))
    folder = write_folder(tmp_path / "model", twin, write, "granite")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "layer_types": ["attention"] * 2,
        "num_local_experts": 0,
        "intermediate_size": 40,
        "shared_intermediate_size": 96,
        "position_embedding_type": "rope",
    }
    (folder / "config.json").write_text(json.dumps(config))
    found = open_checkpoint(folder)
    assert config_from_gguf(found.metadata, found.tensors).hidden_dims == (96, 96)
    assert found.metadata["general.architecture"] == "granite"
    (folder / "config.json").write_text(json.dumps(config | {"position_embedding_type": "nope"}))
    found = open_checkpoint(folder)
    assert [layer.rope_dim for layer in config_from_gguf(found.metadata, found.tensors).attention] == [0, 0]


def write_adapter(folder: Path, write, name: str, rows: int, columns: int) -> Path:
    folder.mkdir()
    halves = {"A": np.ones((2, columns), np.float32), "B": np.ones((rows, 2), np.float32)}
    tensors = {f"base_model.model.{name}.lora_{half}.weight": values for half, values in halves.items()}
    write.write_safetensors(folder / "adapter_model.safetensors", tensors)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    return folder


def test_an_adapter_would_have_to_be_multiplied_too(tmp_path, write):
    base = tiny_models.write_tiny(tmp_path / "base.gguf", "falcon-h1")
    adapter = write_adapter(tmp_path / "adapter", write, "model.layers.0.feed_forward.up_proj", 96, 64)
    with pytest.raises(UnsupportedModelError, match="changes a falcon-h1 model"):
        open_with_base(base, adapter)


@pytest.mark.parametrize(
    ("name", "changed"),
    [("granitehybrid", ("ffn_gate", "ffn_up")), ("granitehybrid-moe", ("ffn_gate_shexp", "ffn_up_shexp"))],
)
def test_an_adapter_of_a_granites_feed_forward_layer(tmp_path, write, name, changed):
    base = open_checkpoint(tiny_models.write_tiny(tmp_path / "base.gguf", name))
    rows = base.tensors[f"blk.0.{changed[0]}.weight"].shape[0]
    part = "model.layers.0.shared_mlp.input_linear"
    adapter = write_adapter(tmp_path / "adapter", write, part, 2 * rows, 64)
    found = open_with_base(tmp_path / "base.gguf", adapter)
    for tensor in (f"blk.0.{each}.weight" for each in changed):
        before, after = (read_floats(model.tensors[tensor], 0, rows) for model in (base, found))
        np.testing.assert_allclose(after, before + 2, rtol=1e-6)


def test_rows_that_are_multiplied_can_be_read_in_pieces(tmp_path, write):
    """Each piece by the factors of its own rows."""
    found = open_checkpoint(folder_of(tmp_path, write, "falcon-h1")).tensors["blk.1.ssm_in.weight"]
    whole = read_floats(found, 0, found.n_rows)
    twin = open_checkpoint(tmp_path / "twin.gguf").tensors["blk.1.ssm_in.weight"]
    np.testing.assert_array_equal(whole, read_floats(twin, 0, twin.n_rows))
    pieces = [read_rows(found, first, min(37, found.n_rows - first)) for first in range(0, found.n_rows, 37)]
    np.testing.assert_array_equal(np.concatenate(pieces), read_rows(found, 0, found.n_rows))
