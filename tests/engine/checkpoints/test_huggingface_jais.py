"""Folders of Jais, beside what test_huggingface_architectures.py has of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import write_folder
from tests.engine.checkpoints.quantized_folders import change_config, change_tensors, stored


@pytest.fixture
def jais(tmp_path: Path, write) -> Path:
    path = tiny_models.write_tiny(tmp_path / "model.gguf", "jais")
    return write_folder(tmp_path / "model", open_checkpoint(path), write, "jais")


def test_one_matrix_with_two_factors(jais: Path, decode) -> None:
    """Where the output is the embedding, each has a factor of its own. What says how slopes are is no weight."""

    def tied(tensors: dict[str, Any]) -> None:
        del tensors["lm_head.weight"]
        tensors["transformer.relative_pe.slopes"] = stored(np.ones((4, 1), np.float32), "F32")

    change_tensors(jais, tied)
    change_config(jais, tie_word_embeddings=None, mup_output_alpha=None, width_scale=0.125)
    found = open_checkpoint(jais).tensors
    embedding, output = (
        read_floats(found[name], 0, found[name].n_rows) for name in ("token_embd.weight", "output.weight")
    )
    np.testing.assert_array_equal(embedding, 128 * output)
    assert decode(jais)


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"position_embedding_type": "learned"}, UnsupportedModelError, "alibi is false, which is not run here"),
        ({"scale_qk_dot_by_d": False}, UnsupportedModelError, "mup_scale_qk_dot_by_d is false"),
        ({"activation_function": "gelu"}, UnsupportedModelError, "the activation is 'gelu'"),
        ({"mup_embeddings_scale": 0}, ModelFileError, "mup_embeddings_scale is 0"),
        ({"mup_width_scale": None}, ModelFileError, "mup_width_scale is missing"),
    ],
)
def test_settings_that_are_not_run(jais: Path, changes: dict[str, Any], kind: type[EngineError], match: str) -> None:
    change_config(jais, **changes)
    with pytest.raises(kind, match=match):
        open_checkpoint(jais)
