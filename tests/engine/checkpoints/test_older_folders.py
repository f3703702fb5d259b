"""What is peculiar to folders of GPT-2, MPT, Baichuan and other models of before 2024."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import Checkpoint, open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.names import is_no_weight
from engine.errors import UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import values_of, write_folder


def folder_of(tmp_path: Path, write, name: str, **changes) -> tuple[Path, Checkpoint]:
    """The folder with these changes of its config.json, and the GGUF that it is the twin of."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", name))
    folder = write_folder(tmp_path / "model", twin, write, name)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder, twin


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true, which is not"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is false"),
        ("gpt2", {"activation_function": "relu"}, "the activation is 'relu'"),
        ("mpt", {"attn_config": {"alibi": True, "qk_ln": True}}, "qk_ln is true"),
    ],
)
def test_what_is_not_run_is_said(tmp_path, write, name, changes, match):
    folder, _ = folder_of(tmp_path, write, name, **changes)
    with pytest.raises(UnsupportedModelError, match=match):
        open_checkpoint(folder)


def test_what_gpt_2_s_configuration_may_leave_out(tmp_path, write):
    """Four times as wide, as its first configurations have it; null counts as left out."""
    folder, _ = folder_of(tmp_path, write, "gpt2", n_inner=None, n_positions=None)
    metadata = open_checkpoint(folder).metadata
    assert metadata["gpt2.feed_forward_length"] == 4 * 64
    assert metadata["gpt2.context_length"] == 1024
    assert metadata["gpt2.attention.layer_norm_epsilon"] == 1e-5


@pytest.mark.parametrize("name", ["h.0.attn.bias", "transformer.h.11.attn.masked_bias"])
def test_masks_are_no_weights(name):
    assert is_no_weight(name)


@pytest.mark.parametrize("alibi", [True, False])
def test_mpt_without_a_word_of_attention(tmp_path, write, alibi):
    folder, _ = folder_of(tmp_path, write, "mpt", attn_config={"alibi": alibi})
    checkpoint = open_checkpoint(folder)
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    assert checkpoint.metadata.get("mpt.attention.max_alibi_bias") == (8.0 if alibi else None)
    assert "mpt.attention.clamp_kqv" not in checkpoint.metadata
    assert config.tied


def test_baichuan_2_has_an_output_whose_rows_are_as_long_as_1(tmp_path, write):
    folder, twin = folder_of(tmp_path, write, "baichuan", z_loss_weight=0)
    expected = values_of(twin, "output.weight").astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    output = open_checkpoint(folder).tensors["output.weight"]
    np.testing.assert_allclose(read_floats(output, 5, 600), expected[5:605], atol=2e-4)
    np.testing.assert_array_equal(read_floats(output, 5, 600)[100:], read_floats(output, 105, 500))


def test_a_share_that_is_turned_by_its_first_name(tmp_path, write):
    folder, _ = folder_of(tmp_path, write, "stablelm", architectures=["StableLMEpochForCausalLM"], rope_pct=0.5)
    assert open_checkpoint(folder).metadata["stablelm.rope.dimension_count"] == 8


@pytest.mark.parametrize("name", ["InternLMForCausalLM", "AquilaForCausalLM"])
def test_llamas_by_other_names(tmp_path, write, name):
    folder, _ = folder_of(tmp_path, write, "llama", architectures=[name])
    assert open_checkpoint(folder).metadata["general.architecture"] == "llama"
