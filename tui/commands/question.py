"""What `llm-tui ask` is asked: its options, and the prompt that they come with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from engine.protocol import ModelCard, Sampling
from tui.commands.options import check_server_options
from tui.language import _
from tui.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Question:
    """The command line's options; None leaves the choice to the session, then to the settings."""

    text: str
    model_name: str | None
    server: str | None
    raw: bool
    system: str | None
    template: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    max_tokens: int | None
    seed: int | None
    ignore_eos: bool
    threads: int | None
    context: int | None
    base: str | None
    session_id: str | None
    save: bool
    n_logprobs: int | None
    as_json: bool

    def default_sampling(self, settings: Settings, card: ModelCard) -> Sampling:
        """What holds where nothing is given: the makers' advice, whole, or not at all where a sampler is given."""
        samplers = (self.temperature, self.top_k, self.top_p, self.min_p, self.repeat_penalty)
        if any(value is not None for value in samplers):
            return settings.sampling.sampling()
        return settings.sampling.sampling(card.sampling)

    def sampling(self, default: Sampling) -> Sampling:
        """Put what was given in place of the default."""
        given = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "max_new_tokens": self.max_tokens,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        return msgspec.structs.replace(default, **changes)


def check_usage(
    *, raw: bool, system: str | None, template: str | None, session_id: str | None, save: bool, **rest: Any
) -> None:
    """Refuse options that exclude each other."""
    if raw and (system is not None or template or session_id or save):
        raise click.UsageError(_("With --raw there is no system prompt, no template and no session."))
    if save and session_id:
        raise click.UsageError(_("--save begins a new session, --session goes on with an old one: give one of them."))
    check_server_options(rest["server"], base=rest["base"], computing=bool(rest["threads"] or rest["context"]))
    if rest["n_logprobs"] is not None and not rest["as_json"]:
        raise click.UsageError(_("--logprobs needs --json."))


def read_prompt(argument: str | None, *, raw: bool) -> str:
    """Put the prompt together from stdin and the argument; raw: exactly as they are."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace")
    if raw:
        text = piped + (argument or "")
    else:
        text = "\n\n".join(part for part in (piped.strip("\n"), argument) if part)
    if not text:
        raise click.UsageError(_("There is no prompt: give one as an argument or on stdin."))
    return text
