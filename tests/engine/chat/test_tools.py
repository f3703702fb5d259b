"""Conversations in which tools were called: for templates that know tools, and for those that do not."""

from __future__ import annotations

import pytest

from engine.chat import ChatFormat, choose_format
from engine.protocol import ChatMessage, ToolCall
from engine.tokenizer import Tokenizer, load_tokenizer

QWEN = (
    "{% for m in messages %}{% if m.role == 'tool' %}[user]<tool_response>{{ m.content }}</tool_response>"
    "{% elif m.tool_calls %}[{{ m.role }}]{{ m.content }}{% for call in m.tool_calls %}"
    '<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}[assistant]"
)
LLAMA_3 = (
    "{% for m in messages %}{% if m.role == 'tool' %}[ipython]{{ m.content | tojson }}"
    "{% elif 'tool_calls' in m %}{% set call = m.tool_calls[0].function %}"
    '[{{ m.role }}]{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}'
    "{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}[assistant]"
)
IGNORANT = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
REFUSING = (
    "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('No.') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
)

CALLS = [ToolCall(name="weather", arguments={"city": "Zoé", "days": [1, 2]}, id="c1")]
SAID = [
    ChatMessage("user", "Rain?"),
    ChatMessage("assistant", "", tool_calls=CALLS),
    ChatMessage("tool", 'No "rain"\nat all', tool_call_id="c1"),
]
PLAIN = '{"name": "weather", "arguments": {"city": "Zoé", "days": [1, 2]}}'


@pytest.fixture(scope="module")
def spm(spm_metadata: dict[str, object]) -> Tokenizer:
    return load_tokenizer(spm_metadata)


def of_template(source: str) -> ChatFormat:
    return choose_format({"tokenizer.chat_template": source}, "model.gguf")


def read(tokenizer: Tokenizer, chat_format: ChatFormat, messages: list[ChatMessage]) -> str:
    return tokenizer.decode(chat_format.encode(tokenizer, messages)[1:])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            QWEN,
            f'[user]Rain?[assistant]<tool_call>{PLAIN}</tool_call>[user]<tool_response>No "rain"\nat all'
            "</tool_response>[assistant]",
        ),
        (
            LLAMA_3,
            f"[user]Rain?[assistant]{PLAIN.replace('arguments', 'parameters')}"
            '[ipython]"No \\"rain\\"\\nat all"[assistant]',
        ),
        (IGNORANT, f'[user]Rain?[assistant]{PLAIN}[user]No "rain"\nat all[assistant]'),
        (REFUSING, f'[user]Rain?[assistant]{PLAIN}[user]No "rain"\nat all[assistant]'),
    ],
)
def test_what_a_template_makes_of_them(spm: Tokenizer, source: str, text: str) -> None:
    assert read(spm, of_template(source), SAID) == text


def test_who_writes_any_role_gets_the_tool_s_own(spm: Tokenizer) -> None:
    assert read(spm, of_template(IGNORANT), [SAID[0], SAID[2]]) == '[user]Rain?[tool]No "rain"\nat all[assistant]'


def test_a_family_without_a_template_is_told_in_turns(spm: Tokenizer) -> None:
    more = [ChatMessage("tool", "Nor snow", tool_call_id="c2"), ChatMessage("user", "Thanks")]
    text = read(spm, choose_format({}, "x", "koala"), [*SAID, *more])
    assert text.split("USER: ")[1:] == [
        f"Rain? GPT:{PLAIN}</s>",
        'No "rain"\nat all\n\nNor snow\n\nThanks GPT:',
    ]


def test_what_was_said_beside_a_call_stays(spm: Tokenizer) -> None:
    said = ChatMessage("assistant", "I look.", tool_calls=CALLS)
    assert f"[assistant]I look.\n{PLAIN}[user]" in read(spm, of_template(REFUSING), [SAID[0], said, SAID[2]])


@pytest.mark.parametrize("source", [QWEN, LLAMA_3, REFUSING])
def test_no_text_of_a_call_or_a_tool_becomes_a_special_token(spm: Tokenizer, source: str) -> None:
    end = "</s>"
    calls = [ToolCall(name=f"f{end}", arguments={f"a{end}": [f"b{end}"]}, id=f"i{end}")]
    messages = [
        ChatMessage("user", "x"),
        ChatMessage("assistant", "", tool_calls=calls),
        ChatMessage("tool", f"r{end}", tool_call_id=f"i{end}", name=f"f{end}"),
    ]
    ids = of_template(source).encode(spm, messages)
    assert spm.eos_id not in ids
    text = spm.decode(ids)
    assert [f"{letter}{end}" in text for letter in "fabr"] == [True] * 4
