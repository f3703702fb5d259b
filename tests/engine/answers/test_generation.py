"""Generation with a model whose answer is known beforehand."""

import math

import pytest

from engine.answers import generation, speculation
from engine.control import Control
from engine.errors import ContextFullError, EngineError, TemplateError
from engine.protocol import (
    AnyEvent,
    ChatMessage,
    PromptProgress,
    Sampling,
    TextPrompt,
    Token,
    TokenPrompt,
)
from engine.turns import split_turns
from tests.engine.answers.running import chat, run, tokens
from tests.engine.children import fake_model as fake

BOS, IM_END = fake.BOS, fake.IM_END


@pytest.fixture
def told_one_by_one(monkeypatch):
    """Every token is told before the next one is chosen, however fast they come."""
    monkeypatch.setattr(generation, "TOLD_TOGETHER_S", 0.0)


def test_an_answer_is_told_token_by_token_up_to_the_end_of_the_turn():
    text, finished, events = run(fake.FakeModel("Paris."))
    assert text == "Paris."
    assert [event.text for event in tokens(events)] == list("Paris.")
    assert (finished.reason, finished.generated_tokens, finished.prompt_tokens) == ("stop", 6, 1)
    expected = 8 - math.log(math.exp(8) + fake.VOCAB_SIZE - 1)
    assert [event.logprob for event in tokens(events)] == pytest.approx([expected] * 6, abs=1e-5)
    assert finished.first_token_ms > 0
    assert finished.prompt_ms >= 0
    assert finished.generate_ms >= 0
    assert finished.seed == 1


def test_the_chat_format_makes_the_prompt_and_its_stop_texts_end_the_answer():
    model = fake.FakeModel("Paris.<|im_end|>and more")
    text, finished, _ = run(model, chat("Capital of France?", system="Be brief."))
    assert (text, finished.reason) == ("Paris.", "stop")
    read = model.tokenizer.decode(model.cached_ids)
    assert read.startswith(
        "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCapital of France?<|im_end|>\n"
    )


def test_another_chat_format_can_be_chosen_and_a_wrong_name_is_told():
    model = fake.FakeModel("x")
    run(model, chat("Hello", template="alpaca"), sampling=Sampling(temperature=0, max_new_tokens=1))
    assert "### Instruction:\nHello" in model.tokenizer.decode(model.cached_ids)
    with pytest.raises(TemplateError, match="no chat format 'nonsense'"):
        run(model, chat("Hello", template="nonsense"))


def test_a_template_that_fails_gives_way_with_a_note():
    model = fake.FakeModel("x")
    metadata = fake.Metadata({**fake.METADATA, "tokenizer.chat_template": "{{ raise_exception('No!') }}"})
    model.chat_format = fake.choose_format(metadata, "fake")
    _, finished, _ = run(model, chat("Hello"))
    assert "No!" in finished.note
    assert "chatml took its place" in finished.note


def test_characters_and_the_ends_of_stop_texts_wait_until_they_are_whole():
    text, _, events = run(fake.FakeModel("é€😀 STO STOP no"), stop=["STOP"])
    assert [event.text for event in tokens(events)] == [
        "", "é", "", "", "€", "", "", "", "😀", " ", "", "", "", "STO ", "", "", "", "",
    ]  # fmt: skip
    assert text == "é€😀 STO "


def test_a_stop_text_split_over_tokens_ends_the_answer_before_itself():
    text, finished, events = run(fake.FakeModel("one\nUser: two"), stop=["\nUser:", ""])
    assert (text, finished.reason) == ("one", "stop")
    assert "".join(event.text for event in tokens(events)) == "one"


def test_what_was_held_back_comes_out_at_the_end_but_half_a_character_only_where_the_model_ended():
    assert run(fake.FakeModel(b"ok\xc3"), stop=["okay"])[0] == "ok\ufffd"
    short = Sampling(temperature=0, max_new_tokens=2)
    assert run(fake.FakeModel("oé"), sampling=short)[0] == "o"
    text, finished, _ = run(fake.FakeModel("ok, no"), stop=["okay"], sampling=short)
    assert (text, finished.text_tail) == ("ok", "ok")


@pytest.mark.parametrize(("most", "text"), [(0, ""), (1, "P"), (3, "Par")])
def test_max_new_tokens_counts_new_ones_only(most: int, text: str):
    said, finished, _ = run(fake.FakeModel("Paris."), sampling=Sampling(temperature=0, max_new_tokens=most))
    assert (said, finished.reason, finished.generated_tokens) == (text, "length", most)


def test_ignoring_the_end_goes_on_to_the_context_s_end():
    model = fake.FakeModel("Paris.", max_seq_len=20)
    text, finished, events = run(model, ignore_eos=True)
    assert text == "Paris."
    assert (finished.reason, finished.generated_tokens) == ("length", 20)
    assert tokens(events)[6].id == IM_END
    assert len(model.cached_ids) == 20


