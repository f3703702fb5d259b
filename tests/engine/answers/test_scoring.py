"""Perplexity as llama.cpp counts it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.answers.scoring import score
from engine.control import Control
from engine.errors import EngineError, NotFiniteError
from engine.loading import load
from engine.protocol import Load, PromptProgress, Score, Scored

TEXT = "The quick brown fox jumps over the lazy dog and says hello to everyone in the room. " * 12


@pytest.fixture
def model(write_model, tmp_path):
    model = load(Load(path=str(write_model(tmp_path / "tiny.gguf"))), lambda *_: None)
    yield model
    model.close()


def run(model, text, window, control=None):
    events = []
    score(model, Score(request_id="1", text=text, window=window), control or Control(), events.append)
    return events


def test_each_windows_second_half_is_scored_given_what_stands_before_it(model):
    window, tokenizer = 64, model.tokenizer
    ids = tokenizer.encode(TEXT, add_bos=tokenizer.add_bos, parse_special=False)
    losses = []
    for number in range(len(ids) // window):
        part = [tokenizer.bos_id, *ids[number * window + 1 : (number + 1) * window]]
        for i in range(window // 2, window - 1):
            logits = model.evaluate(part[: i + 1], 0).astype(np.float64)
            losses.append(np.log(np.exp(logits).sum()) - logits[part[i + 1]])
    *progress, scored = run(model, TEXT, window)
    assert isinstance(scored, Scored)
    assert scored.tokens == len(losses)
    assert scored.perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-9)
    error = np.std(losses) / np.sqrt(len(losses) - 1) * np.exp(np.mean(losses))
    assert scored.stderr == pytest.approx(error, rel=1e-6)
    assert all(isinstance(event, PromptProgress) for event in progress)
    assert progress[0].done == 0, "the speed is counted from here on"
    assert progress[-1].done == progress[-1].total


def test_a_text_shorter_than_a_window_is_refused(model):
    with pytest.raises(EngineError, match="less than a window of 64"):
        run(model, "short", 64)
    with pytest.raises(EngineError, match=f"less than a window of {model.max_seq_len}"):
        run(model, "short", 1_000_000)


def test_a_window_in_which_nothing_could_be_told_is_refused(model):
    with pytest.raises(EngineError, match="A window of 7 tokens is too short"):
        run(model, TEXT, 7)
    assert run(model, TEXT, 8)[-1].tokens > 0


def test_a_vocabulary_alone_predicts_nothing(write_model, tmp_path):
    vocabulary = load(Load(path=str(write_model(tmp_path / "tiny.gguf")), vocab_only=True), lambda *_: None)
    with pytest.raises(EngineError, match="Only the vocabulary"):
        run(vocabulary, TEXT, 64)


def test_stopping_tells_what_was_scored_so_far(model):
    progress, scored = run(model, TEXT, 64, Control(stopped=True))
    assert (progress.done, scored.tokens) == (0, 0)


@pytest.mark.slow
def test_the_command_tells_the_starters_perplexity(cli, warm_home, starter_model, tmp_path):
    """The command through the real engine, with exactly the promised fields."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    ran = cli("perplexity", str(text), "-m", str(starter_model), "--context", "128", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert set(told) == {"perplexity", "tokens", "stderr"}
    assert told["tokens"] == 63


def test_what_is_not_a_number_is_told(write_model, tmp_path):
    path = write_model(tmp_path / "nan.gguf", set_tensors={"output_norm.weight": np.full(32, np.inf, np.float32)})
    model = load(Load(path=str(path)), lambda *_: None)
    with pytest.raises(NotFiniteError, match="not a number"):
        run(model, TEXT, 64)
    model.close()
