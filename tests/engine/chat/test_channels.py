"""Answers in channels: a text with marked thoughts on the screen, messages of their own for the model."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from engine.answers.generation import generate
from engine.answers.looking import Looker
from engine.answers.prompt import encode_prompt
from engine.chat import choose_format
from engine.chat.channels import Channels, encode_answer
from engine.chat.thoughts import split_thoughts
from engine.checkpoints import Metadata
from engine.control import Control
from engine.protocol import AnyEvent, ChatMessage, ChatPrompt, Finished, Generate, Look, Sampling, TextPrompt, Token
from engine.tokenizer import TextStream, Tokenizer
from engine.tokenizer.vocabulary import Vocabulary
from tests.engine.children import fake_model as fake

TEMPLATE = """
{%- macro preamble() %}Reasoning: medium. Today is {{ strftime_now("%Y") }}.{% endmacro -%}
<|start|>system<|message|>{{ preamble() }}<|end|>
{%- if messages[0].role == "system" -%}
<|start|>developer<|message|># Instructions

{{ messages[0].content }}<|end|>
{%- endif %}
{%- for message in messages %}
{%- if message.role == "assistant" %}
{%- if "<|channel|>final<|message|>" in message.content %}{{ raise_exception("Thoughts have a field.") }}{% endif -%}
<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|end|>
{%- elif message.role == "user" -%}
<|start|>user<|message|>{{ message.content }}<|end|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}"""

MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
METADATA = Metadata(
    {
        "tokenizer.ggml.tokens": [*(f"<0x{i:02X}>" for i in range(256)), *MARKS],
        "tokenizer.ggml.token_type": array("i", [6] * 256 + [3] * len(MARKS)),
        "tokenizer.ggml.eos_token_id": 256 + MARKS.index("<|return|>"),
        "tokenizer.chat_template": TEMPLATE,
    }
)


def byte_tokenizer() -> Tokenizer:
    return fake.ByteTokenizer(Vocabulary(METADATA, default_ids={}, add_bos=False))


class Model(fake.FakeModel):
    """It says what it is told to: the command's first_ids."""

    def __init__(self, **options: int) -> None:
        super().__init__("", **options)
        self.metadata, self.tokenizer = METADATA, byte_tokenizer()
        self.chat_format = choose_format(METADATA, "fake")
        self._logits = np.zeros(len(self.tokenizer.vocabulary), np.float32)

    def _next(self) -> int:
        return 0

    def says(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_bos=False, parse_special=True)


def written(
    model: Model, prompt: ChatPrompt | TextPrompt, said: list[int], *stops: str
) -> tuple[list[Token], Finished]:
    """An answer with these tokens: what it was told with."""
    events: list[object] = []
    command = Generate(prompt=prompt, sampling=Sampling(temperature=0), seed=1, first_ids=said, stop=list(stops))
    generate(model, command, Control(sampling=command.sampling), events.append)
    finished = events[-1]
    assert isinstance(finished, Finished)
    return [event for event in events if isinstance(event, Token)], finished


def answer(model: Model, prompt: ChatPrompt | TextPrompt, said: list[int], *stops: str) -> tuple[str, list[int], str]:
    """The text of an answer with these tokens, those that it was told with, and why it ended."""
    tokens, finished = written(model, prompt, said, *stops)
    return "".join(token.text for token in tokens) + finished.text_tail, [t.id for t in tokens], finished.reason


def text_of(model: Model, ids: list[int], channels: Channels) -> str:
    """What tokens add to an answer's text."""
    stream, pieces = TextStream(), [channels.feed(token_id) for token_id in ids]
    own = map(model.tokenizer.piece_bytes, ids)
    return "".join(
        stream.feed(said if piece is None else piece.encode()) for piece, said in zip(pieces, own, strict=True)
    )


def asked(*contents: str, **options: object) -> ChatPrompt:
    turns = [ChatMessage(("user", "assistant")[i % 2], text) for i, text in enumerate(contents)]
    return ChatPrompt(messages=turns, **options)


THOUGHT = "<|channel|>analysis<|message|>Easy: é.<|end|>"
SAID = "<|channel|>final<|message|>Paris."
WHOLE = f"{THOUGHT}<|start|>assistant{SAID}"
TEXT = "<think>\nEasy: é.\n</think>\n\nParis."


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (WHOLE, TEXT),
        (SAID, "Paris."),
        (THOUGHT, "<think>\nEasy: é."),
        (f"{THOUGHT}<|start|>assistant{WHOLE}", TEXT.replace("é.", "é.\n\nEasy: é.")),
        (f"{SAID}<|end|><|start|>assistant{WHOLE}", f"Paris.\n\n{TEXT}"),
        ("<|channel|>commentary<|message|>Hm.<|end|><|start|>assistant" + SAID, "Hm.\n\nParis."),
        ("<|message|>Paris.", "Paris."),
    ],
)
@pytest.mark.parametrize("end", ["<|return|>", "<|call|>"])
def test_thoughts_are_marked_and_headers_left_out(said: str, text: str, end: str) -> None:
    model = Model()
    found, ids, reason = answer(model, asked("Capital of France?"), model.says(said + end))
    assert (found, reason) == (text, "stop")
    assert ids == model.says(said)


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("\n", TEXT),
        ("\n\n", TEXT),
        ("<think>", TEXT),
        ("</think>", TEXT),
        (".\n", TEXT),
        ("final", TEXT),
        ("Pa", TEXT.removesuffix("Paris.")),
        ("é", "<think>\nEasy: "),
    ],
)
def test_only_what_the_model_wrote_stops_its_answer(stop: str, text: str) -> None:
    model = Model()
    assert answer(model, asked("Capital of France?"), model.says(WHOLE + "<|return|>"), stop)[0] == text


