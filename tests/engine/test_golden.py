"""The starter model's greedy answers are llama.cpp's: same tokens but for near ties, and as sure of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDEN = json.loads(Path(__file__).with_name("data").joinpath("golden_smollm2.json").read_text("utf-8"))["answers"]

NEAR_TIE = 0.1
"""Where llama.cpp's two leading candidates are this close, either will do: it takes the other one itself, with flash
attention off."""

MEAN_DIFFERENCE = 0.05
"""Of the chosen tokens' log-probabilities; llama.cpp differs from itself by as much, with flash attention on or off."""


def ask(cli, model, answer):
    ran = cli(
        *("ask", answer["prompt"], "-m", str(model), "--raw", "--temperature", "0", "--ignore-eos"),
        *("--max-tokens", str(len(answer["steps"])), "--logprobs", "20", "--json"),
    )
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["prompt_tokens"] == len(answer["ids"])
    return told["tokens"]


@pytest.mark.slow
def test_greedy_tokens_and_their_probabilities_are_llama_cpps(cli, warm_home, starter_model):
    differences, n_compared = [], 0
    for answer in GOLDEN:
        for token, (first, second) in zip(ask(cli, starter_model, answer), answer["steps"], strict=True):
            if token["id"] != first[0]:
                assert token["id"] == second[0], answer["prompt"]
                assert first[1] - second[1] < NEAR_TIE, answer["prompt"]
                break
            differences.append(abs(token["logprob"] - first[1]))
            n_compared += 1
    assert n_compared > 0.7 * sum(len(answer["steps"]) for answer in GOLDEN)
    assert sum(differences) / n_compared < MEAN_DIFFERENCE


@pytest.mark.slow
def test_the_capital_of_france(cli, warm_home, starter_model):
    ran = cli("ask", "What is the capital of France?", "-m", str(starter_model), "--temperature", "0")
    assert ran.out.strip() == "The capital of France is Paris."


@pytest.mark.slow
def test_the_capital_of_france_as_it_is_asked(cli, warm_home, starter_model):
    ran = cli("ask", "What is the capital of France?", "-m", str(starter_model), "--seed", "1")
    assert "Paris" in ran.out
