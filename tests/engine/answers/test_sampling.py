"""The sampler against a slow one that sorts everything."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.answers.sampling import Sampler
from engine.errors import EngineError
from engine.protocol import Sampling

OFF = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
Array = NDArray[np.float64]


IDS_ANYWHERE = [39041, 36758, 40592, 273, 860, 273, 68, 56, 32]
CHANCES_ANYWHERE = [
    "0x1.064f74305586bp-2",
    "0x1.678f2a4168333p-1",
    "0x1.0fe49eaf05f26p-1",
    "0x1.4253a9ede91fep-1",
    "0x1.c7ad7c2d70bf7p-1",
    "0x1.79267319b2476p-1",
    "0x1.da46ace257db1p-2",
    "0x1.59d06d6129fd1p-1",
    "0x1.59c08579e4168p-2",
]
"""What one processor made of some logits, to the last bit; so must all others."""


def tuned(**changes: float) -> Sampling:
    return Sampling(**({name: getattr(OFF, name) for name in OFF.__struct_fields__} | changes))


def oracle(logits: Array, recent: list[int], s: Sampling) -> Array:
    """Every token's chance, the obvious way, in llama.cpp's order."""
    x = logits.astype(np.float32)
    for i in set(recent[-s.repeat_last_n :] if s.repeat_last_n else []):
        x[i] = x[i] / np.float32(s.repeat_penalty) if x[i] > 0 else x[i] * np.float32(s.repeat_penalty)
    x = x.astype(np.float64)
    order = sorted(range(len(x)), key=lambda i: (-x[i], i))
    if s.temperature == 0:
        order = order[:1]
    if 0 < s.top_k < len(order):
        order = order[: s.top_k]
    p = np.exp(x[order] - x[order[0]])
    p /= p.sum()
    if s.top_p < 1:
        n = next((n for n in range(1, len(p)) if p[:n].sum() >= s.top_p), len(p))
        order, p = order[:n], p[:n]
    n = sum(1 for q in p if q >= s.min_p * p[0] * (1 - 1e-9))
    weights = np.exp((x[order[:n]] - x[order[0]]) / max(s.temperature, 1e-6))
    chances = np.zeros(len(x))
    chances[order[:n]] = weights / weights.sum()
    return chances


def chances_of(logits: NDArray[np.float32], recent: list[int], s: Sampling) -> Array:
    """Every token's chance as the sampler tells it."""
    told = Sampler(logits.size, 1).choose(logits, recent, s, n_chances=logits.size).chances
    assert sorted(chance.id for chance in told) == list(range(logits.size))
    chances = np.zeros(logits.size)
    for chance in told:
        chances[chance.id] = chance.sampler_p
    return chances


