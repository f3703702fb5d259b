"""Models with a latent vector by their files' metadata: what is sound, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.latent import Latent
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from engine.model_info import inspect_model
from tests.engine import tiny_models
from tests.engine.architecture.configs import config_of


def test_both_kinds_of_files_have_the_latent_vector_in_the_cache(tmp_path: Path) -> None:
    apart = config_of(tiny_models.write_tiny(tmp_path / "apart.gguf", "deepseek2"))
    in_one = config_of(tiny_models.write_tiny(tmp_path / "one.gguf", "deepseek2-in-one"))
    for config, is_one in ((apart, False), (in_one, True)):
        attention = config.attention[1]
        assert attention.latent == Latent(rank=64, plain_dim=32, value_dim=32, query_rank=32, in_one=is_one)
        sizes = attention.n_heads, attention.n_kv_heads, attention.head_dim, attention.value_dim, attention.rope_dim
        assert sizes == (4, 1, 64 + 16, 64, 16)
    assert inspect_model(tmp_path / "one.gguf").kv_bytes_per_token == 2 * 2 * (80 + 64)


def test_a_tensor_for_keys_and_values_counts_nothing_where_each_has_one(tmp_path: Path) -> None:
    """Some makers of files left it there for others."""
    apart, one = (
        open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", f"deepseek2{n}")) for n in ("", "-in-one")
    )
    both = {name: tensor for name, tensor in one.tensors.items() if "attn_kv_b" in name}
    config = config_from_gguf(apart.metadata, apart.tensors | both)
    assert config.attention[0].latent is not None
    assert not config.attention[0].latent.in_one


@pytest.mark.parametrize(
    ("multiplier", "queries", "turned"),
    [
        (0.1, (1 + 0.1 * math.log(40)) ** 2, 1.0),
        (0.0707, (1 + 0.0707 * math.log(40)) ** 2, 1.0),
        (None, (1 + 0.1 * math.log(40)) ** 2, 0.0),
    ],
)
def test_yarn_makes_queries_larger(tmp_path: Path, multiplier: float, queries: float, turned: float) -> None:
    changes = {"rope__scaling__yarn_log_multiplier": multiplier}
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deepseek2", **changes))
    assert config.query_scale == pytest.approx(48**-0.5 * queries)
    assert config.rope_scaling.log_multiplier == turned


def test_yarn_turns_larger_too_in_mistral_4(tmp_path: Path) -> None:
    """Its file has half of the logarithm for queries, which is taken from what is turned."""
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "mistral4"))
    assert config.query_scale == pytest.approx(48**-0.5 * (1 + 0.1 * math.log(40)) ** 2)
    assert config.rope_scaling.log_multiplier == pytest.approx(0.5)
    assert config.query_growth_span == 16


def test_other_stretching_leaves_queries_as_they_are(tmp_path: Path) -> None:
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", "deepseek2", rope__scaling__type="none"))
    assert config.query_scale == 48**-0.5


@pytest.mark.parametrize(("name", "gating"), [("deepseek2-glm", "sigmoid"), ("deepseek2-in-one", "softmax")])
def test_gating_that_the_file_does_not_say(tmp_path: Path, name: str, gating: str) -> None:
    config = config_of(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, expert_gating_func=None))
    assert config.experts is not None
    assert config.experts.gating == gating


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"attention.kv_lora_rank": None}, "kv_lora_rank is missing"),
        ({"attention.kv_lora_rank": 48}, "kv_lora_rank of 48; this engine wants multiples of 32"),
        ({"attention.q_lora_rank": 40}, "q_lora_rank of 40; this engine wants multiples of 32"),
        ({"attention.value_length_mla": 24}, "values of 24; this engine wants multiples of 32"),
        ({"attention.key_length_mla": 40}, "keys of 24; this engine wants multiples of 32"),
        ({"rope.dimension_count": 15}, "rope.dimension_count is 15, it should be even and less than 48"),
        ({"rope.dimension_count": 48}, "rope.dimension_count is 48, it should be even and less than 48"),
        ({"rope.dimension_count": 50}, "rope.dimension_count is 50"),
        ({"attention.head_count": 3}, "has the shape"),
        ({"attention.q_lora_rank": None}, "attn_q.weight is missing"),
        ({"attention.temperature_length": 0}, "temperature_length is 0"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path: Path, keys: dict[str, object], match: str) -> None:
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "good.gguf", "deepseek2"))
    for key, value in keys.items():
        checkpoint.metadata.pop(f"deepseek2.{key}", None)
        if value is not None:
            checkpoint.metadata[f"deepseek2.{key}"] = value
    with pytest.raises((ModelFileError, UnsupportedModelError), match=match):
        config_from_gguf(checkpoint.metadata, checkpoint.tensors)
