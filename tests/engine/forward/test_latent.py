"""Models whose cache keeps a latent vector: how much it takes, in 8 bits too, and of quantised weights."""

from __future__ import annotations

import numpy as np
import pytest

from engine import loading
from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.latents import keys_and_values
from engine.loading import load
from engine.protocol import Load
from tests.engine import tiny_models
from tests.engine.reference_latent import LatentModel

pytestmark = pytest.mark.slow

IDS = np.random.default_rng(9).integers(3, 705, 100).tolist()


def open_model(path, **options):
    return load(Load(path=str(path), **options), lambda *_: None)


@pytest.mark.parametrize("name", ["deepseek2-dense", "minicpm3", "plm"])
def test_eight_bits_change_logits_a_little(tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name)
    expected = LatentModel(path).logits(IDS)[60:]
    model = open_model(path, kv_type="q8_0")
    logits = np.array(model.transformer.evaluate_last(IDS, 0, 40))
    model.close()
    error = np.abs(logits - expected).mean() / expected.std()
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize(("kv_type", "in_bytes"), [("f16", 3 * 64 + 4 + 2 * 64 + 1), ("q8_0", 3 * 34 + 2 * 34)])
def test_a_position_takes_its_latent_vector_and_what_is_turned(tmp_path, kv_type, in_bytes):
    """In two layers, 64 + 16 numbers of the key in whole blocks, and 64 of the value; no more for four heads."""
    model = open_model(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deepseek2-in-one"), kv_type=kv_type)
    assert model.card.kv_bytes_per_token == 2 * in_bytes
    model.close()


def test_both_kinds_of_files_give_the_same_logits(tmp_path, monkeypatch):
    """The same weights, in one tensor and apart."""
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "plm")
    model = open_model(path)
    in_one = model.evaluate(IDS, 0).copy()
    model.close()
    opened = loading.open_checkpoint

    def apart(*args):
        checkpoint = opened(*args)
        tensors = dict(checkpoint.tensors)
        for name in [name for name in tensors if "attn_kv_b" in name]:
            made = keys_and_values(tensors.pop(name), 4, 32)
            tensors |= {tensor.name: tensor for tensor in made}
        return Checkpoint(checkpoint.path, checkpoint.format, checkpoint.metadata, tensors, checkpoint.files)

    monkeypatch.setattr(loading, "open_checkpoint", apart)
    model = open_model(path)
    assert not model.transformer.config.attention[0].latent.in_one
    np.testing.assert_array_equal(model.evaluate(IDS, 0), in_one)
    model.close()


@pytest.mark.parametrize("name", ["deepseek2-dense", "deepseek2-growing", "minicpm3", "plm"])
def test_quantised_weights(tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, types=("Q8_0", "Q5_1"))
    expected = LatentModel(path).logits(IDS)[-1]
    model = open_model(path, cache_dir=str(tmp_path))
    assert np.abs(model.evaluate(IDS, 0) - expected).mean() < 0.03 * expected.std()
    model.close()
