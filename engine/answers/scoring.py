"""How well a model predicts a text: the perplexity that llama.cpp's tool counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.control import Control
from engine.errors import EngineError, NotFiniteError
from engine.protocol import AnyEvent, PromptProgress, Score, Scored

if TYPE_CHECKING:
    from engine.model import LanguageModel

TOGETHER = 32
"""Tokens of a window's second half that go through in one batch, with logits after each."""

LEAST_WINDOW = 8


def score(model: LanguageModel, command: Score, control: Control, emit: Callable[[AnyEvent], None]) -> None:
    """Score each whole window's second half, given all before it in the window; emit PromptProgress and Scored.

    Raises EngineError for a text that is shorter than a window and for a vocabulary alone, NotFiniteError.
    """
    if model.transformer is None:
        raise EngineError("Only the vocabulary of this model is open.", "Open the whole model to look into it.")
    windows = _windows(model, command)
    total = sum(len(window) for window in windows)
    model.leave_session()
    losses: list[float] = []
    done = 0
    emit(PromptProgress(request_id=command.request_id, done=done, total=total, reused=0))
    for window in windows:
        if control.stopped:
            break
        losses.extend(_losses(model, window))
        done += len(window)
        emit(PromptProgress(request_id=command.request_id, done=done, total=total, reused=0))
    emit(_result(command.request_id, losses))


def _windows(model: LanguageModel, command: Score) -> list[list[int]]:
    """The text's tokens in whole windows, each with BOS in place of its first token where the model wants one."""
    tokenizer = model.tokenizer
    window = min(command.window, model.max_seq_len)
    if window < LEAST_WINDOW:
        raise EngineError(f"A window of {window} tokens is too short.", f"Ask for {LEAST_WINDOW} or more.")
    ids = tokenizer.encode(command.text, add_bos=tokenizer.add_bos, parse_special=False)
    if len(ids) < window:
        raise EngineError(
            f"The text has {len(ids)} tokens, less than a window of {window}.",
            "Take a longer text or a smaller window.",
        )
    first = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    return [[*first, *ids[start + len(first) : start + window]] for start in range(0, len(ids) - window + 1, window)]


def _losses(model: LanguageModel, part: Sequence[int]) -> Iterator[float]:
    """Minus the log-probability of each token after the middle of a window."""
    middle = len(part) // 2
    for start in range(0, middle, model.batch_size):
        model.evaluate(part[start : min(start + model.batch_size, middle)], start)
    for start in range(middle, len(part) - 1, TOGETHER):
        end = min(start + TOGETHER, len(part) - 1)
        rows = model.evaluate_each(part[start:end], start)
        for row, following in zip(rows, part[start + 1 : end + 1], strict=True):
            logits = row.astype(np.float64)
            top = logits.max()
            if not np.isfinite(top):
                raise NotFiniteError
            yield float(top + np.log(np.exp(logits - top).sum()) - logits[following])


def _result(request_id: str, losses: Sequence[float]) -> Scored:
    n = len(losses)
    mean = sum(losses) / n if n else 0.0
    perplexity = math.exp(min(mean, 700.0)) if n else 0.0
    variance = sum((loss - mean) ** 2 for loss in losses) / n if n else 0.0
    error = math.sqrt(variance / (n - 1)) if n > 1 else 0.0
    return Scored(request_id=request_id, perplexity=perplexity, tokens=n, stderr=error * perplexity)