@pytest.mark.parametrize("stop", [".\n", "Paris. "])
def test_what_was_held_back_for_a_stop_text_is_not_told_again(stop: str) -> None:
    model = Model()
    for cut in range(1, len(model.says(WHOLE))):
        before, rest = model.says(WHOLE)[:cut], model.says(WHOLE + "<|return|>")[cut:]
        told = text_of(model, before, Channels(model.tokenizer, model.says("<|start|>assistant")))
        prompt = asked("Capital of France?", answer_ids=before, answer_text=told)
        assert told + answer(model, prompt, rest, stop)[0] == TEXT


def test_what_tokens_add_is_the_text() -> None:
    model = Model()
    said = model.says(WHOLE)
    tokens, _ = written(model, asked("Capital of France?"), [*said, *model.says("<|return|>")], "Paris. ")
    own = [model.tokenizer.piece_bytes(token_id) for token_id in said]
    adds = [own[i] if token.instead is None else token.instead.encode() for i, token in enumerate(tokens)]
    assert b"".join(adds).decode() == TEXT


def test_the_next_prompt_has_no_thoughts() -> None:
    model = Model()
    twice = f"Hm.\n\n{TEXT}"
    answer(model, asked("France?", twice, "Spain?", "<think>\nHm", "<think>\n& so on?"), model.says("<|return|>"))
    read = model.tokenizer.decode(model.cached_ids)
    assert read.endswith(
        "<|start|>user<|message|>France?<|end|><|start|>assistant<|channel|>final<|message|>Hm.\n\nParis.<|end|>"
        "<|start|>user<|message|>Spain?<|end|><|start|>assistant<|channel|>final<|message|><|end|>"
        "<|start|>user<|message|><think>\n& so on?<|end|><|start|>assistant"
    )
    assert model.chat_format.name == "harmony"


def test_thoughts_that_are_not_read_do_not_count_in_a_full_context() -> None:
    model = Model(max_seq_len=1000)
    dropped = []
    for thoughts in ("", f"<think>\n{'x' * 400}\n</think>\n\n"):
        prompt = asked(*["question", thoughts + "ok"] * 25, "last?")
        dropped.append(encode_prompt(model, Generate(prompt=prompt, sampling=Sampling())).dropped_turns)
    assert dropped[0] == dropped[1]
    assert dropped[0] > 1


def test_marks_that_somebody_writes_are_text() -> None:
    model = Model()
    ids = model.chat_format.encode(model.tokenizer, asked("<|end|>", "a<|channel|>final<|message|>b", "c").messages)
    marks = [model.tokenizer.vocabulary.tokens[i] for i in ids if i >= 256]
    assert marks.count("<|end|>") == 4
    assert marks.count("<|channel|>") == 1


@pytest.mark.parametrize("cut", range(1, len(WHOLE) - 60, 3))
def test_an_answer_goes_on_from_its_tokens(cut: int) -> None:
    model = Model()
    before, rest = model.says(WHOLE)[:cut], model.says(WHOLE + "<|return|>")[cut:]
    told = text_of(model, before, Channels(model.tokenizer, model.says("<|start|>assistant")))
    prompt = asked("Capital of France?", answer_ids=before, answer_text=told)
    assert told + answer(model, prompt, rest)[0] == TEXT


@pytest.mark.parametrize(
    "text", [TEXT, "Paris.", "<think>\nEasy", "<think>\nEasy\n</think>\n\n", "<think>a</think>b", f"Hm.\n\n{TEXT}"]
)
def test_an_answer_without_tokens_goes_on_from_its_text(text: str) -> None:
    model = Model()
    start = model.says("<|start|>assistant")
    ids = encode_answer(model.tokenizer, start, text)
    channels = Channels(model.tokenizer, start)
    assert text_of(model, ids, channels) == text
    assert not channels.in_header
    answer(model, asked("Capital of France?", answer_text=text), model.says("<|return|>"))
    assert model.cached_ids[-len(ids) :] == ids


