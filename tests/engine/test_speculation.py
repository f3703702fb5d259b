"""Guesses make no difference to what is written, only to how often the model runs."""

from __future__ import annotations

import numpy as np
import pytest

from engine.loading import load
from engine.protocol import Load, Sampling
from engine.sampling import Sampler
from engine.speculation import FIRST_REST, Lookahead, Lookup, Pace


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


def write(model, n, ahead=None):
    ahead = ahead or Lookahead(model)
    ids = [model.cycle[0]]
    while len(ids) < n:
        ids.append(int(ahead.logits_after(ids, n - len(ids)).argmax()))
    return ids, ahead


def test_repeating_text_takes_fewer_batches_and_stays_itself():
    model = RecordedModel([7, 8, 9, 1, 2, 3, 4, 5])
    ids, ahead = write(model, 400)
    assert ids == [model.cycle[i % 8] for i in range(400)]
    assert ahead.n_right > 300
    assert sum(model.batches) >= 399
    assert len(model.batches) < 130


def test_no_guess_goes_beyond_the_room():
    model = RecordedModel([1, 2, 3])
    _, ahead = write(model, 30)
    assert ahead.n_guessed > 0
    assert sum(model.batches) <= 29 + 2


def test_a_long_copy_goes_on_behind_a_token_that_was_changed():
    text = list(range(100, 130))
    lookup = Lookup()
    ids = [*text, *text[:3]]
    assert lookup.guess(ids, 9) == text[3:12]
    ids += [*text[3:11], 7]
    lookup.came_true(8, len(ids))
    assert lookup.guess(ids, 4) == text[12:16]
    ids += [8]
    lookup.came_true(0, len(ids))
    assert lookup.guess(ids, 4) == []


def test_after_a_short_copy_nothing_is_guessed_behind_a_change():
    text = list(range(100, 130))
    lookup = Lookup()
    ids = [*text, *text[:3]]
    assert lookup.guess(ids, 4) == text[3:7]
    ids += [*text[3:6], 7]
    lookup.came_true(3, len(ids))
    assert lookup.guess(ids, 4) == []


def test_lookup_finds_what_followed_the_latest_occurrence():
    lookup = Lookup()
    assert lookup.guess([1, 2, 3, 50, 51, 1, 2, 3], 4) == [50, 51, 1, 2]
    assert lookup.guess([1, 2, 3, 50, 51, 1, 2, 3, 60, 1, 2, 3], 2) == [60, 1]
    assert lookup.guess([1, 2, 3, 50, 51, 1, 2, 3, 60, 1, 2, 3, 99], 2) == []


def test_guessing_rests_where_it_does_not_pay_and_longer_each_time():
    pace = Pace()
    assert not pace.may_guess()
    pace.single(1.0)
    assert pace.may_guess()
    for rest in (FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST):
        pace.batch(2.0, 1)
        waited = 1
        while not pace.may_guess():
            waited += 1
        assert waited == rest
    pace.batch(2.0, 8)
    assert pace.may_guess()


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
