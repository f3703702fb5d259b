"""The makers' advice on sampling: from the file, from the model's name, or none."""

from __future__ import annotations

import pytest

from engine.protocol import Sampling
from engine.recommendation import recommended_sampling


def test_without_advice_the_usual_settings():
    assert recommended_sampling({"general.name": "llama"}) == Sampling()


def test_the_starter_is_sampled_as_its_model_card_does():
    advised = recommended_sampling({"general.name": "SmolLM2-1.7B-Instruct"})
    assert (advised.temperature, advised.top_p) == (0.2, 0.9)
    assert advised.top_k == Sampling().top_k


def test_the_smallest_starter_is_held_tighter():
    advised = recommended_sampling({"general.name": "Smollm2 135M 8k Lc100K Mix1 Ep2"})
    assert (advised.temperature, advised.top_p, advised.repeat_penalty) == (0.02, 0.9, 1.05)


def test_the_file_has_the_last_word():
    keys = {"general.name": "SmolLM2", "general.sampling.temp": 0.5, "general.sampling.top_k": 7}
    advised = recommended_sampling(keys)
    assert (advised.temperature, advised.top_k, advised.top_p) == (0.5, 7, 0.9)


@pytest.mark.parametrize(
    ("field", "value"),
    [("temp", -1.0), ("temp", "hot"), ("temp", float("nan")), ("temp", 1e9), ("penalty_repeat", 1e-40)],
)
def test_nonsense_in_a_file_is_no_advice(field, value):
    assert recommended_sampling({f"general.sampling.{field}": value}) == Sampling()
