"""How layers tell positions apart and how far back they look, by a file's metadata; and what of it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError
from tests.engine import tiny_models
from tests.engine.architecture.configs import config_of


def test_stretched_positions(tmp_path: Path, write_model) -> None:
    linear = config_of(write_model(tmp_path / "linear.gguf", set_keys={"llama.rope.scale_linear": 4.0}))
    assert (linear.rope_scaling.type, linear.rope_scaling.factor) == ("linear", 4.0)
    keys = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 8.0,
        "llama.rope.scaling.original_context_length": 64,
    }
    yarn = config_of(write_model(tmp_path / "yarn.gguf", set_keys=keys)).rope_scaling
    assert (yarn.type, yarn.factor, yarn.original_max_seq_len) == ("yarn", 8.0, 64)
    alone = config_of(write_model(tmp_path / "alone.gguf", set_keys={"llama.rope.scaling.factor": 4.0}))
    assert (alone.rope_scaling.type, alone.rope_scaling.factor) == ("linear", 4.0)


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"])
@pytest.mark.parametrize("factor", [5e-324, 1e-20, 9e-4])
def test_positions_are_not_stretched_beyond_all_numbers(tmp_path: Path, write_model, key: str, factor: float) -> None:
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    checkpoint.metadata[f"llama.{key}"] = factor
    with pytest.raises(ModelFileError, match=rf"{key} is {factor}, it should be 0 or between 0.001 and 1e\+06"):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [(2, (64, 0)), (0, (64, 64)), (1, (0, 0)), ([0, 1], (0, 64)), ([True, False], (64, 0))],
)
def test_which_layers_have_a_window(tmp_path: Path, pattern: object, windows: tuple[int, ...]) -> None:
    keys = {"attention__sliding_window": 64, "attention__sliding_window_pattern": pattern}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma2", layers=2, **keys))
    assert tuple(layer.window for layer in config.attention) == windows


def test_a_window_on_every_layer(tmp_path: Path, write_model) -> None:
    config = config_of(write_model(tmp_path / "mistral.gguf", set_keys={"llama.attention.sliding_window": 64}))
    assert [layer.window for layer in config.attention] == [64, 64]


def test_layers_that_turn_where_others_have_a_window(tmp_path: Path) -> None:
    def turned(name: str, **changes: object) -> list[bool]:
        config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, layers=4, **changes))
        return [layer.rope_dim > 0 for layer in config.attention]

    assert turned("cohere2") == turned("exaone4-windows") == [True, True, True, False]
    assert turned("exaone4") == [True] * 4


@pytest.mark.parametrize(("name", "turned"), [("granite", False), ("granitemoe", True), ("minicpm", True)])
def test_fine_tuned_for_long_contexts_or_not_turns_granite_alone_off(tmp_path: Path, name: str, turned: bool) -> None:
    """llama.cpp writes the key into every file that it saves, and reads it as a switch in one architecture."""
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **{"rope.scaling.finetuned": False})
    assert [layer.rope_dim > 0 for layer in config_of(path).attention] == [turned, turned]
