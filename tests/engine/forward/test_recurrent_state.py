"""States that only go forward: the same bits however a text was come to, and how far back it goes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.answers.generation import generate
from engine.answers.looking import Looker
from engine.control import Control
from engine.kept_caches import LEAST_TOKENS, kept_file
from engine.kernels.records import FEW_TOKENS
from engine.loading import load
from engine.model import LanguageModel
from engine.protocol import ChatMessage, ChatPrompt, Finished, Generate, Load, Look, Sampling, Token, TokenPrompt
from engine.shared_prefix import LEAST_GAIN_TOKENS
from tests.engine import tiny_models

pytestmark = pytest.mark.slow

NAMES = ["lfm2", "qwen35", "qwen35-shared", "granitehybrid", "falcon-h1", "mamba2", "mamba", "jamba", "kimi-linear"]
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
    for i in range(400):
        model.evaluate([5], 60 + i)
    assert len(model.transformer.state._copies) <= 6


def test_a_kept_session_comes_back_with_its_state(path, tmp_path):
    first = open_model(path, cache_dir=str(tmp_path))
    first.enter_session("session", IDS)
    read(first, IDS)
    answer = IDS[:70]
    for start in range(0, len(answer), 7):
        first.evaluate(answer[start : start + 7], len(IDS) + start)
    first.close()
    for text, n_reused in (([*IDS, *answer, 9], 70 + len(IDS)), ([*IDS[:-3], 9, 9, 9, 9], len(IDS) - 3)):
        second = open_model(path, cache_dir=str(tmp_path))
        second.enter_session("session", text)
        reused, logits = read(second, text)
        assert reused == n_reused
        np.testing.assert_array_equal(logits, anew(second, text))
        second.transformer.close()


def answer(model: LanguageModel, n: int, seed: int = 1) -> list[int]:
    """Tokens that follow what was read, one after the other."""
    ids = np.random.default_rng(seed).integers(3, 705, n).tolist()
    for token_id in ids:
        model.evaluate([token_id], len(model.cached_ids))
    return ids


def test_what_a_prompt_goes_on_from_is_there_for_another_one(model):
    """As a title's question, and then the next turn."""
    read(model, IDS[:100])
    conversation = [*IDS[:100], *answer(model, 130)]
    assert read(model, [*conversation, *IDS[100:140]])[0] == 230
    answer(model, 8)
    after = [*conversation, *IDS[200:230]]
    reused, logits = read(model, after)
    assert reused == 230
    np.testing.assert_array_equal(logits, anew(model, after))


def test_a_little_that_is_shared_is_no_place_to_stop_at(model):
    read(model, IDS[:60])
    other = [*IDS[:3], *IDS[100:160]]
    assert list(model.parts(other, 0)) == [(0, len(other) - FEW_TOKENS), (len(other) - FEW_TOKENS, len(other))]


def test_a_step_back_from_the_end_of_an_answer_reads_little(model):
    read(model, IDS[:100])
    text = [*IDS[:100], *answer(model, 3 * LEAST_GAIN_TOKENS + 20)]
    assert len(text) - 3 - model.reusable(text[:-3]) <= LEAST_GAIN_TOKENS


def test_what_is_read_again_from_is_not_given_up_for_the_end(model):
    read(model, IDS[:100])
    text = [*IDS[:100], *answer(model, 30)]
    for i in range(8):
        read(model, [IDS[i], *IDS[200:230]])
        read(model, text)
        text += answer(model, 30)
        back = text[: 100 - i]
        start = model.reusable(back[:-1])
        for first, end in model.parts(back, start, again=True):
            model.evaluate(back[first:end], first)
        model.put_back(text)
        assert model.reusable(text) == len(text)


def test_without_memory_for_a_copy_there_is_none(model, monkeypatch):
    def none(array):
        raise MemoryError

    monkeypatch.setattr("engine.forward.recurrent_state.np.empty_like", none)
    _, logits = read(model, IDS[:150])
    np.testing.assert_array_equal(logits, anew(model, IDS[:150]))
    assert not model.transformer.state._copies


def test_where_the_state_can_go_on_no_copy_is_asked(model, monkeypatch):
    """`reach` is asked for every token."""
    read(model, IDS[:100])
    compared = []
    monkeypatch.setattr("engine.forward.recurrent_state.RecurrentState._place", lambda *args: compared.append(args))
    assert model.transformer.reach(100) == 100
    assert not compared