def frozen(values: object) -> NDArray[np.float32]:
    """Logits as the model gives them: float32 and not to be written to."""
    logits = np.array(values, np.float32)
    logits.flags.writeable = False
    return logits


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int], Sampling]:
    n = draw(st.sampled_from([1, 2, 5, 63, 64, 65, 200, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    values = rng.normal(size=n) * draw(st.sampled_from([0.0, 0.1, 3.0, 20.0]))
    if draw(st.booleans()):
        values = np.round(values)
    recent = [int(i) for i in rng.integers(0, n, draw(st.integers(0, 80)))]
    s = Sampling(
        temperature=draw(st.sampled_from([0.0, 0.05, 0.8, 1.0, 2.0])),
        top_k=draw(st.sampled_from([0, 1, 2, 40, 100, 5000])),
        top_p=draw(st.sampled_from([0.0, 0.1, 0.5, 0.95, 0.999, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        repeat_penalty=draw(st.sampled_from([0.5, 1.0, 1.1, 2.0])),
        repeat_last_n=draw(st.sampled_from([0, 3, 64])),
    )
    return frozen(values), recent, s


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_token_has_the_chance_that_the_slow_way_gives_it(case):
    logits, recent, s = case
    chances = chances_of(logits, recent, s)
    # Where a sum falls on the border of top-p, rounding may decide either way.
    shares = [s.top_p, max(s.top_p - 1e-6, 0), min(s.top_p + 1e-6, 1)]
    expected = [
        oracle(logits, recent, Sampling(**({n: getattr(s, n) for n in s.__struct_fields__} | {"top_p": p})))
        for p in shares
    ]
    assert any(np.allclose(chances, e, rtol=2e-5, atol=1e-7) for e in expected)


@pytest.mark.parametrize("vocab_size", [49_152, 128_256])
@pytest.mark.parametrize(
    "s",
    [
        Sampling(),
        tuned(top_p=0.95),
        tuned(top_p=0.6),
        tuned(min_p=0.02),
        tuned(top_k=1000, top_p=0.9),
        tuned(top_p=0.9, min_p=0.001, repeat_penalty=1.3),
    ],
)
def test_large_vocabularies_are_cut_where_the_slow_way_cuts_them(vocab_size: int, s: Sampling):
    rng = np.random.default_rng(vocab_size)
    logits = frozen(rng.normal(size=vocab_size) * 2.5)
    recent = [int(i) for i in rng.integers(0, vocab_size, 100)]
    chosen = Sampler(vocab_size, 3).choose(logits, recent, s, n_chances=500)
    expected = oracle(logits, recent, s)
    assert [c.sampler_p for c in chosen.chances] == pytest.approx([expected[c.id] for c in chosen.chances], rel=1e-4)
    assert expected[chosen.id] > 0


@pytest.mark.parametrize(
    "s", [OFF, Sampling(), tuned(top_k=10), tuned(top_p=0.8), tuned(min_p=0.1), tuned(temperature=1.7, top_k=30)]
)
def test_draws_follow_the_distribution(s: Sampling):
    logits = frozen(np.random.default_rng(5).normal(size=150) * 1.5)
    expected = oracle(logits, [], s)
    sampler = Sampler(logits.size, 11)
    n = 20_000
    counts = np.bincount([sampler.choose(logits, [], s).id for _ in range(n)], minlength=logits.size)
    likely = expected * n >= 5
    assert counts[expected == 0].sum() == 0
    chi_square = float(((counts[likely] - n * expected[likely]) ** 2 / (n * expected[likely])).sum())
    freedom = int(likely.sum()) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom + 1)


def test_one_seed_one_answer_and_another_seed_another():
    logits = frozen(np.random.default_rng(0).normal(size=1000))

    def answer(seed: int, skip: int = 0) -> list[int]:
        sampler = Sampler(logits.size, seed, skip)
        return [sampler.choose(logits, [], OFF).id for _ in range(30)]

    assert answer(7) == answer(7)
    assert answer(7) != answer(8)
    assert answer(-1) == answer((1 << 64) - 1)


def test_every_processor_draws_the_same():
    wanted = (OFF, tuned(top_p=0.9, temperature=0.7), tuned(top_k=20, repeat_penalty=1.2, top_p=0.95))
    sizes = [49_152, 1000, 77]
    logits = [frozen(np.random.default_rng(seed).normal(size=size) * 3) for seed, size in enumerate(sizes)]
    told = [
        Sampler(x.size, seed).choose(x, list(range(70)), s, n_chances=2)
        for seed, x in enumerate(logits)
        for s in wanted
    ]
    assert [choice.id for choice in told] == IDS_ANYWHERE
    assert [float(choice.chances[0].sampler_p).hex() for choice in told] == CHANCES_ANYWHERE


def test_an_answer_that_is_taken_up_draws_what_it_would_have_drawn():
    logits = frozen(np.random.default_rng(0).normal(size=1000))
    whole = Sampler(logits.size, 7)
    ids = [whole.choose(logits, [], OFF if i % 2 else tuned(temperature=0)).id for i in range(20)]
    rest = Sampler(logits.size, 7, skip=12)
    assert [rest.choose(logits, [], OFF if i % 2 else tuned(temperature=0)).id for i in range(12, 20)] == ids[12:]


def test_greedy_takes_the_lowest_id_of_equals():
    logits = frozen([0, 3, 1, 3, 3])
    assert Sampler(5, 1).choose(logits, [], tuned(temperature=0)).id == 1
    assert Sampler(5, 1).choose(logits, [], tuned(top_k=1)).id == 1
    assert Sampler(5, 1).choose(logits, [1], tuned(temperature=0, repeat_penalty=1.1)).id == 3


def test_the_penalty_looks_at_the_last_tokens_only_and_once_at_each():
    logits = frozen([2.0, -2.0, 1.0])
    s = tuned(temperature=0, repeat_penalty=1.5, repeat_last_n=2)
    assert Sampler(3, 1).choose(logits, [0, 0, 0, 1, 2], s).id == 0
    assert Sampler(3, 1).choose(logits, [1, 0, 0], s).id == 0
    assert Sampler(3, 1).choose(frozen([2.9, -2.0, 2.0]), [1, 0], s).id == 2


def test_log_probabilities_are_of_the_raw_distribution():
    logits = frozen(np.random.default_rng(2).normal(size=50_000) * 4)
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    leading = np.argsort(-exact, kind="stable")[:12]
    chosen = Sampler(logits.size, 1).choose(
        logits, leading[:5].tolist(), Sampling(repeat_penalty=2.0, top_k=3), n_top=12, n_chances=4
    )
    assert [token.id for token in chosen.top] == leading.tolist()
    assert [token.logprob for token in chosen.top] == pytest.approx(exact[leading], abs=1e-5)
    assert chosen.logprob == pytest.approx(exact[chosen.id], abs=1e-5)
    assert [chance.model_p for chance in chosen.chances] == pytest.approx(np.exp(exact[leading[:4]]), rel=1e-5)
    few = Sampler(3, 1).choose(frozen([1, 2, 3]), [], OFF, n_top=10)
    assert [token.id for token in few.top] == [2, 1, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 70, 99])
def test_what_is_not_a_number_is_an_error_and_no_crash(bad: float, place: int):
    values = np.zeros(100)
    values[place] = bad
    with pytest.raises(EngineError, match="not a number"):
        Sampler(100, 1).choose(frozen(values), [], Sampling())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-80, 0, width=32), min_size=1, max_size=300))
def test_the_fast_exponential_is_as_good_as_single_precision_allows(values: list[float]):
    x = frozen(values)
    exact = np.exp(x.astype(np.float64) - float(x.max())).sum()
    told = Sampler(x.size, 1).choose(x, [], tuned(temperature=0))
    assert math.exp(-told.logprob) == pytest.approx(exact, rel=1e-6)


def test_a_penalty_beyond_all_numbers_is_an_error_and_no_endless_search():
    logits = frozen([-3e38, 0, 1])
    with pytest.raises(EngineError, match="not a number"):
        Sampler(3, 1).choose(logits, [0], Sampling(repeat_penalty=5.0))
