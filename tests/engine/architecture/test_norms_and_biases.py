"""Which norms and biases there are, and what is side by side, as the tensors and keys of a file say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.errors import UnsupportedModelError
from tests.engine import tiny_models


@pytest.mark.parametrize(("name", "n_queries"), [("olmo2", 32), ("stablelm-parallel", 8)])
def test_heads_normed_together_or_by_weights_of_their_own_fill_vectors(
    tmp_path: Path, name: str, n_queries: int
) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, head_count_kv=1, head_dim=8)
    checkpoint = open_checkpoint(path)
    message = f"norms {n_queries} queries and 8 keys; this engine norms multiples of 16"
    with pytest.raises(UnsupportedModelError, match=message):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)


@pytest.mark.parametrize(
    ("name", "parallel"),
    [("stablelm", False), ("stablelm-parallel", True), ("gptneox", True), ("gptneox-in-turn", False), ("phi2", True)],
)
def test_whether_attention_and_the_feed_forward_layer_are_side_by_side(
    tmp_path: Path, name: str, parallel: bool
) -> None:
    """StableLM's files may say so and yet have a norm between the two, which llama.cpp goes by."""
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert config.architecture.parallel is parallel


@pytest.mark.parametrize("bias", ["blk.1.attn_norm.bias", "output_norm.bias", "output.bias"])
@pytest.mark.parametrize("name", ["llama", "command-r"])
def test_biases_that_are_not_added_are_refused(tmp_path: Path, name: str, bias: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    tensors = {**checkpoint.tensors, bias: replace(checkpoint.tensors["output_norm.weight"], name=bias)}
    with pytest.raises(UnsupportedModelError, match=f"{re.escape(bias)} is not part of a {name} model"):
        config_from_gguf(checkpoint.metadata, tensors)
