"""What is likely at a place is told without choosing, forgetting or reading anything much."""

from pathlib import Path

import numpy as np
import pytest

from engine.answers.generation import generate
from engine.answers.looking import Looker
from engine.control import Control
from engine.errors import ContextFullError, EngineError
from engine.loading import load
from engine.protocol import (
    AnyEvent,
    ChatMessage,
    ChatPrompt,
    Finished,
    Generate,
    Load,
    Look,
    PromptProgress,
    Sampling,
    Token,
)
from tests.engine.children import fake_model as fake

GREEDY = Sampling(temperature=0)
HELLO = [ChatMessage("user", "Hello")]


def write(model, prompt: ChatPrompt, **options) -> tuple[list[int], str, list[AnyEvent]]:
    """An answer's tokens and text, and all events."""
    events: list[AnyEvent] = []
    command = Generate(prompt=prompt, **{"sampling": GREEDY, "seed": 1, **options})
    generate(model, command, Control(sampling=command.sampling), events.append)
    told = [event for event in events if isinstance(event, Token)]
    return [token.id for token in told], "".join(token.text for token in told), events


def look(looker: Looker, prompt: ChatPrompt | None = None, control: Control | None = None, **options):
    events: list[AnyEvent] = []
    command = Look(request_id="l", prompt=prompt, **{"sampling": GREEDY, "n_candidates": 3, **options})
    return looker.look(command, control or Control(), events.append), events


@pytest.fixture
def written():
    """A model that has answered, its answer, and the conversation with it."""
    model = fake.FakeModel("Paris.")
    ids, text, _ = write(model, ChatPrompt(messages=HELLO))
    return model, ids, ChatPrompt(messages=HELLO, answer_ids=ids, answer_text=text)


def test_every_token_of_an_answer_can_be_looked_at_and_the_cache_stays(written):
    model, ids, prompt = written
    looker = Looker(model)
    cached, n_batches = list(model.cached_ids), len(model.batches)
    end, _ = look(looker, prompt)
    assert (end.at, end.ids, end.pieces, end.n_unread) == (6, ids, list("Paris."), 0)
    assert end.candidates[0].id == fake.IM_END
    for at in (3, 0, 5):
        found, events = look(looker, at=at)
        assert found.at == at
        assert found.candidates[0].id == ids[at]
        assert (found.ids, found.pieces, events) == ([], [], [])
    assert model.cached_ids == cached
    assert [size for _, size in model.batches[n_batches:]] == [1, 1, 1, 1]


def test_other_settings_at_the_same_place_compute_nothing(written):
    model, _, prompt = written
    looker = Looker(model)
    greedy, _ = look(looker, prompt, at=2)
    n_batches = len(model.batches)
    warm, _ = look(looker, at=2, sampling=Sampling(temperature=1, top_k=0, top_p=1, min_p=0))
    assert len(model.batches) == n_batches
    assert [c.sampler_p for c in greedy.candidates] == [1, 0, 0]
    assert [c.sampler_p for c in warm.candidates] == pytest.approx([c.model_p for c in warm.candidates])
    assert [c.model_p for c in warm.candidates] == [c.model_p for c in greedy.candidates]


def test_what_followed_is_told_even_if_it_was_unlikely():
    model = fake.FakeModel("Paris.")
    prompt = ChatPrompt(messages=HELLO, answer_ids=[ord("P"), ord("x")], answer_text="Px")
    found, _ = look(Looker(model), prompt, at=1, read=True)
    assert found.candidates[0].id == ord("a")
    assert found.candidates[-1].id == ord("x")
    assert len(found.candidates) == 4


def test_a_conversation_that_is_not_in_the_cache_is_read_only_when_asked():
    model = fake.FakeModel("Paris.")
    looker = Looker(model)
    prompt = ChatPrompt(messages=HELLO, answer_ids=[ord("P")], answer_text="P")
    found, _ = look(looker, prompt)
    assert (found.candidates, model.batches) == ([], [])
    assert found.n_unread > 10
    read, events = look(looker, read=True)
    assert read.candidates[0].id == ord("a")
    assert all(isinstance(event, PromptProgress) for event in events)
    assert events[-1].done == events[-1].total == found.n_unread


