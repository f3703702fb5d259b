"""A context that is full: which turns an answer is written without, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from engine.errors import ContextFullError
from engine.protocol import (
    Sampling,
    TextPrompt,
)
from tests.engine.answers.running import chat, run
from tests.engine.children import fake_model as fake


def test_a_prompt_that_cannot_fit_is_an_error_with_numbers():
    model = fake.FakeModel("x", max_seq_len=64)
    with pytest.raises(ContextFullError, match=r"has 65 tokens, the context holds 64"):
        run(model, TextPrompt(text="a" * 64))
    with pytest.raises(ContextFullError):
        run(model, chat("a" * 100))
    _, finished, _ = run(model, TextPrompt(text="a" * 63), ignore_eos=True)
    assert (finished.prompt_tokens, finished.generated_tokens, finished.reason) == (64, 1, "length")


def test_a_full_context_drops_whole_oldest_turns_and_keeps_the_system_prompt():
    model = fake.FakeModel("x", max_seq_len=400)
    turns = [text for i in range(12) for text in (f"question {i}", f"answer {i}")]
    _, finished, _ = run(model, chat(*turns, "the last question", system="Be kind."))
    read = model.tokenizer.decode(model.cached_ids)
    assert finished.dropped_turns > 0
    assert read.startswith("<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nquestion")
    assert f"question {finished.dropped_turns}<" in read
    assert f"question {finished.dropped_turns - 1}<" not in read
    assert read.count("user\n") == 13 - finished.dropped_turns
    assert "the last question" in read
    assert finished.prompt_tokens <= 300, "room for an answer is a quarter of the context"


def test_the_question_stays_however_long_it_is():
    model = fake.FakeModel("x", max_seq_len=400)
    _, finished, _ = run(model, chat("Hi", "Hello", "q" * 350))
    assert finished.dropped_turns == 1
    assert "q" * 350 in model.tokenizer.decode(model.cached_ids)
    with pytest.raises(ContextFullError):
        run(model, chat("Hi", "Hello", "q" * 400))


def test_as_many_turns_go_as_have_to_where_their_tokens_were_guessed_to_be_more():
    model = fake.FakeModel("x", max_seq_len=400)
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    model.chat_format = fake.choose_format(fake.Metadata({**fake.METADATA, "tokenizer.chat_template": template}), "x")
    _, finished, _ = run(model, chat(*["?", "!"] * 200, "last?"))
    assert (finished.prompt_tokens, finished.dropped_turns) == (300, 53)
    assert model.tokenizer.decode(model.cached_ids).startswith("<s>" + "?!" * 147 + "last?")


def test_a_conversation_that_has_to_stay_whole_is_refused_instead():
    model = fake.FakeModel("x", max_seq_len=400)
    turns = [text for i in range(12) for text in (f"question {i}", f"answer {i}")]
    with pytest.raises(ContextFullError):
        run(model, msgspec.structs.replace(chat(*turns, "the last question"), whole=True))
    prompt = msgspec.structs.replace(chat("q" * 230, "a" * 50, "last"), whole=True)
    _, finished, _ = run(model, prompt)
    assert finished.prompt_tokens > 300, "room for an answer is the client's affair"


def test_the_turns_go_in_steps_so_that_the_next_prompt_finds_its_beginning_cached():
    model = fake.FakeModel("ok", max_seq_len=1000)
    turns = [text for i in range(25) for text in (f"question {i}", "ok")]
    dropped, reused = [], []
    for n in range(12, 25):
        _, finished, _ = run(model, chat(*turns[: 2 * n], "last?", system="Be kind."))
        dropped.append(finished.dropped_turns)
        reused.append(finished.reused_tokens)
    kept_prefix = [n for n, before, after in zip(reused[1:], dropped, dropped[1:], strict=False) if before == after]
    assert dropped == sorted(dropped)
    assert dropped[-1] > 0
    assert len(set(dropped)) <= 4
    assert min(kept_prefix) > 200


@pytest.mark.parametrize("n_before", [10, 110, 180])
def test_an_answer_that_goes_on_keeps_the_turns_that_it_had(n_before: int):
    model = fake.FakeModel("x" * 1000, max_seq_len=400)
    prompt = chat(*["q" * 10, "a" * 10] * 3, "last", answer_ids=[ord("x")] * n_before)
    n_prompt = len(model.chat_format.encode(model.tokenizer, prompt.messages))
    assert 400 * 3 / 4 - 180 < n_prompt < 400 - 180
    assert run(model, prompt)[1].dropped_turns == 0


def test_an_answer_that_fills_the_context_goes_on_without_the_oldest_turns():
    model = fake.FakeModel("x" * 1000, max_seq_len=400)
    turns = [*["q" * 10, "a" * 10] * 3, "last"]
    n_prompt = len(model.chat_format.encode(model.tokenizer, chat(*turns).messages))
    _, finished, _ = run(model, chat(*turns, answer_ids=[ord("x")] * (400 - n_prompt)))
    assert finished.dropped_turns > 0
    assert finished.generated_tokens > 0


def test_a_short_answer_asks_for_little_room():
    model = fake.FakeModel("x", max_seq_len=400)
    turns = ["q" * 10, "a" * 10] * 8
    n_tokens = len(model.chat_format.encode(model.tokenizer, chat(*turns, "last").messages))
    assert 400 * 3 / 4 < n_tokens < 395
    short = Sampling(temperature=0, max_new_tokens=5)
    assert run(model, chat(*turns, "last"), sampling=short)[1].dropped_turns == 0
    assert run(model, chat(*turns, "last"))[1].dropped_turns > 0
