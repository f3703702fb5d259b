"""Answers of a model of fixed words, as tests ask for them."""

from __future__ import annotations

from engine.answers.generation import generate
from engine.control import Control
from engine.protocol import (
    AnyEvent,
    ChatMessage,
    ChatPrompt,
    Finished,
    Generate,
    Prompt,
    Sampling,
    Token,
    TokenPrompt,
)
from tests.engine.children import fake_model as fake

BOS = fake.BOS
GREEDY = Sampling(temperature=0)
START = TokenPrompt(ids=[BOS])


def run(model, prompt: Prompt = START, *, on_event=None, control: Control | None = None, **options):
    """Generate greedily; returns the text, the Finished event and all events."""
    events: list[AnyEvent] = []
    command = Generate(request_id="r", prompt=prompt, **{"sampling": GREEDY, "seed": 1, **options})
    control = control or Control(sampling=command.sampling)

    def emit(event: AnyEvent) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event, control)

    generate(model, command, control, emit)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert all(event.request_id == "r" for event in events)
    text = "".join(event.text for event in events if isinstance(event, Token)) + finished.text_tail
    return text, finished, events


def tokens(events: list[AnyEvent]) -> list[Token]:
    return [event for event in events if isinstance(event, Token)]


def chat(*contents: str, system: str = "", **options) -> ChatPrompt:
    """User and assistant in turn, perhaps after a system message."""
    turns = [ChatMessage(("user", "assistant")[i % 2], text) for i, text in enumerate(contents)]
    return ChatPrompt(messages=[*([ChatMessage("system", system)] if system else []), *turns], **options)