def test_what_is_kept_of_a_session_is_not_read_again():
    class KeptModel(fake.FakeModel):
        """The session's cache comes from disk when it is entered."""

        def enter_session(self, key, ids):
            if key == "the session":
                self.cached_ids[:] = ids[:-3]

    model = KeptModel("Paris.")
    prompt = ChatPrompt(messages=HELLO, answer_ids=[ord("P")], answer_text="P")
    read, [progress] = look(Looker(model), prompt, session="the session", read=True)
    assert read.candidates[0].id == ord("a")
    assert progress.done - progress.reused == 3
    assert sum(size for _, size in model.batches) == 3


def test_a_place_that_there_is_not_is_the_nearest_one(written):
    model, _, prompt = written
    looker = Looker(model)
    assert [look(looker, prompt, at=at)[0].at for at in (-1, 7)] == [0, 6]


def test_reading_can_be_stopped():
    model = fake.FakeModel("Paris.")
    found, _ = look(Looker(model), ChatPrompt(messages=HELLO), Control(stopped=True), read=True)
    assert (found.candidates, model.batches) == ([], [])
    assert found.n_unread > 0


@pytest.mark.parametrize("ids", [[], [ord("x"), ord("y")], [99_999]])
def test_an_answer_without_tokens_of_this_model_is_encoded_anew(ids):
    model = fake.FakeModel("Paris.")
    prompt = ChatPrompt(messages=HELLO, answer_ids=ids, answer_text="Pär")
    found, _ = look(Looker(model), prompt, at=2, read=True)
    assert found.ids == list("Pär".encode())
    assert found.pieces == ["P", "", "ä", "r"]


def test_tokens_of_another_model_that_say_nothing_are_none_of_this_answer():
    model = fake.FakeModel("Paris.")
    found, _ = look(Looker(model), ChatPrompt(messages=HELLO, answer_ids=[99_999]), read=True)
    assert (found.at, found.ids, found.pieces) == (0, [], [])
    assert found.candidates[0].id == ord("P")


def test_what_cannot_be_looked_at_is_said(written):
    model, _, _ = written
    with pytest.raises(EngineError, match="No conversation"):
        look(Looker(model))
    with pytest.raises(ContextFullError):
        look(Looker(model), ChatPrompt(messages=HELLO, answer_ids=[1] * 1000))


def test_an_answer_goes_on_from_a_token_that_somebody_chose(written):
    model, ids, _ = written
    branch = ChatPrompt(messages=HELLO, answer_ids=ids[:2], answer_text="Pa")
    new, text, events = write(model, branch, first_ids=[ord("l")], n_candidates=2, sampling=Sampling(max_new_tokens=3))
    assert (new[0], text) == (ord("l"), "lis")
    first = next(event for event in events if isinstance(event, Token))
    assert first.candidates[-1].id == ord("l")
    assert first.logprob < -8


def test_a_chosen_end_ends_the_answer(written):
    model, ids, _ = written
    branch = ChatPrompt(messages=HELLO, answer_ids=ids[:2], answer_text="Pa")
    new, _, events = write(model, branch, first_ids=[fake.IM_END])
    assert new == []
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stop"


def test_a_chosen_token_has_to_exist(written):
    model, _, prompt = written
    with pytest.raises(EngineError, match="does not exist"):
        write(model, prompt, first_ids=[fake.VOCAB_SIZE])


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_looking_leaves_every_bit_of_a_real_cache(starter_model: Path, kv_type: str):
    model = load(Load(path=str(starter_model), context=512, kv_type=kv_type), lambda *_: None)
    prompt = ChatPrompt(messages=[ChatMessage("user", "What is the capital of France?")])
    ids, text, _ = write(model, prompt, sampling=Sampling(temperature=0, max_new_tokens=20))
    looker = Looker(model)
    whole = ChatPrompt(messages=prompt.messages, answer_ids=ids, answer_text=text)
    look(looker, whole)
    cache = model.transformer.cache
    (part,) = cache.parts.values()
    before = part.ranges.copy()
    cached = list(model.cached_ids)
    for at in (len(ids) // 2, 0, len(ids) - 1):
        found, _ = look(looker, at=at)
        assert found.candidates[0].id == ids[at]
        assert found.candidates[0].model_p > found.candidates[1].model_p > 0
    assert model.cached_ids == cached
    np.testing.assert_array_equal(part.ranges, before)
    # What comes next is what would have come without all the looking.
    again, _, _ = write(model, whole, sampling=Sampling(temperature=0, max_new_tokens=5))
    model.close()
    fresh = load(Load(path=str(starter_model), context=512, kv_type=kv_type), lambda *_: None)
    assert again == write(fresh, whole, sampling=Sampling(temperature=0, max_new_tokens=5))[0]
    fresh.close()