def test_the_prompt_is_read_in_batches_and_told():
    model = fake.FakeModel("x", batch_size=16)
    _, finished, events = run(model, TextPrompt(text="a" * 40))
    assert model.batches[:3] == [(0, 16), (16, 16), (32, 9)]
    progress = [(event.done, event.total, event.reused) for event in events if isinstance(event, PromptProgress)]
    assert progress == [(0, 41, 0), (16, 41, 0), (32, 41, 0), (41, 41, 0)]
    assert finished.prompt_tokens == 41, "BOS was added, as the model wants it"


def test_special_tokens_in_a_plain_text_are_parsed():
    model = fake.FakeModel("x")
    run(model, TextPrompt(text="a<|im_end|>"), sampling=Sampling(temperature=0, max_new_tokens=1))
    assert model.cached_ids[:3] == [BOS, ord("a"), IM_END]


def test_what_the_cache_holds_is_not_read_again():
    model = fake.FakeModel("Hi.")
    first = chat("Hello")
    run(model, first)
    model.batches.clear()
    _, finished, _ = run(model, chat("Hello", "Hi.", "And?"))
    n_first = len(model.chat_format.encode(model.tokenizer, first.messages))
    assert finished.reused_tokens == n_first + 3
    assert model.batches[0][0] == n_first + 3
    _, again, _ = run(model, chat("Hello", "Hi.", "And?"))
    assert again.reused_tokens == again.prompt_tokens - 1, "the last token is read for its logits"
    _, fresh, _ = run(model, chat("Hello", "Hi.", "And?"), reuse=False)
    assert fresh.reused_tokens == 0


@pytest.mark.usefixtures("told_one_by_one")
def test_stopping_keeps_what_was_written():
    def stop_at_three(event: AnyEvent, control: Control) -> None:
        if isinstance(event, Token) and event.id == ord("r"):
            control.stopped = True

    text, finished, _ = run(fake.FakeModel("Paris."), on_event=stop_at_three)
    assert (text, finished.reason, finished.generated_tokens) == ("Par", "stopped", 3)


def test_stopping_while_the_prompt_is_read_takes_effect_after_the_batch():
    model = fake.FakeModel("x", batch_size=16)

    def stop_at_once(event: AnyEvent, control: Control) -> None:
        control.stopped = control.stopped or (isinstance(event, PromptProgress) and event.done == 16)

    text, finished, _ = run(model, TextPrompt(text="a" * 40), on_event=stop_at_once)
    assert (text, finished.reason, finished.first_token_ms) == ("", "stopped", 0)
    assert model.batches == [(0, 16)]


@pytest.mark.usefixtures("told_one_by_one")
def test_new_settings_hold_from_the_next_token_on():
    def retune(event: AnyEvent, control: Control) -> None:
        if isinstance(event, Token) and event.id == ord("r"):
            control.sampling = Sampling(temperature=0, max_new_tokens=4)

    assert run(fake.FakeModel("Paris."), on_event=retune)[0] == "Pari"


class PacedModel(fake.FakeModel):
    """On a clock of its own, every evaluation takes as long as it is told to; one of them may fail."""

    def __init__(self, script: str, token_s: float, fails_at: int = -1) -> None:
        super().__init__(script)
        self.token_s, self.fails_at, self.now_s = token_s, fails_at, 100.0

    def monotonic(self) -> float:
        return self.now_s

    perf_counter = monotonic

    def evaluate_each(self, ids, pos):
        before_s = self.now_s
        rows = super().evaluate_each(ids, pos)
        self.now_s = before_s + self.token_s
        return rows

    def evaluate(self, ids, pos):
        if len(self.batches) == self.fails_at:
            raise ContextFullError(1, 0)
        self.now_s += self.token_s
        return super().evaluate(ids, pos)


