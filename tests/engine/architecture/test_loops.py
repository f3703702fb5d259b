"""Models that go through their layers several times."""

from __future__ import annotations

from array import array

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.limits import MAX_LAYERS
from engine.errors import ModelFileError
from engine.model_info import inspect_model
from tests.engine import tiny_models


@pytest.fixture
def checkpoint(tmp_path):
    return open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "nanbeige"))


def test_each_time_has_keys_and_values_of_its_own(checkpoint):
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert (config.n_layers, config.n_own_layers) == (6, 2)
    assert [config.ends_loop(i) for i in range(6)] == [False, True, False, True, False, False]
    assert inspect_model(checkpoint.path).kv_bytes_per_token == 6 * 2 * 2 * (16 + 16)


@pytest.mark.parametrize("loops", [0, -1, MAX_LAYERS // 2 + 1, 2.5, array("i", [2])])
def test_a_number_of_times_that_cannot_be_is_refused(checkpoint, loops):
    with pytest.raises(ModelFileError, match="num_loops"):
        config_from_gguf(dict(checkpoint.metadata) | {"nanbeige.num_loops": loops}, checkpoint.tensors)


def test_without_a_number_it_is_once(checkpoint):
    metadata = {key: value for key, value in checkpoint.metadata.items() if key != "nanbeige.num_loops"}
    config = config_from_gguf(metadata, checkpoint.tensors)
    assert config.n_layers == 2
    assert not any(map(config.ends_loop, range(2)))
