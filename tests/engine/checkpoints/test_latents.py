"""Keys and values of a latent vector, taken apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.huggingface_options import check_options
from engine.checkpoints.latents import keys_and_values
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folder_tensors import values_of
from tests.engine.checkpoints.folders import write_folder

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "v_head_dim": 32,
}


@pytest.mark.parametrize(("kind", "of_keys"), [("F32", "F32"), ("BF16", "BF16"), ("Q8_0", "F16"), ("Q4_0", "F16")])
def test_keys_are_turned_round_and_values_stay(tmp_path: Path, kind: str, of_keys: str) -> None:
    """Whatever pieces are read; quantised values stay bit for bit."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deepseek2-in-one", types=(kind,)))
    name = "blk.1.attn_kv_b.weight"
    heads = values_of(twin, name).reshape(4, 64, 64)
    keys, values = keys_and_values(twin.tensors[name], 4, 32)
    assert (keys.shape, keys.type.name) == ((4, 64, 32), of_keys)
    assert (values.shape, values.type.name) == ((4, 32, 64), kind)
    assert (keys.name, values.name) == ("blk.1.attn_k_b.weight", "blk.1.attn_v_b.weight")
    for made, expected in ((keys, heads[:, :32].swapaxes(1, 2)), (values, heads[:, 32:])):
        pieces = [read_floats(made, first, min(37, made.n_rows - first)) for first in range(0, made.n_rows, 37)]
        tolerance = 1e-3 if made.type.name == "F16" else 0
        np.testing.assert_allclose(np.concatenate(pieces), expected.reshape(made.n_rows, -1), atol=tolerance)


def test_keys_and_values_that_do_not_fit(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "deepseek2"))
    folder = write_folder(tmp_path / "model", twin, write, "deepseek2")
    config = json.loads((folder / "config.json").read_text()) | {"qk_nope_head_dim": 64}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=r"attn_kv_b\.weight, of shape .256, 64., cannot be taken apart"):
        open_checkpoint(folder)


@pytest.mark.parametrize(("larger", "all_larger"), [(1.0, 0.707), (1.0, None), (None, None)])
def test_yarn_that_turns_otherwise_is_refused(larger: float | None, all_larger: float | None) -> None:
    rope = {"type": "yarn", "factor": 40, "mscale": larger, "mscale_all_dim": all_larger}
    values = {"architectures": ["DeepseekV3ForCausalLM"], **SIZES, "rope_scaling": rope}
    with pytest.raises(UnsupportedModelError, match="only equal numbers are run here"):
        HuggingFaceConfig(values, Path("config.json")).metadata()


def test_halves_that_turn_together_are_refused() -> None:
    values = {"architectures": ["DeepseekV3ForCausalLM"], **SIZES, "rope_interleave": False}
    with pytest.raises(UnsupportedModelError, match="rope_interleave is false, which is not run here"):
        check_options(HuggingFaceConfig(values, Path("config.json")))


def test_what_transformers_has_where_a_configuration_says_nothing() -> None:
    sizes = SIZES | {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
    for name, gating, normed in (("DeepseekV2ForCausalLM", 1, None), ("Glm4MoeLiteForCausalLM", 2, True)):
        keys = HuggingFaceConfig({"architectures": [name], **sizes}, Path("config.json")).metadata()
        assert keys["deepseek2.expert_gating_func"] == gating
        assert keys.get("deepseek2.expert_weights_norm") == normed
        assert keys["deepseek2.attention.key_length"] == 512 + 64
        assert keys["deepseek2.attention.key_length_mla"] == 128 + 64
        assert "deepseek2.attention.q_lora_rank" not in keys
