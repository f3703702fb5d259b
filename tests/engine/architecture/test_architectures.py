"""Every architecture against the NumPy oracle and against what llama.cpp says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.model_tensors import ROPE_DIVISORS
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from engine.loading import load
from engine.protocol import Load
from tests.engine import reference, tiny_models
from tests.engine.reference_deci import Deci
from tests.engine.reference_gemma3n import Gemma3n
from tests.engine.reference_gemma4 import Gemma4
from tests.engine.reference_kimi import KimiModel
from tests.engine.reference_latent import LatentModel
from tests.engine.reference_llama4 import Llama4
from tests.engine.reference_selective import Plamo2, SelectiveModel
from tests.engine.reference_state_space import StateSpaceModel
from tests.engine.tiny_latent import LATENT
from tests.engine.tiny_selective import SELECTIVE_SCANS
from tests.engine.tiny_state_space import STATE_SPACES

HERE = Path(__file__).parents[1]


GOLDEN = json.loads((HERE / "data" / "logprobs.json").read_text("utf-8"))

ORACLE_TOLERANCE = {
    "gemma2-27b": 2e-3,
    "gemma3n-e2b": 1e-3,
    "baichuan-13b": 1e-3,
    "deepseek2-lite": 1e-2,
    "deepseek2-lite-in-one": 1e-2,
}
"""Mean absolute difference relative to the spread: many layers multiply what one other rounding in the cache does, the
more so with experts, of which it may choose others."""

LLAMA_CPP_TOLERANCE = 0.02
"""llama.cpp rounds queries, attention's weights and GELU to half precision, this engine does not."""

WITHOUT_IT = {
    "gemma4": ("attn_v.weight", "layer_output_scale.weight", "ffn_down_exps.scale"),
    "falcon": ("ssm_norm.weight",),
    "gemma3n": ("attn_k.weight", "attn_v.weight", "attn_k_norm.weight"),
    "mpt": ("position_embd.weight",),
    "bitnet": (".scale",),
    "talkie": (".scale",),
}
"""Endings of what a layer of an architecture can do without."""

IDS = np.random.default_rng(6).integers(3, 705, 60).tolist()


def open_model(path, **options):
    return load(Load(path=str(path), **options), lambda *_: None)


ORACLES = {
    "gemma4": Gemma4,
    "gemma3n": Gemma3n,
    "llama4": Llama4,
    "deci": Deci,
    "plamo2": Plamo2,
}


def oracle(name, path):
    if tiny_models.architecture_of(name) == "kimi-linear":
        return KimiModel(path)
    if tiny_models.architecture_of(name) in LATENT:
        return LatentModel(path)
    if tiny_models.architecture_of(name) in STATE_SPACES:
        return StateSpaceModel(path)
    if tiny_models.architecture_of(name) in SELECTIVE_SCANS and not name.startswith("plamo2"):
        return SelectiveModel(path)
    return ORACLES.get(name.split("-")[0], reference.ReferenceModel)(path)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_logits_are_the_oracles(tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name)
    expected = oracle(name, path).logits(IDS)
    model = open_model(path)
    together = np.array(model.transformer.evaluate_last(IDS, 0, 40))
    alone = [model.evaluate(IDS[i : i + 1], i).copy() for i in range(len(IDS))]
    model.close()
    error = np.abs(alone - expected).mean(-1) / expected.std()
    assert error.mean() < ORACLE_TOLERANCE.get(name, 2e-4)
    np.testing.assert_array_equal(together, alone[20:])


@pytest.mark.parametrize("name", ["ernie4_5-moe", "qwen2moe", "qwen3next"])
def test_vectors_may_be_matrices_of_one_row(tmp_path, name):
    logits = []
    for leading_ones in (False, True):
        model = open_model(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, leading_ones=leading_ones))
        logits.append(model.evaluate(IDS, 0).copy())
        model.close()
    np.testing.assert_array_equal(*logits)


def test_matrices_may_have_one_row(tmp_path):
    """Of one expert the router has a row, and the stacks have one matrix."""
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen2moe", expert_count=1, expert_used_count=1)
    expected = reference.ReferenceModel(path).logits(IDS)[-1]
    model = open_model(path)
    found = model.evaluate(IDS, 0).copy()
    model.close()
    assert np.abs(found - expected).mean() / expected.std() < 2e-4


