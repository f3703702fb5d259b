"""A Generate command as the JSON that a server takes, without what this server does not."""

from __future__ import annotations

from typing import Any

from engine.protocol import ChatPrompt, Generate, Sampling, TextPrompt

MAX_LOGPROBS = 20
"""The interface's own limit for leading candidates."""

EVERYBODYS = frozenset({"model", "messages", "prompt", "stream", "temperature", "top_p", "max_tokens", "stop"})
"""What every server takes, listed or not."""

ASKED_ONLY_WHERE_LISTED = frozenset(
    {"return_progress", "cache_prompt", "repeat_last_n", "continue_final_message", "add_generation_prompt"}
)
"""Extras that no server misses; one that does not list its parameters is not tried with them."""

NEVER_DROPPED = frozenset({"model", "messages", "prompt", "stream", "max_tokens"})

Body = dict[str, Any]


class Dialect:
    """The parameters that one server takes; it is learnt from what it lists and from what it refuses."""

    def __init__(self, known: frozenset[str] | None) -> None:
        self._known = known
        self._refused: set[str] = set()
        self._renamed_limit = False

    def body(self, model: str, command: Generate, seed: int, answer_text: str) -> Body:
        """The request for an answer. answer_text: what there is of it, to go on from."""
        body: Body = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "seed": seed,
            "return_progress": True,
            "cache_prompt": command.reuse,
            **_prompt(command, answer_text),
            **_sampling(command.sampling),
            **_logprobs(command),
        }
        if command.stop:
            body["stop"] = command.stop
        if command.ignore_eos:
            body["ignore_eos"] = True
        if self._renamed_limit and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return {name: value for name, value in body.items() if self._takes(name)}

    def _takes(self, name: str) -> bool:
        if name in self._refused:
            return False
        if self._known is None:
            return name not in ASKED_ONLY_WHERE_LISTED
        return name in self._known or name in EVERYBODYS or name == "max_completion_tokens"

    @property
    def takes_penalty(self) -> bool:
        """Whether a penalty for repetition is worth sending, under either of its names."""
        return self._takes("repeat_penalty") or self._takes("repetition_penalty")

    def learn(self, names: frozenset[str], body: Body) -> frozenset[str]:
        """Do without the parameters that a refusal names; returns those that were in the request."""
        if {"max_tokens", "max_completion_tokens"} <= names and "max_tokens" in body:
            self._renamed_limit = True
            return frozenset({"max_tokens"})
        refused = (names & body.keys()) - NEVER_DROPPED
        if "top_logprobs" in refused or "logprobs" in refused:
            refused |= {"logprobs", "top_logprobs"} & body.keys()
        self._refused |= refused
        return refused


def _prompt(command: Generate, answer_text: str) -> Body:
    prompt = command.prompt
    if isinstance(prompt, TextPrompt):
        return {"prompt": prompt.text}
    if not isinstance(prompt, ChatPrompt):
        return {"prompt": prompt.ids}
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    if not answer_text:
        return {"messages": messages}
    messages.append({"role": "assistant", "content": answer_text})
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


def _sampling(sampling: Sampling) -> Body:
    """The settings, each also where it is off: a server's own default may be another."""
    body: Body = {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or -1,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "repetition_penalty": sampling.repeat_penalty,
        "repeat_last_n": sampling.repeat_last_n,
    }
    if sampling.max_new_tokens is not None:
        body["max_tokens"] = sampling.max_new_tokens
    return body


def _logprobs(command: Generate) -> Body:
    wanted = min(max(command.n_top, command.n_candidates), MAX_LOGPROBS)
    if not wanted:
        return {}
    if isinstance(command.prompt, ChatPrompt):
        return {"logprobs": True, "top_logprobs": wanted}
    return {"logprobs": wanted}