@pytest.mark.parametrize(
    ("token_s", "stop", "told_after"),
    [
        (0.03, [], [1, 2, 3, 4, 5, 6]),
        (0.009, [], [1, 3, 3, 5, 5, 7]),
        (0.009, ["\n"], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_tokens_that_come_fast_are_told_together_unless_one_may_be_the_last(monkeypatch, token_s, stop, told_after):
    model = PacedModel("Paris.", token_s)
    monkeypatch.setattr(generation, "time", model)
    monkeypatch.setattr(speculation, "time", model)
    evaluations = []

    def note(event: AnyEvent, control: Control) -> None:
        if isinstance(event, Token):
            evaluations.append(len(model.batches))

    text, finished, _ = run(model, on_event=note, stop=stop, speculate=False)
    assert (text, evaluations) == ("Paris.", told_after)
    assert finished.generate_ms == pytest.approx(5000 * token_s)


def test_guesses_that_came_true_are_told_before_a_long_evaluation(monkeypatch):
    model = PacedModel("one two one two one two one two", token_s=0.25)
    monkeypatch.setattr(generation, "time", model)
    monkeypatch.setattr(speculation, "time", model)
    told_before = []

    def evaluate_each(ids, pos):
        told_before.append((pos, len(told)))
        return PacedModel.evaluate_each(model, ids, pos)

    told = []
    monkeypatch.setattr(model, "evaluate_each", evaluate_each)
    _, finished, _ = run(model, on_event=lambda event, control: told.extend(tokens([event])))
    assert finished.right_guesses > 5
    # What stands behind the prompt's one token was chosen by then.
    assert all(n_told == pos for pos, n_told in told_before)


def test_tokens_are_told_before_what_goes_wrong_after_them(monkeypatch):
    model = PacedModel("Paris.", token_s=0.001, fails_at=4)
    monkeypatch.setattr(generation, "time", model)
    told = []
    with pytest.raises(ContextFullError):
        run(model, on_event=lambda event, control: told.append(event), speculate=False)
    assert "".join(event.text for event in tokens(told)) == "Pari"


def test_an_interrupted_answer_goes_on_as_it_would_have():
    hot = Sampling(temperature=6.0, top_k=0, top_p=1.0, min_p=0.0, max_new_tokens=40)
    _, whole, events = run(fake.FakeModel("x" * 100), chat("Go"), sampling=hot, seed=99)
    ids = [event.id for event in tokens(events)]
    assert whole.generated_tokens == 40
    assert len(set(ids)) > 5
    prompt = chat("Go", answer_ids=ids[:15])
    rest = Sampling(temperature=6.0, top_k=0, top_p=1.0, min_p=0.0, max_new_tokens=25)
    _, _, events = run(fake.FakeModel("x" * 100), prompt, sampling=rest, seed=99)
    assert [event.id for event in tokens(events)] == ids[15:]


@pytest.mark.parametrize("n_before", range(0, 15))
def test_text_goes_on_after_that_of_the_answer_so_far(n_before: int):
    answer = "né\nUser no\nUser: x".encode()
    before = answer[:n_before]
    text, finished, _ = run(fake.FakeModel(answer), chat("Go", answer_ids=list(before)), stop=["\nUser:"])
    told = before.decode(errors="ignore")
    assert told + text == ("né\nUser no" if n_before <= 11 else told), "nothing follows the beginning of a stop text"
    assert finished.reason == "stop"


def test_a_seed_is_picked_and_told_where_none_is_given():
    seeds = {run(fake.FakeModel("x"), seed=None)[1].seed for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 1 << 32 for seed in seeds)


def test_candidates_and_leading_log_probabilities_are_told_on_request():
    _, _, events = run(fake.FakeModel("a"), n_top=2, n_candidates=3)
    token = tokens(events)[0]
    assert [top.id for top in token.top] == [ord("a"), 0]
    assert token.top[0].logprob == token.logprob
    assert [(c.id, c.sampler_p) for c in token.candidates] == [(ord("a"), 1.0), (0, 0.0), (1, 0.0)]
    assert token.candidates[0].text == "a"
    assert token.candidates[0].model_p == pytest.approx(math.exp(token.logprob))
    _, _, events = run(fake.FakeModel("a"))
    assert (tokens(events)[0].top, tokens(events)[0].candidates) == ([], [])


def test_candidates_come_no_more_often_than_asked():
    _, _, events = run(fake.FakeModel("abc"), n_candidates=3)
    assert [len(token.candidates) for token in tokens(events)] == [3, 3, 3]
    _, _, events = run(fake.FakeModel("abc"), n_candidates=3, candidates_every_ms=3_600_000)
    assert [len(token.candidates) for token in tokens(events)] == [3, 0, 0]


@pytest.mark.parametrize("prompt", [TokenPrompt(ids=[]), TokenPrompt(ids=[259]), TokenPrompt(ids=[-1])])
def test_tokens_that_do_not_exist_never_reach_the_model(prompt: TokenPrompt):
    model = fake.FakeModel("x")
    with pytest.raises(EngineError, match=r"prompt is empty|does not exist"):
        run(model, prompt)
    with pytest.raises(EngineError, match="does not exist"):
        run(model, chat("Go", answer_ids=[1000]))
    assert model.batches == []


def test_a_vocabulary_alone_does_not_answer():
    model = fake.FakeModel("x")
    model.transformer = None
    with pytest.raises(EngineError, match="Only the vocabulary"):
        run(model)


def test_turns_begin_with_the_user_and_what_came_before_belongs_to_the_first():
    def message(mark: str) -> ChatMessage:
        return ChatMessage({"s": "system", "u": "user", "a": "assistant"}[mark], mark)

    def split(marks: str) -> tuple[str, list[str]]:
        system, turns = split_turns([message(mark) for mark in marks])
        return "".join(m.content for m in system), ["".join(m.content for m in turn) for turn in turns]

    assert split("suauau") == ("s", ["ua", "ua", "u"])
    assert split("auau") == ("", ["aua", "u"])
    assert split("sua" + "sua") == ("s", ["uas", "ua"])
    assert split("uu") == ("", ["u", "u"])
    assert split("ss") == ("ss", [])
    assert split("") == ("", [])