@pytest.mark.parametrize("name", GOLDEN["models"])
def test_log_probabilities_are_llama_cpps(tmp_path, name):
    model = open_model(tiny_models.write_tiny(tmp_path / "tiny.gguf", name), context=GOLDEN["context"])
    for length, leading in zip(GOLDEN["lengths"], GOLDEN["models"][name], strict=True):
        ours = log_softmax(model.evaluate(GOLDEN["ids"][:length], 0))
        ids, theirs = zip(*leading, strict=True)
        assert ours.argmax() == ids[0], f"after {length} tokens"
        assert np.abs(ours[list(ids)] - theirs).mean() < LLAMA_CPP_TOLERANCE, f"after {length} tokens"
    model.close()


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gemma3n", "gemma4-e", "mistral", "gpt-oss"])
def test_windows_longer_than_one_range_of_the_cache(tmp_path, name):
    keys = {"attention__sliding_window": 300, "context_length": 1024}
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **keys)
    ids = np.random.default_rng(7).integers(3, 705, 900).tolist()
    model = open_model(path, threads=2)
    at_once = np.array(model.transformer.evaluate_last(ids, 0, 40))
    expected = oracle(name, path).logits(ids)[-40:]
    assert np.abs(at_once - expected).mean() < 3e-4 * expected.std()
    for step in (1, 5):
        for start in range(860, 900, step):
            logits = model.evaluate(ids[start : start + step], start)
        np.testing.assert_array_equal(logits, at_once[-1])
    model.close()


@pytest.mark.parametrize("name", ["mixtral", "phi3", "gemma2", "gemma3n", "gemma4-e"])
def test_quantised_weights(tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, types=("Q8_0", "Q4_0"))
    expected = oracle(name, path).logits(IDS)[-1]
    model = open_model(path, cache_dir=str(tmp_path))
    assert np.abs(model.evaluate(IDS, 0) - expected).mean() < 0.03 * expected.std()
    model.close()


def test_experts_in_mxfp4(tmp_path):
    """All experts are used: of some, rounding would choose others now and then."""
    types = {"types": ("Q8_0", "MXFP4"), "expert_used_count": 8}
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "gpt-oss", **types)
    expected = reference.ReferenceModel(path).logits(IDS)[-40:]
    model = open_model(path, cache_dir=str(tmp_path))
    error = np.abs(model.transformer.evaluate_last(IDS, 0, 40) - expected).mean()
    assert error < 0.06 * expected.std()
    model.close()


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_a_missing_or_odd_tensor_is_named(tmp_path, name):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert config.architecture.name == tiny_models.architecture_of(name)
    optional = {"output.weight", *ROPE_DIVISORS}
    for tensor in checkpoint.tensors.values():
        if tensor.name.startswith(f"blk.{config.n_layers}."):
            continue  # of a layer that guesses
        endings = ("ssm_conv1d.bias", *WITHOUT_IT.get(name.split("-")[0], ()))
        without_it = tensor.name in optional or tensor.name.endswith(endings)
        if not without_it and "blk.1." not in tensor.name:
            without = {key: value for key, value in checkpoint.tensors.items() if key != tensor.name}
            with pytest.raises(ModelFileError, match=re.escape(f"{tensor.name} is missing")):
                config_from_gguf(checkpoint.metadata, without)
        odd = checkpoint.tensors | {tensor.name: replace(tensor, shape=(*tensor.shape[:-1], 7))}
        with pytest.raises(ModelFileError, match=re.escape(f"{tensor.name} has the shape")):
            config_from_gguf(checkpoint.metadata, odd)


def test_experts_that_do_not_fill_panels_are_refused(tmp_path):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen3moe", expert_feed_forward_length=40)
    with pytest.raises(UnsupportedModelError, match="experts of 40 rows"):
        open_model(path)


def test_windows_of_each_layer(tmp_path):
    def windows(name, **changes):
        checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **changes))
        config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
        return tuple(layer.window for layer in config.attention)

    assert windows("gemma2") == (16, 0, 16, 0)
    assert windows("gemma2", attention__sliding_window=None) == (4096, 0, 4096, 0)
    assert windows("gemma3") == (16, 16, 16, 16, 16, 0, 16)
    assert windows("gemma3", attention__sliding_window=None) == (0,) * 7
    assert windows("gemma3", layers=3, attention__sliding_window_pattern=[False, True, True]) == (0, 16, 16)
    assert windows("gpt-oss") == (16, 0, 16, 0)
    assert windows("phi3", attention__sliding_window=2047) == (2047, 2047)
