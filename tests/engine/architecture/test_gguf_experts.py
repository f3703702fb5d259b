"""Which layers have experts and how wide these are, by a file's metadata; and what of it is refused."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.architecture.configs import config_of


def test_which_layers_have_experts(tmp_path: Path) -> None:
    experts = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "ernie4_5-moe")).experts
    assert experts is not None
    assert experts.layers == (False, True, True, True)
    assert (experts.count, experts.used, experts.hidden_dim, experts.shared_dim) == (8, 2, 48, 96)
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "glm4moe"))
    assert config.n_layers == 3  # and one that guesses


@pytest.mark.parametrize("said", [{"expert_feed_forward_length": 0}, {}])
@pytest.mark.parametrize("name", ["mixtral", "olmoe", "granitemoe", "qwen2moe", "glm4moe", "gemma4-moe"])
def test_how_wide_experts_are_without_its_key(tmp_path: Path, name: str, said: dict[str, int]) -> None:
    """llama.cpp writes 0 into what it saves; older converters knew the width of all experts of a token together."""
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    full = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    arch = full.architecture.name
    checkpoint.metadata.pop(f"{arch}.expert_feed_forward_length", None)
    checkpoint.metadata.update({f"{arch}.{key}": value for key, value in said.items()})
    assert config_from_gguf(checkpoint.metadata, checkpoint.tensors) == full


def test_experts_without_a_width_and_without_tensors(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen2moe"))
    del checkpoint.metadata["qwen2moe.expert_feed_forward_length"]
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if "_exps." not in name}
    with pytest.raises(ModelFileError, match=r"ffn_gate_exps\.weight is missing"):
        config_from_gguf(checkpoint.metadata, tensors)


def test_shared_experts_that_all_are_missing_are_missed(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "qwen2moe"))
    left = {name: tensor for name, tensor in checkpoint.tensors.items() if "_shexp" not in name}
    with pytest.raises(ModelFileError, match=r"blk\.0\.ffn_gate_shexp\.weight is missing"):
        config_from_gguf(checkpoint.metadata, left)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"expert_group_count": 5}, "32 experts cannot be in 5 equal groups"),
        ({"expert_group_count": 32}, "32 experts cannot be in 32 equal groups of two or more"),
        ({"expert_group_count": 2**31}, "expert_group_count is 2147483648"),
        ({"expert_group_used_count": 9}, "expert_group_used_count is 9"),
        ({"expert_group_used_count": None}, "expert_group_used_count is missing"),
        ({"expert_group_used_count": 1}, "6 experts a token cannot be chosen from 1 groups of 4"),
        ({"expert_weights_scale": float("nan")}, "expert_weights_scale is nan"),
        ({"expert_weights_scale": -1.0}, "expert_weights_scale is -1"),
        ({"expert_feed_forward_length": array("i", [48])}, "expert_feed_forward_length has 1 elements"),
        ({"expert_weights_norm": 1}, "expert_weights_norm should be true or false"),
        ({"expert_gating_func": 7}, r"weighs experts in a way .*expert_gating_func is 7"),
        ({"expert_gating_func": "softly"}, "expert_gating_func should be an integer"),
        ({"expert_feed_forward_length": 2**31}, "expert_feed_forward_length is 2147483648"),
        ({"expert_shared_count": 2**31}, "expert_shared_count is 2147483648"),
        ({"expert_shared_feed_forward_length": -1.0}, "expert_shared_feed_forward_length should be an integer"),
        ({"leading_dense_block_count": 2}, r"blk\.1\.ffn_gate\.weight is missing"),
        ({"leading_dense_block_count": 2**31}, "leading_dense_block_count is 2147483648"),
        ({"interleave_moe_layer_step": 2}, r"blk\.2\.ffn_gate\.weight is missing"),
        ({"nextn_predict_layers": 3}, "nextn_predict_layers is 3, it should be between 0 and 2"),
        ({"expert_count": 0}, r"blk\.1\.ffn_gate\.weight is missing"),
    ],
)
def test_numbers_of_experts_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "good.gguf", "bailingmoe2"))
    for key, value in keys.items():
        checkpoint.metadata.pop(f"bailingmoe2.{key}", None)
        if value is not None:
            checkpoint.metadata[f"bailingmoe2.{key}"] = value
    with pytest.raises((ModelFileError, UnsupportedModelError), match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)
