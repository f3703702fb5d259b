"""The forward pass against the NumPy oracle, and one result however it is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize

from engine.errors import ContextFullError
from engine.loading import load
from engine.protocol import Load
from tests.engine.reference import ReferenceModel

TOLERANCES = {
    "F32": 5e-4,
    "F16": 5e-4,
    "Q8_0": 0.02,
    "Q4_0": 0.03,
    "Q4_1": 0.03,
    "MXFP4": 0.03,
    "TQ1_0": 0.03,
    "TQ2_0": 0.03,
}
"""Mean absolute difference of logits, relative to their spread: what 8-bit activations cost, and with floats the
half-precision cache."""


def open_model(path, **options):
    return load(Load(path=str(path), **options), lambda *_: None)


def quantized(source: Path, target: Path, name: str) -> Path:
    """The same tiny model with its matrices in another type."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith(("llama.", "tokenizer.", "general.name")):
            kind = field.types[0]
            value = field.contents()
            writer.add_array(key, value) if isinstance(value, list) else writer.add_key_value(key, value, kind)
    for tensor in reader.tensors:
        data = tensor.data
        if data.ndim > 1:
            kind = GGMLQuantizationType[name]
            writer.add_tensor(tensor.name, quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.fixture
def tiny(write_model, tmp_path):
    """dim 96 and head_dim 24: neither fills whole blocks or vectors of the cache."""
    return write_model(tmp_path / "tiny.gguf", dim=96, n_heads=4, n_kv_heads=2, hidden_dim=160)


@pytest.fixture
def ternary(write_model, tmp_path):
    """Whole blocks of 256 weights, which are -1, 0 or 1."""
    return write_model(tmp_path / "wide.gguf", dim=256, n_heads=4, n_kv_heads=2, hidden_dim=512)


IDS = [1, 5, 300, 17, 17, 704, 42, 9, 250, 3, 77]


@pytest.mark.parametrize("name", TOLERANCES)
def test_logits_are_the_oracles(tiny, ternary, tmp_path, name):
    path = quantized(ternary if name.startswith("TQ") else tiny, tmp_path / "model.gguf", name)
    model = open_model(path)
    expected = ReferenceModel(path).logits(IDS)
    for n in range(1, len(IDS) + 1):
        logits = model.evaluate(IDS[:n], 0)
        error = np.abs(logits - expected[n - 1]).mean() / expected[n - 1].std()
        assert error < TOLERANCES[name], f"after {n} tokens"
    model.close()


def test_untied_output_and_query_groups(write_model, tmp_path):
    rng = np.random.default_rng(3)
    output = rng.standard_normal((705, 32), np.float32)
    path = write_model(tmp_path / "m.gguf", n_heads=4, n_kv_heads=1, set_tensors={"output.weight": output})
    model = open_model(path)
    expected = ReferenceModel(path).logits(IDS)[-1]
    np.testing.assert_allclose(model.evaluate(IDS, 0), expected, atol=2e-3 * expected.std())
    model.close()


@pytest.mark.parametrize("name", ["Q4_1", "TQ1_0", "TQ2_0"])
def test_one_result_at_any_batch_size_and_thread_count(tiny, ternary, tmp_path, name):
    path = quantized(ternary if name.startswith("TQ") else tiny, tmp_path / "q.gguf", name)
    ids = np.random.default_rng(4).integers(0, 705, 120).tolist()
    results = []
    for threads in (1, 2, 3):
        model = open_model(path, threads=threads)
        results.append(model.evaluate(ids, 0).copy())
        for step in (1, 7, 50):
            for start in range(0, len(ids), step):
                logits = model.evaluate(ids[start : start + step], start)
            results.append(logits.copy())
        model.close()
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_going_back_forgets_what_came_after(tiny):
    model = open_model(tiny)
    first = model.evaluate(IDS, 0).copy()
    model.evaluate([9, 9, 9], 4)
    assert model.cached_ids == [*IDS[:4], 9, 9, 9]
    np.testing.assert_array_equal(model.evaluate(IDS[4:], 4), first)
    model.close()


def test_a_text_that_is_expected_makes_the_cache_grow_once(write_model, tmp_path):
    model = open_model(write_model(tmp_path / "long.gguf", set_keys={"llama.context_length": 3000}))
    model.expect(1500)
    assert model.transformer.cache.capacity == 2048
    model.expect(2100)
    assert model.transformer.cache.capacity == 3072
    model.expect(10_000)
    assert model.transformer.cache.capacity == 3072
    model.close()


def test_cache_grows_and_keeps_what_it_holds(write_model, tmp_path):
    path = write_model(tmp_path / "long.gguf", set_keys={"llama.context_length": 3000})
    ids = np.random.default_rng(5).integers(0, 705, 2500).tolist()
    model = open_model(path)
    at_once = model.evaluate(ids, 0).copy()
    model.close()
    model = open_model(path)
    model.evaluate(ids[:1000], 0)
    assert model.transformer.cache.capacity == 1024
    np.testing.assert_array_equal(model.evaluate(ids[1000:], 1000), at_once)
    assert 2500 <= model.transformer.cache.capacity <= 3072
    model.close()


def test_several_outputs_are_those_of_each_position(tiny):
    model = open_model(tiny)
    rows = model.transformer.evaluate_last(IDS, 0, 4)
    for i in range(4):
        np.testing.assert_array_equal(rows[i], model.evaluate(IDS[: len(IDS) - 3 + i], 0))
    model.close()


def test_what_is_out_of_range_is_refused(tiny):
    model = open_model(tiny, context=16)
    for ids, pos in (([705], 0), ([-1], 0), ([1], 5), ([1], -1)):
        with pytest.raises(ValueError, match=r"token ids|does not follow"):
            model.evaluate(ids, pos)
    with pytest.raises(ContextFullError):
        model.evaluate([1] * 17, 0)
    model.close()


@pytest.mark.slow
def test_starter_model_agrees_with_the_oracle(starter_model):
    model = open_model(starter_model)
    ids = model.tokenizer.encode("The capital of France is", add_bos=False, parse_special=True)
    expected = ReferenceModel(starter_model).logits(ids)[-1]
    logits = model.evaluate(ids, 0)
    assert logits.argmax() == expected.argmax()
    assert np.abs(logits - expected).mean() < 0.08 * expected.std()
    model.close()
