"""A conversation in turns: what leaves a full context leaves it whole."""

from __future__ import annotations

from collections.abc import Sequence

from engine.protocol import ChatMessage

Turn = Sequence[ChatMessage]


def split_turns(messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], list[Turn]]:
    """The system messages at the beginning, and the rest in turns: each from a user's message up to the next."""
    n_system = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
    turns: list[list[ChatMessage]] = []
    for message in messages[n_system:]:
        starts = message.role == "user" and any(earlier.role == "user" for earlier in turns[-1]) if turns else True
        if starts:
            turns.append([])
        turns[-1].append(message)
    return list(messages[:n_system]), list(turns)
