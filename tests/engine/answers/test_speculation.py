"""Guesses make no difference to what is written, only to how often the model runs."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from engine.answers.lookup import Guess
from engine.answers.sampling import Sampler
from engine.answers.speculation import Chances, Costs, Lookahead
from engine.loading import load
from engine.protocol import Load, Sampling


class RecordedModel:
    """Says the same sentence over and over; every evaluation is recorded."""

    batch_size = 16

    def __init__(self, cycle):
        self.cycle, self.batches = cycle, []

    def evaluate_each(self, ids, pos):
        self.batches.append(len(ids))
        rows = []
        for i in range(len(ids)):
            row = np.zeros(100, np.float32)
            row[self.cycle[(pos + i + 1) % len(self.cycle)]] = 5.0
            rows.append(row)
        return rows


LIKE_SMOLLM2 = dict(enumerate((1.0, 1.2, 1.25, 1.3, 1.8, 1.85, 1.9, 2.0), start=1))
"""What batches take in single tokens, as measured on two cores."""


class Watch:
    """Time as the model's batches take it: as long as a number of single tokens for each size."""

    def __init__(self, model, costs):
        self.now_s = 0.0
        evaluate = model.evaluate_each

        def evaluate_each(ids, pos):
            self.now_s += costs[len(ids)]
            return evaluate(ids, pos)

        model.evaluate_each = evaluate_each

    def perf_counter(self):
        return self.now_s


def write(model, n, ahead=None):
    ahead = ahead or Lookahead(model)
    ids = [model.cycle[0]]
    while len(ids) < n:
        ids.append(int(ahead.logits_after(ids, n - len(ids)).argmax()))
    return ids, ahead


def test_repeating_text_takes_fewer_batches_and_stays_itself(monkeypatch):
    model = RecordedModel([7, 8, 9, 1, 2, 3, 4, 5])
    monkeypatch.setattr("engine.answers.speculation.time", Watch(model, LIKE_SMOLLM2))
    ids, ahead = write(model, 400)
    assert ids == [model.cycle[i % 8] for i in range(400)]
    assert ahead.n_right > 300
    assert sum(model.batches) >= 399
    assert len(model.batches) < 130


def test_no_guess_goes_beyond_the_room(monkeypatch):
    model = RecordedModel([1, 2, 3])
    monkeypatch.setattr("engine.answers.speculation.time", Watch(model, LIKE_SMOLLM2))
    _, ahead = write(model, 30)
    assert ahead.n_guessed > 0
    assert sum(model.batches) <= 29 + 2


def test_batches_that_take_as_long_as_their_tokens_are_given_up(monkeypatch):
    model = RecordedModel([7, 8, 9, 1, 2, 3, 4, 5])
    monkeypatch.setattr("engine.answers.speculation.time", Watch(model, {n: float(n) for n in range(1, 17)}))
    write(model, 400)
    assert sum(n > 1 for n in model.batches[:100]) > 0
    assert sum(n > 1 for n in model.batches[300:]) < 20


def test_the_best_size_of_a_batch_is_found(monkeypatch):
    model = RecordedModel([7, 8, 9, 1, 2, 3, 4, 5])
    costs = {1: 1.0, 2: 1.1, 3: 1.2, 4: 1.3} | {n: 4.0 for n in range(5, 17)}
    monkeypatch.setattr("engine.answers.speculation.time", Watch(model, costs))
    write(model, 600)
    assert model.batches[-60:].count(4) > 50


class Unsteady(RecordedModel):
    """Says one and two in turn with what nobody can foresee."""

    def __init__(self):
        super().__init__([])

    def evaluate_each(self, ids, pos):
        self.batches.append(len(ids))
        rows = np.zeros((len(ids), 100), np.float32)
        for i, row in enumerate(rows):
            at = pos + i + 1
            row[at % 3 or Random(at).randrange(3, 100)] = 5.0
        return list(rows)


def test_text_in_which_guesses_do_not_come_true_costs_nothing(monkeypatch):
    model = Unsteady()
    watch = Watch(model, LIKE_SMOLLM2)
    monkeypatch.setattr("engine.answers.speculation.time", watch)
    ids, ahead = [1, 2], Lookahead(model)
    while len(ids) < 900:
        ids.append(int(ahead.logits_after(ids, 900 - len(ids)).argmax()))
    assert ahead.n_guessed > 0
    assert watch.now_s < 1.01 * 900


def test_guesses_that_are_not_evaluated_are_learned_from_as_well():
    chances, guess = Chances(), Guess([50, 51], 2)
    before = chances.of(guess, 0)
    assert chances.seen(guess, [50, 51]) == 2
    assert chances.of(guess, 0) > before
    assert chances.seen(guess, [50, 99]) == 1
    assert chances.seen(guess, []) == 0
    for _ in range(50):
        chances.seen(guess, [99])
    assert chances.of(guess, 0) < 0.05
    assert chances.of(guess, 1) == pytest.approx(chances.of(Guess([1], 3), 0))


def test_one_slow_batch_is_not_held_against_its_size_for_ever():
    costs = Costs()
    costs.took(1, 1.0)
    for _ in range(20):
        costs.took(4, 100.0)
    assert costs.of(4) > 3
    for _ in range(200):
        costs.took(2, 1.2)
    assert costs.of(4) < 2
    assert costs.of(2) == pytest.approx(1.2, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_starter_writes_the_same_tokens_with_and_without_guesses(starter_model, temperature):
    model = load(Load(path=str(starter_model)), lambda *_: None)
    code = "def area(width, height):\n    return width * height\n\n" * 3
    prompt = model.tokenizer.encode(code, add_bos=False, parse_special=False)
    written = []
    for guessing in (True, False):
        ids, ahead = list(prompt), Lookahead(model)
        sampler = Sampler(model.card.vocab, 7)
        logits = model.evaluate(ids, 0)
        for i in range(120):
            if i:
                logits = ahead.logits_after(ids, 120 - i if guessing else 0)
            ids.append(sampler.choose(logits, ids, Sampling(temperature=temperature, min_p=0.2)).id)
        assert (ahead.n_right > 0) == guessing
        written.append(ids)
    model.close()
    assert written[0] == written[1]
