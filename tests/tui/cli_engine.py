"""An engine for the tests of the command line: it answers the same always, and breaks where the prompt asks it to."""

from __future__ import annotations

import os
import select
import sys

from engine.protocol import (
    PROTOCOL_VERSION,
    AnyEvent,
    ChatPrompt,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    LoadProgress,
    ModelCard,
    ModelReady,
    PromptProgress,
    Sampling,
    Score,
    Scored,
    TextPrompt,
    Token,
    TokenLogprob,
    TokenPrompt,
)
from engine.protocol.lines import command_decoder, event_encoder

WORDS = ["Paris", " is", " the", " capital", ".\x1b[31m", " Yes", "."]


def say(event: AnyEvent) -> None:
    os.write(1, event_encoder.encode(event) + b"\n")


def card(load: Load) -> ModelCard:
    return ModelCard(
        name="Scripted",
        path=load.path,
        format="GGUF v3",
        architecture="llama",
        quantization="Q4_1",
        parameters=1,
        size_bytes=1,
        context=load.context or 8192,
        max_context=8192,
        layers=1,
        vocab=1000,
        template="chatml",
        template_source="file",
        weights_bytes=1,
        kv_bytes_per_token=1,
        threads=load.threads or 2,
        sampling=Sampling(temperature=0.125) if "advised" in load.path else Sampling(),
    )


def load(command: Load) -> None:
    name = command.request_id
    if "refused" in command.path:
        say(Failed(request_id=name, kind="ModelFileError", message="It is cut off.", hint="Fetch it anew."))
        return
    say(LoadProgress(request_id=name, stage="reading", done=1, total=2))
    say(ModelReady(request_id=name, card=card(command), load_s=0.1))


def prompt_text(command: Generate) -> str:
    match command.prompt:
        case ChatPrompt(messages=messages, template=template):
            said = " | ".join(f"{message.role}: {message.content}" for message in messages)
            return said if template is None else f"{template}> {said}"
        case TextPrompt(text=text):
            return text
        case TokenPrompt(ids=ids):
            return f"{len(ids)} tokens"


def generate(command: Generate) -> None:
    name, text = command.request_id, prompt_text(command)
    say(PromptProgress(request_id=name, done=5, total=5, reused=0))
    if "FAIL" in text:
        say(Failed(request_id=name, kind="ContextFullError", message="The prompt is too long.", hint="Shorten it."))
        return
    if "ECHO" in text:
        words = [text, f" {command.sampling} seed={command.seed}"]
    else:
        words = WORDS * (40 if command.ignore_eos else 1)
    limit = command.sampling.max_new_tokens or len(words)
    if "FULL" in text:
        limit = min(limit, 3)
    for number, word in enumerate(words[:limit]):
        top = [TokenLogprob(number, -0.5), TokenLogprob(900, -1.5)][: command.n_top]
        say(Token(request_id=name, id=number, text=word, logprob=-0.5, top=top))
        if "DIE" in text:
            os._exit(3)
        if "WAIT" in text:
            select.select([sys.stdin.buffer], [], [])
    say(
        Finished(
            request_id=name,
            reason="length" if limit < len(words) else "stop",
            text_tail=" There" if "TAIL" in text else "",
            prompt_tokens=len(command.prompt.ids) if isinstance(command.prompt, TokenPrompt) else 5,
            reused_tokens=0,
            generated_tokens=min(limit, len(words)),
            prompt_ms=100.0,
            generate_ms=200.0,
            first_token_ms=110.0,
            seed=command.seed or 42,
            dropped_turns=2 if "LONG" in text else 0,
            note="The template failed." if "LONG" in text else "",
        )
    )


def main() -> None:
    say(Hello(protocol_version=PROTOCOL_VERSION, engine_version="0", pid=os.getpid(), cpu="scripted"))
    for line in sys.stdin.buffer:
        command = command_decoder.decode(line)
        if isinstance(command, Load):
            load(command)
        elif isinstance(command, Generate):
            generate(command)
        elif isinstance(command, Score):
            if "WAIT" in command.text:
                select.select([sys.stdin.buffer], [], [])
            say(Scored(request_id=command.request_id, perplexity=9.0, tokens=len(command.text), stderr=0.5))


if __name__ == "__main__":
    main()
