"""Folders of models that see with some language model or other: that is what is read of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.safetensors import read_safetensors
from engine.errors import UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folders import values_of, write_folder

IN_TEXT = {"tie_word_embeddings": False}


@pytest.fixture
def see(tmp_path: Path, write):
    """A folder whose language model is one of MODELS, with other tensors beside it; and that as a GGUF.

    prefix: before the language model's names, in place of `model.`; head: before its output's.
    """

    def make(name: str, prefix: str, head: str, others: list[str], part: str = "text_config", **config):
        twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", name))
        folder = write_folder(tmp_path / "model", twin, write, name)
        weights = folder / "model.safetensors"
        tensors = {
            f"{head}{key}" if key.startswith("lm_head") else prefix + key.removeprefix("model."): read_floats(
                tensor, 0, tensor.n_rows
            ).reshape(tensor.shape)
            for key, tensor in read_safetensors(weights).items()
        }
        write.write_safetensors(weights, tensors | {other: np.ones((2, 2), np.float32) for other in others})
        text = json.loads((folder / "config.json").read_text())
        architectures = text.pop("architectures")
        text |= {"architectures": architectures} if part == "llm_config" else {}
        text |= {"model_type": config.pop("text_type")} if "text_type" in config else {}
        outer = {"vision_config": {"hidden_size": 7, "model_type": "siglip"}, **IN_TEXT, **config, part: text}
        (folder / "config.json").write_text(json.dumps(outer))
        return folder, twin

    return make


def check(folder: Path, twin) -> None:
    found = open_checkpoint(folder)
    assert found.metadata["general.architecture"] == twin.metadata["general.architecture"]
    assert found.tensors.keys() == twin.tensors.keys()
    for key, tensor in found.tensors.items():
        np.testing.assert_allclose(
            read_floats(tensor, 0, tensor.n_rows), values_of(twin, key).reshape(tensor.n_rows, -1)
        )


def test_smolvlm(see):
    others = ["model.vision_model.encoder.layers.0.mlp.fc1.weight", "model.connector.modality_projection.proj.weight"]
    config = {"architectures": ["SmolVLMForConditionalGeneration"], "model_type": "smolvlm", "text_type": "llama"}
    check(*see("llama", "model.text_model.", "", others, **config))


@pytest.mark.parametrize(
    ("prefix", "head", "beside"),
    [("language_model.model.", "language_model.", ""), ("model.language_model.", "", "model.")],
)
def test_llava_with_qwen(see, prefix, head, beside):
    """As it was saved first, and since version 4.52 of transformers."""
    names = ("vision_tower.vision_model.embeddings.class_embedding", "multi_modal_projector.linear_1.weight")
    others = [beside + name for name in (*names, "image_newline")]
    config = {"architectures": ["LlavaOnevisionForConditionalGeneration"], "text_type": "qwen2"}
    check(*see("qwen2", prefix, head, others, **config))


def test_internvl(see):
    """Its own configuration has the class of the language model inside."""
    others = ["vision_model.embeddings.class_embedding", "mlp1.1.weight"]
    config = {"architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "text_type": "qwen2"}
    check(*see("qwen2", "language_model.model.", "language_model.", others, part="llm_config", **config))


def test_sizes_that_llava_does_not_say():
    text = {"model_type": "llama", "rms_norm_eps": 1e-5, "vocab_size": 32_064}
    outer = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": text}
    metadata = HuggingFaceConfig(outer, Path("config.json")).metadata()
    sizes = (
        "embedding_length",
        "feed_forward_length",
        "block_count",
        "attention.head_count",
        "attention.head_count_kv",
    )
    assert [metadata[f"llama.{size}"] for size in sizes] == [4096, 11_008, 32, 32, 32]


def test_a_language_model_that_is_not_known(see):
    config = {"architectures": ["LlavaForConditionalGeneration"], "text_type": "opt"}
    folder, _ = see("llama", "language_model.model.", "language_model.", [], **config)
    with pytest.raises(
        UnsupportedModelError, match="the architecture 'LlavaForConditionalGeneration' is not known here"
    ):
        open_checkpoint(folder)
