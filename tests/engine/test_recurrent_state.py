"""States that only go forward: the same bits however a text was come to, and how far back it goes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.generation import generate
from engine.inbox import Control
from engine.kept_caches import LEAST_TOKENS
from engine.kernels.records import FEW_TOKENS
from engine.loading import load
from engine.looking import Looker
from engine.model import LanguageModel
from engine.protocol import ChatMessage, ChatPrompt, Finished, Generate, Load, Look, Sampling, Token, TokenPrompt
from tests.engine import tiny_models

NAMES = ["lfm2", "qwen35", "qwen35-shared"]
IDS = np.random.default_rng(8).integers(3, 705, LEAST_TOKENS + 100).tolist()


def open_model(path: Path, **options) -> LanguageModel:
    return load(Load(path=str(path), **options), lambda *_: None)


@pytest.fixture(params=NAMES)
def path(request, tmp_path):
    types = ("Q4_0", "Q8_0", "F16", "F32")
    return tiny_models.write_tiny(tmp_path / "tiny.gguf", request.param, types=types, context_length=1024)


@pytest.fixture
def model(path):
    model = open_model(path, threads=2)
    yield model
    model.transformer.close()


def read(model: LanguageModel, ids: list[int]) -> tuple[int, np.ndarray]:
    """Read ids as the worker does; (tokens reused, last logits)."""
    reused = model.reusable(ids[:-1])
    for start, end in model.parts(ids, reused):
        logits = model.evaluate(ids[start:end], start)
    return reused, logits.copy()


def anew(model: LanguageModel, ids: list[int]) -> np.ndarray:
    """Logits after ids, read from the first one on, in one batch after the other."""
    return model.evaluate(ids, 0).copy()


@pytest.mark.parametrize("kept", range(FEW_TOKENS + 1))
def test_any_of_a_few_tokens_can_be_the_last_that_is_kept(model, kept):
    other = IDS[100 : 100 + 3]
    for n_before in (0, 1, 20):
        expected = anew(model, [*IDS[: n_before + kept], *other])
        if n_before:
            model.evaluate(IDS[:n_before], 0)
        model.evaluate_each(IDS[n_before : n_before + FEW_TOKENS], n_before)
        np.testing.assert_array_equal(model.evaluate(other, n_before + kept), expected)
        # And once more behind those, which are few as well; then many.
        model.evaluate(IDS[:1], n_before + kept + 1)
        many = [*other[:2], *IDS[:30]]
        expected = anew(model, [*IDS[: n_before + kept], *many])
        model.evaluate(IDS[:n_before] or IDS[:1], 0)
        model.evaluate_each(IDS[n_before : n_before + FEW_TOKENS], n_before)
        np.testing.assert_array_equal(model.evaluate(many, n_before + kept), expected)


def test_the_next_prompt_goes_on_where_the_last_one_ended(model):
    """As a chat whose thoughts are dropped: all but the end of the prompt comes again."""
    prompt, answer = IDS[:200], IDS[200:230]
    assert read(model, prompt)[0] == 0
    for i, token_id in enumerate(answer):
        model.evaluate([token_id], len(prompt) + i)
    other = [*prompt[:-4], *IDS[300:340]]
    expected_ids = list(model.cached_ids)
    reused, logits = read(model, other)
    assert reused == len(prompt) - 4
    assert expected_ids[:196] == model.cached_ids[:196]
    np.testing.assert_array_equal(logits, anew(model, other))


def test_what_prompts_share_is_read_once_more_and_then_no_more(model):
    shared = IDS[:150]
    prompts = [[*shared, *IDS[200 + 20 * i : 220 + 20 * i]] for i in range(3)]
    reused = []
    for prompt in prompts:
        n_reused, logits = read(model, prompt)
        reused.append(n_reused)
        fresh = model.transformer.evaluate_last(prompt, 0, 1)[0].copy()
        np.testing.assert_array_equal(logits, fresh)
    assert reused == [0, 0, 150]


def test_an_answer_again_reads_no_more_than_the_end_of_the_prompt(model):
    prompt = IDS[:150]
    _, first = read(model, prompt)
    for i in range(20):
        model.evaluate([IDS[200 + i]], len(prompt) + i)
    reused, logits = read(model, prompt)
    assert reused == len(prompt) - 1
    np.testing.assert_array_equal(logits, first)


def test_a_position_that_is_out_of_reach_is_refused(model):
    model.evaluate(IDS[:100], 0)
    assert model.reusable(IDS[:99]) == 0
    with pytest.raises(ValueError, match="state of position 50 is not there any more"):
        model.evaluate(IDS[50:60], 50)
    assert model.reusable(IDS[:120]) == 100
    model.evaluate(IDS[100:110], 100)


def test_copies_are_few(model):
    for i in range(20):
        read(model, IDS[10 * i : 10 * i + 60])
    state = model.transformer.state
    assert len(state._copies) <= 6


def test_a_kept_session_comes_back_with_its_state(path, tmp_path):
    first = open_model(path, cache_dir=str(tmp_path))
    first.enter_session("session", IDS)
    read(first, IDS)
    answer = IDS[:21]
    for start in range(0, len(answer), 7):
        first.evaluate(answer[start : start + 7], len(IDS) + start)
    first.close()
    for text, n_reused in (([*IDS, *answer, 9], 21 + len(IDS)), ([*IDS[:-3], 9, 9, 9, 9], len(IDS) - 3)):
        second = open_model(path, cache_dir=str(tmp_path))
        second.enter_session("session", text)
        reused, logits = read(second, text)
        assert reused == n_reused
        np.testing.assert_array_equal(logits, anew(second, text))
        second.transformer.close()


def test_places_of_an_answer_are_read_only_when_that_is_asked(model):
    """Of the last few tokens and the end of the prompt the state is there; what lies between has to be read."""
    answers = []
    prompt = ChatPrompt(messages=[ChatMessage("user", "dog " * 30)])
    sampling = Sampling(temperature=1.0, max_new_tokens=40)
    for _ in range(2):
        events = []
        command = Generate(prompt=prompt, sampling=sampling, seed=4, ignore_eos=True)
        generate(model, command, Control(sampling=sampling), events.append)
        answers.append([(event.id, event.logprob) for event in events if isinstance(event, Token)])
    assert answers[0] == answers[1]
    ids = [token_id for token_id, _ in answers[0]]
    text = model.cached_ids[: len(model.cached_ids) - len(ids) + 1]
    looker = Looker(model)

    def look(**options):
        return looker.look(Look(request_id="l", n_candidates=3, **options), Control(), lambda event: None)

    assert look(prompt=msgspec.structs.replace(prompt, answer_ids=ids)).candidates
    far = look(at=20)
    assert (far.candidates, 20 <= far.n_unread < 30) == ([], True)
    assert look(at=0).candidates
    found = look(at=20, read=True).candidates
    assert look(at=20).candidates == found
    expected = anew(model, [*text, *ids[:20]])
    assert [c.id for c in found[:3]] == np.argsort(-expected, kind="stable")[:3].tolist()


def test_guesses_change_no_answer(path, monkeypatch):
    monkeypatch.setattr("engine.speculation.Lookahead._how_many", lambda self: self._costs.known * len(self._guess.ids))
    command = Generate(
        prompt=TokenPrompt(ids=[*IDS[:30], *IDS[:30], *IDS[:5]]),
        sampling=Sampling(temperature=1.0, max_new_tokens=60),
        seed=3,
        ignore_eos=True,
    )
    answers = []
    for threads, speculate in ((1, True), (2, False)):
        model = open_model(path, threads=threads)
        events = []
        told = msgspec.structs.replace(command, speculate=speculate)
        generate(model, told, Control(sampling=command.sampling), events.append)
        model.close()
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert (finished.guessed_tokens > 5) == speculate
        answers.append([(event.id, event.logprob) for event in events if isinstance(event, Token)])
    assert len(answers[0]) == 60
    assert answers[0] == answers[1]
