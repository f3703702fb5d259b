"""What Llama 4 alone does: chunks longer than a range of the cache, and what its files do not say."""

from __future__ import annotations

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError
from engine.loading import load
from engine.protocol import Load
from tests.engine import tiny_models
from tests.engine.reference_llama4 import Llama4

CHUNK = 300


def config_of(tmp_path, **changes):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama4", **changes))
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_chunks_longer_than_one_range_of_the_cache(tmp_path):
    """All experts are used: of some, rounding would choose others now and then. A chunk ends among the last tokens."""
    keys = {"attention__sliding_window": CHUNK, "context_length": 1024, "expert_used_count": 8}
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama4", **keys)
    ids = np.random.default_rng(7).integers(3, 705, 3 * CHUNK + 20).tolist()
    model = load(Load(path=str(path), threads=2), lambda *_: None)
    at_once = np.array(model.transformer.evaluate_last(ids, 0, 40))
    expected = Llama4(path).logits(ids)[-40:]
    assert np.abs(at_once - expected).mean() < 3e-4 * expected.std()
    for step in (1, 5):
        for start in range(len(ids) - 40, len(ids), step):
            logits = model.evaluate(ids[start : start + step], start)
        np.testing.assert_array_equal(logits, at_once[-1])
    model.close()


def test_a_position_sees_nothing_of_the_chunk_before(tmp_path):
    """With chunks in both layers: whatever came before the second one, its logits are the same."""
    keys = {"layers": 2, "attention__sliding_window": 64}
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama4", **keys)
    first, other, second = np.random.default_rng(8).integers(3, 705, (3, 64)).tolist()
    model = load(Load(path=str(path)), lambda *_: None)
    found = [model.evaluate([*before, *second], 0).copy() for before in (first, other)]
    within = [model.evaluate(before, 0).copy() for before in (first, [other[0], *first[1:]])]
    model.close()
    np.testing.assert_array_equal(*found)
    assert np.abs(within[0] - within[1]).max() > 1e-3


def test_what_the_files_do_not_say(tmp_path):
    config = config_of(tmp_path)
    assert [layer.window for layer in config.attention] == [8192, 8192, 8192, 0, 8192]
    assert [layer.rope_dim for layer in config.attention] == [32, 32, 32, 0, 32]
    assert all(layer.chunked == (layer.window > 0) for layer in config.attention)
    assert (config.query_growth, config.query_growth_span) == (0.1, 8192)
    assert config.architecture.unit_qk_norms
    assert not config_of(tmp_path, expert_count=128).architecture.unit_qk_norms
    assert not any(layer.chunked for layer in config_of(tmp_path, attention__sliding_window=0).attention)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention__sliding_window", -1.5),
        ("attention__temperature_length", 0),
        ("attention__temperature_scale", float("nan")),
        ("interleave_moe_layer_step", 1 << 31),
        ("expert_used_count", 9),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(tmp_path, key, value):
    with pytest.raises(ModelFileError, match=key.replace("__", ".")):
        config_of(tmp_path, **{key: value})
