"""Which layers turn queries and keys, and which have a window, where the file says it of each."""

from __future__ import annotations

from array import array

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError
from tests.engine import tiny_models

PATTERN = "granite_swa.attention.rope_pattern"


@pytest.fixture
def checkpoint(tmp_path):
    return open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "granite_swa-unturned"))


def test_layers_are_as_the_file_says(checkpoint):
    layers = config_from_gguf(checkpoint.metadata, checkpoint.tensors).attention
    assert [layer.window for layer in layers] == [0, 16, 16, 16, 0]
    assert [layer.rope_dim for layer in layers] == [16, 0, 16, 16, 0]


def test_without_lists_every_fourth_layer_has_no_window_and_all_turn(checkpoint):
    lists = (PATTERN, "granite_swa.attention.sliding_window_pattern")
    metadata = {key: value for key, value in checkpoint.metadata.items() if key not in lists}
    layers = config_from_gguf(metadata, checkpoint.tensors).attention
    assert [layer.window for layer in layers] == [0, 16, 16, 16, 0]
    assert all(layer.rope_dim == 16 for layer in layers)


@pytest.mark.parametrize("pattern", [(True,), array("b", [1] * 6), ()])
def test_a_list_for_other_layers_is_refused(checkpoint, pattern):
    with pytest.raises(ModelFileError, match="rope_pattern has"):
        config_from_gguf(dict(checkpoint.metadata) | {PATTERN: pattern}, checkpoint.tensors)
