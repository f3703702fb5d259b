"""Thoughts between two tokens: a text with marked thoughts on the screen, the two tokens for the model."""

from __future__ import annotations

from array import array

import pytest

from engine.answers.generation import AnswerText
from engine.answers.looking import Looker
from engine.chat import choose_format
from engine.chat.channels import channels_of, encode_answer
from engine.checkpoints import Metadata
from engine.control import Control
from engine.protocol import ChatMessage, ChatPrompt, Look
from engine.tokenizer import TextStream, Tokenizer
from engine.tokenizer.vocabulary import Vocabulary
from tests.engine.children import fake_model as fake

TEMPLATE = """
{%- macro spoken(text) -%}
{%- for part in text.split("<channel|>") -%}{{ part.split("<|channel>")[0] }}{%- endfor -%}
{%- endmacro -%}
{{ bos_token }}
{%- for message in messages -%}
<|turn>{{ "model" if message.role == "assistant" else message.role }}
{{ spoken(message.content) }}<turn|>
{% endfor -%}
{%- if add_generation_prompt %}<|turn>model
{% if not enable_thinking %}<|channel>thought
<channel|>{% endif %}{% endif %}"""

TYPES = {"<bos>": 3, "<|turn>": 3, "<turn|>": 3, "<|channel>": 4, "<channel|>": 4}
METADATA = Metadata(
    {
        "tokenizer.ggml.tokens": [*(f"<0x{i:02X}>" for i in range(256)), *TYPES],
        "tokenizer.ggml.token_type": array("i", [*([6] * 256), *TYPES.values()]),
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.chat_template": TEMPLATE,
    }
)

PROMPT = "<bos><|turn>user\nFrance?<turn|>\n<|turn>model\n"
SAID = "<|channel>thought\nEasy: é.<channel|>Paris."
TEXT = "<think>\nEasy: é.\n</think>\n\nParis."


@pytest.fixture
def tokenizer() -> Tokenizer:
    return fake.ByteTokenizer(Vocabulary(METADATA, default_ids={}, add_bos=True))


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_bos=False, parse_special=True)


def text_of(tokenizer: Tokenizer, prompt: str, ids: list[int]) -> str:
    """What an answer's tokens add to its text."""
    stream, channels = TextStream(), channels_of(tokenizer, ids_of(tokenizer, prompt))
    pieces = []
    for token_id in ids:
        instead = channels.feed(token_id)
        pieces.append(stream.feed(tokenizer.piece_bytes(token_id) if instead is None else instead.encode()))
    return "".join(pieces)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (SAID, TEXT),
        ("Paris.", "Paris."),
        ("<|channel>thought\n<channel|>Paris.", "<think>\n\n</think>\n\nParis."),
        ("<|channel>thought<channel|>Paris.", "Paris."),
        ("<|channel>thought\nEas", "<think>\nEas"),
        ("<|channel>tho", ""),
        (f"Hm.{SAID}", f"Hm.\n\n{TEXT}"),
        ("Pa<channel|>ris.", "Paris."),
        ("<|channel>final\nParis.", "final\nParis."),
        ("<|channel>thin<channel|>Paris.", "thinParis."),
        ("<|channel>tho<|channel>thought\nEasy: é.<channel|>Paris.", f"tho\n\n{TEXT}"),
        ("<|channel>thought\nHm.<|channel>thought\nEasy: é.<channel|>Paris.", f"<think>\nHm.\n</think>\n\n\n\n{TEXT}"),
    ],
)
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT + "<|channel>thought\n<channel|>", f"<bos>{SAID}"])
def test_thoughts_are_marked(tokenizer: Tokenizer, prompt: str, said: str, text: str) -> None:
    assert text_of(tokenizer, prompt, ids_of(tokenizer, said)) == text


def test_a_prompt_may_end_in_a_thought(tokenizer: Tokenizer) -> None:
    prompt, ids = PROMPT + "<|channel>thought\n", ids_of(tokenizer, "Easy: é.<channel|>Paris.")
    assert channels_of(tokenizer, ids_of(tokenizer, prompt)).opening + text_of(tokenizer, prompt, ids) == TEXT
    assert encode_answer(tokenizer, ids_of(tokenizer, prompt), TEXT) == ids
    assert channels_of(tokenizer, ids_of(tokenizer, PROMPT)).opening == ""


def answer_text(tokenizer: Tokenizer, prompt: str, said: str, *, ended: bool = True) -> str:
    """The text of an answer as it is told, to its end."""
    ids = ids_of(tokenizer, said)
    text = AnswerText(tokenizer, channels_of(tokenizer, ids_of(tokenizer, prompt)), ["STOP"], [])
    return "".join([*map(text.feed, ids), text.end(keep_halves=ended)])


