"""Folders of Deci, whose layers have different heads and widths, or do without some parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folder_configs import MODELS
from tests.engine.checkpoints.folders import write_folder
from tests.engine.checkpoints.quantized_folders import change_config, change_tensors

HEADS = {"attention__head_count": [4, 0, 4, 4, 0, 4], "head_count_kv": [2, 0, 0, 1, 0, 4]}
WIDTHS = [256, 512, 256, 256, 0, 256]
TIMES = {256: 5.25, 512: 11.0}
"""Times the width of 64 that become these, up to the next whole 256."""


def block(heads: int, kv_heads: int, width: int) -> dict[str, Any]:
    attention = {"n_heads_in_group": heads // kv_heads if kv_heads else None, "no_op": not heads, "window_length": None}
    ffn = {"ffn_mult": TIMES.get(width), "no_op": not width, "replace_with_linear": False}
    return {"attention": attention | {"replace_with_linear": bool(heads and not kv_heads)}, "ffn": ffn}


BLOCKS = [block(*each) for each in zip(*HEADS.values(), WIDTHS, strict=True)]
NEMOTRON = {"block_configs": BLOCKS, "num_key_value_heads": None, "intermediate_size": None}


@pytest.fixture
def nemotron(tmp_path: Path, write, monkeypatch) -> Path:
    """A folder, and beside it the same as GGUF."""
    monkeypatch.setitem(MODELS, "deci", ("DeciLMForCausalLM", NEMOTRON))
    path = tiny_models.write_tiny(tmp_path / "model.gguf", "deci", feed_forward_length=WIDTHS, divisors=[], **HEADS)
    folder = write_folder(tmp_path / "model", open_checkpoint(path), write, "deci")

    def linear(tensors: dict[str, Any]) -> None:
        before, name = "model.layers.2.self_attn.o_proj.weight", "model.layers.2.self_attn.linear_attn.weight"
        tensors[name] = tensors.pop(before)

    change_tensors(folder, linear)
    return folder


def test_layers_of_different_parts(nemotron: Path, decode) -> None:
    twin, found = open_checkpoint(nemotron.with_suffix(".gguf")), open_checkpoint(nemotron)
    expected, config = (config_from_gguf(model.metadata, model.tensors) for model in (twin, found))
    assert config.attention == expected.attention
    assert found.metadata["deci.feed_forward_length"].tolist() == WIDTHS
    assert found.tensors.keys() == twin.tensors.keys()
    for key, tensor in twin.tensors.items():
        values = read_floats(found.tensors[key], 0, tensor.n_rows)
        np.testing.assert_allclose(values, read_floats(tensor, 0, tensor.n_rows), atol=2e-7, err_msg=key)
    assert decode(nemotron) == decode(nemotron.with_suffix(".gguf"))


def test_heads_of_keys_alone_differ(tmp_path: Path, write, decode, monkeypatch) -> None:
    """As in DeciLM 7B."""
    own = {"num_key_value_heads_per_layer": [2, 4, 1], "num_key_value_heads": None, "intermediate_size": 96}
    monkeypatch.setitem(MODELS, "deci", ("DeciLMForCausalLM", own))
    sizes = {"attention__head_count": [4, 4, 4], "head_count_kv": [2, 4, 1], "feed_forward_length": [96, 96, 96]}
    path = tiny_models.write_tiny(tmp_path / "model.gguf", "deci", layers=3, divisors=[], **sizes)
    folder = write_folder(tmp_path / "model", open_checkpoint(path), write, "deci")
    assert decode(folder) == decode(path)


@pytest.mark.parametrize(
    ("blocks", "kind", "match"),
    [
        (BLOCKS[:5], ModelFileError, "block_configs should have 6 elements"),
        ("none", ModelFileError, "block_configs should have 6 elements"),
        ([*BLOCKS[:5], {"ffn": {}}], ModelFileError, "layer 5 does not say what its attention is"),
        ([*BLOCKS[:5], {"attention": {}, "ffn": 3}], ModelFileError, "layer 5 does not say what its ffn is"),
        ([*BLOCKS[:5], {"attention": {"n_heads_in_group": 3}, "ffn": {}}], ModelFileError, "no whole groups of 3"),
        ([*BLOCKS[:5], {"attention": {"n_heads_in_group": 0}, "ffn": {}}], ModelFileError, "n_heads_in_group is 0"),
        ([*BLOCKS[:5], {"attention": {}, "ffn": {"ffn_mult": 1e9}}], ModelFileError, "ffn_mult is 1000000000.0"),
        (
            [*BLOCKS[:5], {"attention": {"n_heads_in_group": 1, "window_length": 512}, "ffn": {}}],
            UnsupportedModelError,
            "the attention of layer 5 has window_length, which is not run",
        ),
    ],
)
def test_settings_that_do_not_fit(nemotron: Path, blocks: Any, kind: type[EngineError], match: str) -> None:
    change_config(nemotron, block_configs=blocks)
    with pytest.raises(kind, match=match):
        open_checkpoint(nemotron)