def test_a_damaged_file_leaves_nothing_behind(path, tmp_path):
    first = open_model(path, cache_dir=str(tmp_path))
    first.enter_session("session", IDS)
    read(first, IDS)
    said = answer(first, 70)
    first.close()
    file = kept_file(tmp_path / "sessions", "session")
    content = bytearray(file.read_bytes())
    # Of the first of two states.
    at = len(content) - 2 * first.transformer.state.saved_bytes(1) + 32
    content[at : at + 4096] = bytes(4096)
    file.write_bytes(content)
    second = open_model(path, cache_dir=str(tmp_path))
    text = [*IDS, *said, 9]
    second.enter_session("session", text)
    reused, logits = read(second, text)
    assert reused == 0
    np.testing.assert_array_equal(logits, anew(second, text))
    read(second, text)
    edited = [*IDS[:-2], 5, 6, 7, 8]
    second.enter_session("session", edited)
    _, logits = read(second, edited)
    np.testing.assert_array_equal(logits, anew(second, edited))
    second.transformer.close()


def test_what_is_kept_is_where_the_next_prompt_goes_on(path, tmp_path):
    first = open_model(path, cache_dir=str(tmp_path))
    first.enter_session("session", IDS)
    read(first, IDS)
    conversation = [*IDS, *answer(first, 100)]
    read(first, [*conversation, *IDS[:40]])
    answer(first, 8)
    first.close()
    second = open_model(path, cache_dir=str(tmp_path))
    after = [*conversation, *IDS[50:80]]
    second.enter_session("session", after)
    reused, logits = read(second, after)
    assert reused == len(conversation)
    np.testing.assert_array_equal(logits, anew(second, after))
    second.transformer.close()


def test_a_state_that_takes_much_for_what_it_spares_is_not_kept(path, tmp_path, monkeypatch):
    model = open_model(path, cache_dir=str(tmp_path))
    model.enter_session("session", IDS)
    read(model, IDS)
    answer(model, 100)
    n_bytes = model.transformer.state.saved_bytes(1)
    for least, n_states in ((400, 1), (90, 2), (1000, 0)):
        monkeypatch.setattr("engine.forward.recurrent_state.SAVED_BYTES_PER_TOKEN", n_bytes // least)
        assert len(model.transformer.state.worth_saving()) == n_states
    model.close()
    assert not (tmp_path / "sessions").exists()


def test_a_session_from_the_disk_leaves_what_is_known_of_others(path, tmp_path):
    model = open_model(path, cache_dir=str(tmp_path))
    texts = {key: [*IDS[:200], *IDS[at : at + 80]] for key, at in (("a", 200), ("b", 210), ("c", 220))}
    for key in ("a", "b", "c", "a"):
        model.enter_session(key, texts[key])
        read(model, texts[key])
    new = [*IDS[:200], *IDS[30:60]]
    assert model.reusable(new) == 200
    model.transformer.close()


def test_a_shorter_beginning_is_not_kept_over_more(path, tmp_path):
    model = open_model(path, cache_dir=str(tmp_path))
    model.enter_session("session", IDS)
    read(model, IDS)
    answer(model, 100)
    model.keep_session()
    size = kept_file(tmp_path / "sessions", "session").stat().st_size
    read(model, IDS)
    model.close()
    assert kept_file(tmp_path / "sessions", "session").stat().st_size == size


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
    cached = list(model.cached_ids)
    found = look(at=20, read=True).candidates
    assert look(at=20).candidates == found
    assert all(look(at=at).candidates for at in (19, 18, 17))
    assert model.cached_ids == cached
    more = [*text, *ids, 9]
    assert model.reusable(more[:-1]) >= len(cached) - 1
    _, logits = read(model, more)
    np.testing.assert_array_equal(logits, anew(model, more))
    expected = anew(model, [*text, *ids[:20]])
    assert [c.id for c in found[:3]] == np.argsort(-expected, kind="stable")[:3].tolist()


def test_guesses_change_no_answer(path, monkeypatch):
    all_of_them = lambda self: self._costs.known * len(self._guess.ids)  # noqa: E731
    monkeypatch.setattr("engine.answers.speculation.Lookahead._how_many", all_of_them)
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
