"""Layers of Deci that do without a part, by their metadata."""

from __future__ import annotations

from array import array

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError
from tests.engine import tiny_models


def config_of(tmp_path, **changes):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deci", **changes))
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_what_each_layer_has(tmp_path):
    config = config_of(tmp_path)
    layers = range(config.n_layers)
    assert [config.attention[i].n_kv_heads for i in layers] == [2, 0, 0, 1, 0, 1]
    assert [config.has_one_matrix(i) for i in layers] == [False, False, True, False, False, False]
    assert [config.feeds_forward(i) for i in layers] == [True, True, True, True, False, True]
    assert config.recurrent_layers == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention.head_count_kv": [0] * 6}, "none of its layers attends"),
        ({"attention.head_count_kv": [2, 1, 0, 1, 0, 1]}, "0 heads cannot share 1 key-value heads"),
        (
            {"attention.head_count": [4, 0, 4, 3, 0, 4], "attention.head_count_kv": [2, 0, 0, 2, 0, 1]},
            "3 heads cannot share 2",
        ),
        ({"attention.head_count": [4, 0, 4, 2, -1, 4]}, "head_count is -1"),
        ({"feed_forward_length": [96, 160, 96, 32, -32, 96]}, "feed_forward_length is -32"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, changes, message):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deci"))
    metadata = dict(checkpoint.metadata) | {f"deci.{key}": array("i", values) for key, values in changes.items()}
    with pytest.raises(ModelFileError, match=message):
        config_from_gguf(metadata, checkpoint.tensors)
