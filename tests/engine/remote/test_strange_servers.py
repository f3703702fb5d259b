"""Whatever JSON a server sends, it becomes events or one sentence, never a crash."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ServerError
from engine.protocol import AnyEvent, Finished, Generate, PromptProgress, Sampling, TextPrompt, Token
from engine.remote import ServerConfig
from engine.remote.answer import RemoteAnswer
from engine.remote.bodies import Dialect
from engine.remote.refusals import refusal
from tests.engine.remote.asking import chunk, text_of

CONFIG = ServerConfig(base_url="https://example.org/v1", api_key_env="THE_KEY")

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8)
names = st.sampled_from(
    "choices delta content text logprobs token logprob top_logprobs index finish_reason usage prompt_tokens timings"
    " prompt_progress total cache processed error message detail loc msg param id".split()
)
tables = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": scalars,
        "delta": st.dictionaries(st.sampled_from(["content", "reasoning", "refusal"]), tables, max_size=3),
        "message": tables,
        "text": st.text(max_size=5),
        "logprobs": tables,
        "finish_reason": scalars,
    },
)
chunks = st.fixed_dictionaries(
    {"choices": st.lists(choices, max_size=2)},
    optional={"usage": tables, "timings": tables, "prompt_progress": tables, "error": tables},
)


def encoded(value: Any) -> bytes:
    with contextlib.suppress(OverflowError):
        return msgspec.json.encode(value)
    return b"null"


@given(st.lists(chunks | tables, max_size=4))
def test_a_stream_becomes_events_or_a_sentence(events: list[Any]) -> None:
    answer = RemoteAnswer(Generate(request_id="a", prompt=TextPrompt(text="x"), n_top=2, n_candidates=2), seed=1)
    told: list[AnyEvent] = []
    with contextlib.suppress(ServerError):
        for event in events:
            told += list(answer.feed(encoded(event).decode()))
    told.append(answer.finished())
    assert all(isinstance(event, Token | PromptProgress | Finished) for event in told)
    assert all(event.request_id == "a" for event in told)
    msgspec.json.encode(told)


def told_by(*events: dict[str, Any]) -> list[AnyEvent]:
    answer = RemoteAnswer(Generate(request_id="a", prompt=TextPrompt(text="x")), seed=1)
    told = [event for data in events for event in answer.feed(encoded(data).decode())]
    assert answer.reason == "stop"
    return [*told, answer.finished()]


WHOLE = [chunk("Par"), chunk("is"), chunk(finish="stop")]
COUNTS = {"prompt_tokens": 9, "completion_tokens": 2}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([chunk("Par", finish=""), chunk("is", finish=""), chunk(finish="stop")], id="an empty reason"),
        pytest.param([*WHOLE, {"choices": None, "usage": COUNTS}], id="null for no choices"),
        pytest.param(
            [{"choices": [{"index": None, "text": text}]} for text in ("Par", "is")] + WHOLE[2:], id="a null index"
        ),
        pytest.param([*WHOLE, {"choices": 3}], id="an unreadable event behind the end"),
        pytest.param([{"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]}], id="a whole message"),
        pytest.param(
            [chunk("Paris"), {"choices": [{"message": {"content": "Paris"}}]}, *WHOLE[2:]],
            id="a whole message behind its pieces",
        ),
        pytest.param([{"choices": [{"delta": {"refusal": "Paris"}}]}, *WHOLE[2:]], id="a refusal"),
        pytest.param(
            [{"choices": [{"delta": {"content": ["Par", {"type": "text", "text": "is"}, {"type": "?"}]}}]}, *WHOLE[2:]],
            id="parts",
        ),
        pytest.param([{"choices": [{"index": 0.0, "delta": {"content": "Paris"}}]}, *WHOLE[2:]], id="0.0 for 0"),
        pytest.param([*WHOLE[:2], {"choices": [{"finish_reason": 2}]}], id="a number for a reason"),
        pytest.param([chunk("Par", error=False), chunk("is", error=""), chunk(finish="stop", error={})], id="no error"),
    ],
)
def test_what_means_nothing_harms_no_answer(events: list[dict[str, Any]]) -> None:
    assert text_of(told_by(*events)) == "Paris"


def test_parts_that_are_thoughts_are_marked_as_such() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "France?"}]}]
    told = told_by({"choices": [{"delta": {"content": thinking}}]}, *WHOLE)
    assert text_of(told) == "<think>\nFrance?\n</think>\n\nParis"


def fed(*events: str) -> list[AnyEvent]:
    answer = RemoteAnswer(Generate(request_id="a", prompt=TextPrompt(text="x"), n_top=1, n_candidates=1), seed=1)
    return [*(event for data in events for event in answer.feed(data)), answer.finished()]


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([r'{"choices":[{"text":"a\ud83d"}]}', r'{"choices":[{"text":"\ude00b"}]}'], "a\N{GRINNING FACE}b"),
        ([r'{"choices":[{"text":"a\ud83d"}]}'], "a\N{REPLACEMENT CHARACTER}"),
        ([r'{"choices":[{"text":"a\ude00"}],"usage":{"id":"\udfff"}}'], "a\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_characters_that_are_sent_in_halves_are_joined(events: list[str], text: str) -> None:
    assert text_of(fed(*events)) == text


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "Infinity"])
def test_log_probabilities_that_are_no_numbers_harm_no_answer(number: str) -> None:
    entry = f'{{"token":"a","logprob":{number},"top_logprobs":[{{"token":"\\ud800","logprob":{number}}}]}}'
    told = fed(f'{{"choices":[{{"text":"a","logprobs":{{"content":[{entry}]}}}}]}}')
    [token] = [event for event in told if isinstance(event, Token)]
    assert (token.text, token.logprob != token.logprob, token.candidates) == ("a", True, [])


def test_counts_that_cannot_be_are_not_believed() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 10**25, "prompt_tokens_details": {"cached_tokens": -1}}
    data = [chunk("Paris"), chunk(finish="stop", usage=usage, timings={"prompt_ms": 1e300, "predicted_ms": -1})]
    progress = {"choices": [], "prompt_progress": {"total": 10**30, "cache": -1, "processed": 10**30}}
    told = fed(*(json.dumps(event) for event in [progress, *data]))
    finished = told[-1]
    assert isinstance(finished, Finished)
    assert (finished.prompt_tokens, finished.generated_tokens, finished.reused_tokens) == (0, 1, 0)
    assert 0 <= finished.prompt_ms < 1000
    assert 0 <= finished.generate_ms < 1000
    assert told[0] == PromptProgress(request_id="a", done=0, total=0, reused=0)


@pytest.mark.parametrize(
    ("events", "max_new_tokens", "note"),
    [
        ([chunk(finish="stop")], None, "The server's answer has no text."),
        ([chunk(finish="length")], 0, ""),
        (WHOLE, None, ""),
        ([chunk(finish="tool_calls")], None, "The server ended the answer for a reason of its own: tool_calls."),
    ],
)
def test_an_answer_without_text_says_so(events: list[dict[str, Any]], max_new_tokens: int | None, note: str) -> None:
    sampling = Sampling(max_new_tokens=max_new_tokens)
    answer = RemoteAnswer(Generate(request_id="a", prompt=TextPrompt(text="x"), sampling=sampling), seed=1)
    for event in events:
        list(answer.feed(json.dumps(event)))
    assert answer.finished().note == note


def test_the_counts_come_without_choices() -> None:
    finished = told_by(*WHOLE, {"choices": None, "usage": COUNTS})[-1]
    assert isinstance(finished, Finished)
    assert (finished.prompt_tokens, finished.generated_tokens) == (9, 2)


@pytest.mark.parametrize(
    ("error", "words"),
    [("no room", "no room"), ({"message": "no room"}, "no room"), ({"message": None, "code": 7}, "7")],
)
def test_an_error_in_a_stream_is_told(error: Any, words: str) -> None:
    with pytest.raises(ServerError, match=words) as caught:
        told_by(chunk("Par"), {"error": error})
    assert "None" not in caught.value.message or words == "7"


def test_an_error_without_its_frame_is_told_too() -> None:
    with pytest.raises(ServerError, match="no room"):
        told_by({"object": "error", "message": "no room"})


@given(tables.map(encoded) | st.binary(max_size=50))
def test_a_refusal_becomes_a_sentence(body: bytes) -> None:
    error = refusal(CONFIG, 400, {}, body, None)
    assert error.message.startswith("example.org refuses the request (400)")
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no room", "param": "n"}}', "no room"),
        (b'{"error": "no room"}', "no room"),
        (b'{"detail": "no room"}', "no room"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "no"}, "room"]}', "body.n: no; room"),
        (b'{"object": "error", "message": "no room"}', "no room"),
        (b'{"error": null, "message": "no room"}', "no room"),
        (b'{"error": [{"loc": ["n"], "msg": "no room"}]}', "n: no room"),
        (b'{"detail": [{"loc": 5}, {"loc": "n", "msg": "no room"}, {"msg": "no"}]}', "5; n: no room; no"),
        (b'{"detail": [{"loc": ["n", null], "msg": null}]}', "n"),
        (b"null", ""),
        (b'{"error": null}', ""),
        (b"no\n  room", "no room"),
        (b"<html>no room</html>", ""),
        (b"", ""),
    ],
)
def test_the_servers_own_words_are_found(body: bytes, said: str) -> None:
    assert refusal(CONFIG, 400, {}, body, None).said == said


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("Unrecognized request argument supplied: top_k", {"top_k"}),
        ("Unrecognized request arguments supplied: min_p, seed", {"min_p", "seed"}),
        ("Unsupported value: 'temperature' does not support 0.8 with this model.", {"temperature"}),
        ("body.seed: Extra inputs are not permitted", {"seed"}),
        ("The prompt is too long; stop and seed a shorter one.", set()),
        ("max_tokens is too large", set()),
    ],
)
def test_only_parameters_that_are_named_are_given_up(words: str, names: set[str]) -> None:
    dialect = Dialect(known=None)
    command = Generate(prompt=TextPrompt(text="x"), stop=["END"], n_top=1)
    body = dialect.body("m", command, 1, "")
    error = refusal(CONFIG, 400, {}, msgspec.json.encode({"error": {"message": words}}), None)
    assert dialect.learn(error.names, body) == names
    assert body.keys() - dialect.body("m", command, 1, "").keys() == names
