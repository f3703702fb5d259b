"""Names of models and of what their weights are stored as."""

from __future__ import annotations

import pytest

from engine.quantization import name_without_quantization


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct"),
        ("llama-2-7b.Q4_K_M", "llama-2-7b"),
        ("qwen2-q8_0", "qwen2"),
        ("model-BF16", "model"),
        ("Q4_0", "Q4_0"),
        ("ggml-model", "ggml-model"),
    ],
)
def test_the_quantisation_is_told_beside_the_name(name, title):
    assert name_without_quantization(name) == title
