"""What only folders of Gemma 3n have: fewer rows than tokens, and a matrix for each stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from engine.errors import EngineError, ModelFileError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder

TABLE = "model.embed_tokens_per_layer.weight"


@pytest.fixture
def folder(tmp_path: Path, write) -> Path:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "gemma3n"))
    return write_folder(tmp_path / "model", twin, write, "gemma3n")


def weights(folder: Path) -> dict[str, np.ndarray]:
    found = read_weights([folder / "model.safetensors"])
    return {name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape) for name, tensor in found.items()}


def test_tokens_of_pictures_have_no_row_for_each_layer(folder: Path, write) -> None:
    tensors = weights(folder)
    whole = tensors[TABLE].copy()
    tensors[TABLE] = whole[:700]
    write.write_safetensors(folder / "model.safetensors", tensors)
    table = open_checkpoint(folder).tensors["per_layer_token_embd.weight"]
    assert table.shape == whole.shape
    np.testing.assert_array_equal(read_floats(table, 690, 15), np.vstack([whole[690:700], np.zeros((5, 160))]))
    assert not read_floats(table, 702, 3).any()


def test_a_matrix_of_a_stream_is_missing(folder: Path, write) -> None:
    tensors = weights(folder)
    del tensors["model.language_model.altup_projections.1.weight"]
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"the matrices altup_proj\.weight are not whole"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("altup_correct_scale", False, r"altup_correct_scale is false, which is not run here"),
        ("activation_sparsity_pattern", [0.5], r"activation_sparsity_pattern has 1 elements, it should have 5"),
        ("activation_sparsity_pattern", 1.0, r"activation_sparsity_pattern is 1"),
        ("intermediate_size", [96, 96, 96, 96, 64], r"intermediate_size"),
    ],
)
def test_settings_that_do_not_fit(folder: Path, option: str, value: object, match: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"][option] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=match):
        open_checkpoint(folder)