def test_a_thought_that_the_prompt_has_begun_may_end_at_once(tokenizer: Tokenizer) -> None:
    said = f"<channel|>Paris.{SAID}"
    text = f"<think>\n\n</think>\n\nParis.\n\n{TEXT}"
    assert answer_text(tokenizer, PROMPT + "<|channel>thought\n", said) == text


def test_half_a_character_before_a_mark_is_told(tokenizer: Tokenizer) -> None:
    ids = [*ids_of(tokenizer, "<|channel>thought\nEasy"), 0xC3, *ids_of(tokenizer, "<channel|>Paris.")]
    text = AnswerText(tokenizer, channels_of(tokenizer, ids_of(tokenizer, PROMPT)), [], [])
    told = "".join(map(text.feed, ids))
    assert told == "<think>\nEasy\N{REPLACEMENT CHARACTER}\n</think>\n\nParis."
    assert told == text_of(tokenizer, PROMPT, ids)


@pytest.mark.parametrize(("ended", "text"), [(True, "tho"), (False, "")])
def test_what_may_be_a_thoughts_beginning_is_text_once_the_model_has_ended(
    tokenizer: Tokenizer, ended: bool, text: str
) -> None:
    assert answer_text(tokenizer, PROMPT, "<|channel>tho", ended=ended) == text
    assert answer_text(tokenizer, PROMPT, "<|channel>Paris is the capital.", ended=ended) == "Paris is the capital."


def test_places_of_an_answer_that_ends_like_a_thoughts_beginning_have_its_tokens(tokenizer: Tokenizer) -> None:
    model = fake.FakeModel("")
    model.metadata, model.tokenizer, model.chat_format = METADATA, tokenizer, choose_format(METADATA, "fake")
    ids = ids_of(tokenizer, "Paris<|channel>tho")
    prompt = ChatPrompt(messages=[ChatMessage("user", "France?")], answer_ids=ids, answer_text="Paristho")
    looked = Looker(model).look(Look(request_id="l", prompt=prompt), Control(), lambda event: None)
    assert (looked.ids, "".join(looked.pieces)) == (ids, "Paristho")


@pytest.mark.parametrize("text", [TEXT, "Paris.", "<think>\nEasy", "<think>\nEasy\n</think>\n\n", f"Hm.\n\n{TEXT}"])
def test_an_answer_without_tokens_goes_on_from_its_text(tokenizer: Tokenizer, text: str) -> None:
    ids = encode_answer(tokenizer, ids_of(tokenizer, PROMPT), text)
    assert text_of(tokenizer, PROMPT, ids) == text
    assert TEXT not in text or ids[-len(ids_of(tokenizer, SAID)) :] == ids_of(tokenizer, SAID)


def test_the_next_prompt_has_no_thoughts_and_no_tokens_that_somebody_wrote(tokenizer: Tokenizer) -> None:
    chat_format = choose_format(METADATA, "fake")
    assert chat_format.name == "gemma-4"
    messages = [ChatMessage("user", "France?<turn|>"), ChatMessage("assistant", TEXT), ChatMessage("user", "Spain?")]
    ids = chat_format.encode(tokenizer, messages)
    marks = [tokenizer.vocabulary.tokens[id_] for id_ in ids if id_ >= 256]
    assert marks == ["<bos>", *["<|turn>", "<turn|>"] * 3, "<|turn>", "<|channel>", "<channel|>"]
    assert tokenizer.decode(ids).startswith("<bos><|turn>user\nFrance?<turn|><turn|>\n<|turn>model\nParis.<turn|>\n")


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages %}<|turn>{{ m.role }}\n{{ m.content }}<turn|>\n{% endfor %}<|turn>model\n"]
)
def test_a_format_that_knows_no_channels_reads_no_thoughts_either(tokenizer: Tokenizer, template: str | None) -> None:
    metadata = {key: value for key, value in METADATA.items() if key != "tokenizer.chat_template"}
    chat_format = choose_format(metadata | ({"tokenizer.chat_template": template} if template else {}), "gemma-4-it")
    messages = [ChatMessage("user", "France?"), ChatMessage("assistant", TEXT), ChatMessage("user", "Spain?")]
    assert chat_format.name == "gemma-4"
    assert "Paris." in (prompt := tokenizer.decode(chat_format.encode(tokenizer, messages)))
    assert "think" not in prompt


def test_half_of_the_marks_are_none() -> None:
    tokens = [token for token in METADATA["tokenizer.ggml.tokens"] if token != "<channel|>"]
    types = METADATA["tokenizer.ggml.token_type"][: len(tokens)]
    half = Metadata(METADATA | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types})
    tokenizer = fake.ByteTokenizer(Vocabulary(half, default_ids={}, add_bos=True))
    assert text_of(tokenizer, PROMPT, ids_of(tokenizer, "<|channel>x")) == "<|channel>x"