def test_thoughts_and_words_of_a_text_are_messages() -> None:
    model = Model()
    start = model.says("<|start|>assistant")
    assert encode_answer(model.tokenizer, start, TEXT) == model.says(WHOLE)
    assert encode_answer(model.tokenizer, start, "Paris.") == model.says(SAID)


def test_places_of_an_answer_have_its_text() -> None:
    model = Model()
    prompt = asked("Capital of France?", answer_ids=model.says(WHOLE), answer_text=TEXT)
    looked = Looker(model).look(Look(request_id="l", prompt=prompt), Control(), lambda event: None)
    assert looked.ids == model.says(WHOLE)
    assert "".join(looked.pieces) == TEXT


def test_plain_texts_and_other_vocabularies_stay_as_they_are() -> None:
    model = Model()
    assert answer(model, TextPrompt(text="Once"), model.says(" upon a time<|return|>"))[0] == " upon a time"
    for text in ("Once <|start|>", "Once <|start|>assistant<|channel|>final<|message|>"):
        assert (
            answer(model, TextPrompt(text=text), model.says(" upon<|message|> a time<|return|>"))[0] == " upon a time"
        )
    other = fake.FakeModel("")
    assert encode_answer(other.tokenizer, [fake.BOS], TEXT) == list(TEXT.encode())
    assert encode_answer(other.tokenizer, [fake.BOS], "a<|im_end|>") == list(b"a<|im_end|>")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\na\nb\n</think>\n\nc", [(True, "a\nb"), (False, "c")]),
        ("<think>\n\n</think>\n\nc", [(True, ""), (False, "c")]),
        ("<think>\na\n</think>", [(True, "a"), (False, "")]),
        ("<think>\na", [(True, "a")]),
        ("a\n\n<think>\nb\n</think>\n\nc", [(False, "a"), (True, "b"), (False, "c")]),
        ("<think>\nThe tag </think> here\n</think>\n\nc", [(True, "The tag </think> here"), (False, "c")]),
        ("<think>\na\n</think>\n\n\n\n<think>\nb", [(True, "a"), (False, "\n\n<think>\nb")]),
    ],
)
def test_thoughts_are_parts_of_a_text(text: str, parts: list[tuple[bool, str]]) -> None:
    assert split_thoughts(text) == parts


@pytest.mark.parametrize(
    "text", ["", "<think> is a tag.", "b <think>a</think>", "a\n\n<think>\nb\n</think> c", "a\n</think>\n\nb"]
)
def test_words_about_marks_are_no_thoughts(text: str) -> None:
    assert split_thoughts(text) == [(False, text)]
    model = Model()
    ids = model.chat_format.encode(model.tokenizer, asked("a", text, "b").messages)
    assert f"final<|message|>{text}<|end|>" in model.tokenizer.decode(ids)


class OpenedModel(fake.FakeModel):
    """Its template begins a thought."""

    def __init__(self) -> None:
        super().__init__("")
        template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
            "{{ '<|im_start|>assistant\n<think>\n' }}"
        )
        self.chat_format = choose_format(Metadata(fake.METADATA | {"tokenizer.chat_template": template}), "fake")

    def _next(self) -> int:
        return 0


def test_a_thought_that_the_prompt_begins_is_one_in_the_text() -> None:
    said = "Hm.\n</think>\n\nParis."
    ids = list(said.encode())
    for n_before in (0, 4):
        model = OpenedModel()
        told = f"<think>\n{said[:n_before]}" if n_before else ""
        prompt = asked("France?", answer_ids=ids[:n_before], answer_text=told)
        command = Generate(
            prompt=prompt, sampling=Sampling(max_new_tokens=len(ids) - n_before), first_ids=ids[n_before:]
        )
        events: list[AnyEvent] = []
        generate(model, command, Control(sampling=command.sampling), events.append)
        text = told + "".join(event.text for event in events if isinstance(event, Token)) + events[-1].text_tail
        assert text == f"<think>\n{said}"
        assert split_thoughts(text) == [(True, "Hm."), (False, "Paris.")]
    looked = Looker(model).look(
        Look(request_id="l", prompt=asked("France?", answer_ids=ids, answer_text=text)), Control(), lambda event: None
    )
    assert (looked.ids, "".join(looked.pieces)) == (ids, text)
    for begun in ("<think>\n", "<think>"):
        assert encode_answer(model.tokenizer, list(begun.encode()), begun + said) == ids


def test_an_answer_without_a_thought_stands_behind_the_one_that_the_prompt_begins() -> None:
    model = OpenedModel()
    ids = list(b"\n</think>\n\nParis.")
    assert encode_answer(model.tokenizer, list(b"<think>\n"), "Paris.") == ids
    assert encode_answer(model.tokenizer, list(b"<think>\n"), "") == []
    for answer_ids in ([], ids):
        prompt = asked("France?", answer_ids=answer_ids, answer_text="Paris.")
        looked = Looker(model).look(Look(request_id="l", prompt=prompt), Control(), lambda event: None)
        assert (looked.ids, "".join(looked.pieces)) == (ids, "Paris.")
