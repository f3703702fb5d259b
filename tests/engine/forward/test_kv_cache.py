"""The cache in half precision and in 8 bits: what it costs, what it keeps, and that answers hardly change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.architecture.config import Attention
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.forward.kv_cache import CachePart, KVCache
from engine.loading import load
from engine.protocol import Load
from tests.engine import reference, tiny_models

IDS = np.random.default_rng(9).integers(3, 705, 100).tolist()


def open_model(path, **options):
    return load(Load(path=str(path), **options), lambda *_: None)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gemma3", "phi3-long", "mistral"])
def test_eight_bits_change_logits_a_little(tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name)
    expected = reference.ReferenceModel(path).logits(IDS)[60:]
    model = open_model(path, kv_type="q8_0")
    logits = np.array(model.transformer.evaluate_last(IDS, 0, 40))
    model.close()
    error = np.abs(logits - expected).mean() / expected.std()
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize("dims", [{"dim": 96, "n_heads": 4}, {"dim": 160, "n_heads": 2}])
def test_heads_that_fill_no_whole_blocks(write_model, tmp_path, dims):
    path = write_model(tmp_path / "tiny.gguf", n_kv_heads=2, hidden_dim=64, **dims)
    expected = reference.ReferenceModel(path).logits(IDS)[-1]
    model = open_model(path, kv_type="q8_0")
    assert np.abs(model.evaluate(IDS, 0) - expected).mean() < 0.02 * expected.std()
    model.close()


def test_eight_bits_give_one_result_at_any_batch_size_and_thread_count(tmp_path):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma3", context_length=1024, attention__sliding_window=300)
    ids = np.random.default_rng(10).integers(3, 705, 700).tolist()
    results = []
    for threads, step in ((1, 700), (2, 50), (3, 7)):
        model = open_model(path, kv_type="q8_0", threads=threads)
        for start in range(0, len(ids), step):
            logits = model.evaluate(ids[start : start + step], start)
        results.append(logits.copy())
        model.close()
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_growing_keeps_what_is_held(tmp_path, kv_type):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama", context_length=3000)
    ids = np.random.default_rng(11).integers(3, 705, 1500).tolist()
    model = open_model(path, kv_type=kv_type)
    at_once = model.evaluate(ids, 0).copy()
    model.close()
    model = open_model(path, kv_type=kv_type)
    model.evaluate(ids[:1000], 0)
    assert model.transformer.cache.capacity == 1024
    np.testing.assert_array_equal(model.evaluate(ids[1000:], 1000), at_once)
    assert model.transformer.cache.capacity == 2048
    model.close()


@pytest.mark.parametrize("pos", [0, 40])
@pytest.mark.parametrize("name", ["llama", "qwen35", "granitehybrid"])
def test_what_is_lost_for_want_of_memory_is_not_gone_on_from(tmp_path, monkeypatch, name, pos):
    model = open_model(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, context_length=3000))
    expected = model.evaluate(IDS, 0).copy()
    model.evaluate(IDS[: pos or 60], 0)

    def none(self, n_ranges):
        if n_ranges:
            raise MemoryError
        return zeros(self, n_ranges)

    zeros = CachePart.zeros
    monkeypatch.setattr(CachePart, "zeros", none)
    with pytest.raises(MemoryError):
        model.evaluate(IDS * 15, pos)
    monkeypatch.undo()
    start = model.reusable(IDS[:-1])
    assert start == pos
    np.testing.assert_array_equal(model.evaluate(IDS[start:], start), expected)
    model.close()


def test_a_cache_that_holds_nothing_grows_without_a_copy(tmp_path):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama", context_length=3000)
    model = open_model(path)
    cache = model.transformer.cache
    (part,) = cache.parts.values()
    part.ranges[:] = 7
    cache.reserve(2000, keep=True)
    assert (part.ranges[:, :, :4] == 7).all() and not part.ranges[:, :, 4:].any()
    cache.reserve(3000)
    assert cache.capacity >= 3000 and not part.ranges.any()
    model.close()


@pytest.fixture
def uneven(write_model, tmp_path):
    """Layers with narrow heads, with wide ones, without attention, and two that share what others have."""
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    narrow, wide = Attention(4, 2, 32, 32, window=16), Attention(4, 1, 64, 16)
    without = Attention(4, 0, 32, 32)
    shared = replace(narrow, shared_from=3), replace(wide, shared_from=2)
    layers = (narrow, without, wide, narrow, *shared)
    return replace(config_from_gguf(checkpoint.metadata, checkpoint.tensors), attention=layers)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_each_layer_has_what_it_needs(uneven, kv_type):
    cache = KVCache(uneven, batch_size=4, max_seq_len=3000, kv_name=kv_type)
    narrow, wide = cache.parts.values()
    assert [part.ranges.shape[:3] for part in (narrow, wide)] == [(2, 2, 4), (1, 1, 4)]
    places = [cache.place(i) for i in (0, 2, 3, 4, 5)]
    assert places == [(narrow, 0), (wide, 0), (narrow, 1), (narrow, 1), (wide, 0)]
    per_token = KVCache.bytes_per_token(uneven, kv_type)
    assert narrow.ranges.nbytes + wide.ranges.nbytes == 1024 * per_token == cache.n_bytes - cache.partials.nbytes


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_what_uneven_layers_hold_is_kept_bit_for_bit(uneven, kv_type, tmp_path):
    rng = np.random.default_rng(12)
    cache = KVCache(uneven, batch_size=4, max_seq_len=3000, kv_name=kv_type)
    for part in cache.parts.values():
        part.ranges[:] = rng.integers(0, 256, part.ranges.shape, np.uint8)
    with (tmp_path / "kept").open("w+b") as file:
        total = cache.save(file, 700)
        assert file.tell() == cache.saved_bytes(700)
        file.flush()
        other = KVCache(uneven, batch_size=4, max_seq_len=3000, kv_name=kv_type)
        assert other.restore(file, 0, 700) == total
    for part, restored in zip(cache.parts.values(), other.parts.values(), strict=True):
        np.testing.assert_array_equal(restored.ranges[:, :, :2], part.ranges[:, :, :2])
        assert restored.ranges[:, :, 2].any() and not restored.ranges[:, :, 3:].any()
    before = [part.ranges.copy() for part in cache.parts.values()]
    cache.reserve(2000, keep=True)
    for part, old in zip(cache.parts.values(), before, strict=True):
        np.testing.assert_array_equal(part.ranges[:, :, :4], old)
    assert cache.capacity == 2048


def test_the_layout_tells_uneven_caches_apart(uneven):
    def layout(*layers):
        return KVCache(replace(uneven, attention=layers), 4, 256, "f16").layout

    first, _, wide, second, *_ = uneven.attention
    layouts = [layout(first, wide), layout(first, second, wide), layout(wide, first)]
    assert len(set(layouts)) == 3


@pytest.mark.parametrize(("kv_type", "per_head"), [("f16", 4 * 32 + 4 + 1), ("q8_0", 2 * 34)])
def test_what_a_position_takes(tmp_path, kv_type, per_head):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen3", context_length=2048)
    model = open_model(path, kv_type=kv_type)
    assert model.card.kv_bytes_per_token == 2 * 2 * per_head
    (part,) = model.transformer.cache.parts.values()
    assert part.ranges.nbytes == 1024 * 2 * 2 * per_head
    model.close()
    checkpoint = open_checkpoint(path)
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert KVCache.bytes_per_token(config, kv_type) == 2 * 2 * per_head
