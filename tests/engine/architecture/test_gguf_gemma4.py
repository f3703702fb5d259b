"""Layers of Gemma 4 by a file's metadata, and what of it is refused."""

from __future__ import annotations

import re
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from engine.architecture.config import Attention
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.architecture.configs import config_of


def test_layers_of_gemma_4(tmp_path: Path) -> None:
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e"))
    local = Attention(n_heads=4, n_kv_heads=1, head_dim=32, rope_dim=32, window=16)
    wide = Attention(n_heads=4, n_kv_heads=1, head_dim=64, rope_dim=64)
    shared = replace(local, shared_from=2), replace(local, shared_from=2), replace(wide, shared_from=3)
    assert config.attention == (local, wide, local, wide, *shared)
    assert (config.query_scale, config.per_layer_dim, config.local_rope_theta) == (1.0, 32, 10_000.0)
    config = config_of(tiny_models.write_tiny(tmp_path / "dense.gguf", "gemma4"))
    assert [layer.keys_as_values for layer in config.attention] == [False, True] * 2
    assert [layer.qkv_dim for layer in config.attention] == [256, 320] * 2


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"attention.shared_kv_layers": 7}, r"shared_kv_layers is 7, it should be between 0 and 6"),
        ({"attention.shared_kv_layers": 6}, r"no layer has keys for layer 1"),
        ({"attention.shared_kv_layers": -1}, r"shared_kv_layers should be|shared_kv_layers is"),
        ({"attention.head_count_kv": [1, 1, 1, 1, 2, 1, 1]}, r"shared_kv_layers is 3; no layer has keys for layer 4"),
        ({"attention.key_length_swa": 0}, r"key_length_swa is 0"),
        ({"attention.key_length_swa": 48}, r"keys of 48 and values of 32"),
        ({"rope.dimension_count_swa": 34}, r"dimension_count_swa is 34, it should be between 2 and 32"),
        ({"rope.dimension_count_swa": 31}, r"dimension_count_swa is 31 in a head of 32; both should be even"),
        ({"rope.freq_base_swa": 0.0}, r"freq_base_swa is 0"),
        ({"embedding_length_per_layer_input": 2**31}, r"per_layer_input is 2147483648"),
        ({"embedding_length_per_layer_input": 40}, r"per_layer_input is 40; this engine wants a multiple of 32"),
        ({"embedding_length_per_layer_input": 64}, r"per_layer_token_embd\.weight has the shape \(705, 224\)"),
        ({"embedding_length_per_layer_input": 0}, r"per_layer_\w+\.weight is not part of a gemma4"),
        ({"attention.sliding_window_pattern": [True] * 6}, r"sliding_window_pattern has 6 elements"),
    ],
)
def test_numbers_of_gemma_4_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e")
    checkpoint = open_checkpoint(path)
    for key, value in keys.items():
        checkpoint.metadata[f"gemma4.{key}"] = array("i", value) if isinstance(value, list) else value
    with pytest.raises(EngineError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"feed_forward_length": [96, 96, 96]}, r"feed_forward_length has 3 elements, it should have 4"),
        ({"feed_forward_length": [96, 96, 96, -1]}, r"feed_forward_length is -1"),
        ({"feed_forward_length": [96, 96, 96, 64]}, r"blk\.3\.ffn_gate\.weight has the shape \(96, 64\)"),
        ({"expert_feed_forward_length": 32}, r"ffn_gate_up_exps\.weight has the shape \(8, 96, 64\)"),
        ({"expert_count": 2**40}, r"expert_count is 1099511627776"),
        ({"expert_used_count": 9}, r"expert_used_count is 9"),
        ({"expert_count": 0}, r"\w+ is not part of a gemma4 model"),
    ],
)
def test_numbers_of_gemma_4s_experts_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-moe"))
    for key, value in keys.items():
        checkpoint.metadata[f"gemma4.{key}"] = array("i", value) if isinstance(value, list) else value
    with pytest.raises(EngineError, match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize("parts", ["q", "qk", "qkv"])
@pytest.mark.parametrize("name", ["gemma4", "gemma4-e"])
def test_biases_that_no_gemma_4_has_are_refused(tmp_path: Path, name: str, parts: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    tensors = dict(checkpoint.tensors)
    for matrix, tensor in checkpoint.tensors.items():
        if re.search(rf"attn_[{parts}]\.weight", matrix):
            bias = matrix.replace("weight", "bias")
            tensors[bias] = replace(tensor, name=bias, shape=tensor.shape[:1])
    with pytest.raises(UnsupportedModelError, match=r"blk\.0\.attn_q\.bias is not part of a gemma4 model"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_layers_share_keys_only_in_models_that_are_made_so(tmp_path: Path) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "olmo2", attention__shared_kv_layers=1)
    checkpoint = open_checkpoint(path)
    tensors = {
        name: it for name, it in checkpoint.tensors.items() if not re.match(r"blk\.1\.attn_(k|v|k_norm)\.", name)
    }
    with pytest.raises(ModelFileError, match=r"blk\.1\.attn_k\.weight is missing"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_keys_that_a_layer_of_gemma_4_does_not_use_are_left(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "gemma4-e"))
    tensors = dict(checkpoint.tensors)
    for part in ("attn_k", "attn_v", "attn_k_norm"):
        name = f"blk.6.{part}.weight"
        tensors[name] = replace(tensors[f"blk.3.{part}.weight"], name=name)
    config_from_gguf(checkpoint.metadata, tensors)
    tensors["blk.6.attn_k.weight"] = replace(tensors["blk.2.attn_k.weight"], name="blk.6.attn_k.weight")
    with pytest.raises(ModelFileError, match=r"blk\.6\.attn_k\.weight has the shape \(32, 64\)"):
        config_from_gguf(checkpoint.metadata, tensors)
