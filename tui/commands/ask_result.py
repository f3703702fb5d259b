"""What `llm-tui ask --json` writes: of an answer that has ended what the engine says of it, else what came so far."""

from __future__ import annotations

import time

import msgspec

from engine.protocol import Finished, FinishReason, PromptProgress, Token
from tui.services.answer import Answer


class AskResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer as `--json` writes it; the field names are a promise."""

    text: str
    model: str
    session: str | None
    prompt_tokens: int
    generated_tokens: int
    finish_reason: FinishReason
    prompt_ms: float
    generate_ms: float
    tokens: list[dict[str, object]] | msgspec.UnsetType = msgspec.UNSET


class Written:
    """An answer while it is written, with what is told of it at its end."""

    def __init__(self) -> None:
        self.answer = Answer("")
        self.tokens: list[dict[str, object]] = []
        self._prompt_tokens = 0
        self._last_token_s = 0.0

    @property
    def begun(self) -> bool:
        """Whether a token of it has come."""
        return bool(self.tokens)

    def read(self, progress: PromptProgress) -> None:
        """Take in how much of the prompt was read."""
        self._prompt_tokens = progress.total

    def add(self, token: Token) -> None:
        """Take in one token."""
        self._last_token_s = time.monotonic()
        top = [[leader.id, leader.logprob] for leader in token.top]
        self.tokens.append({"id": token.id, "text": token.text, "logprob": token.logprob, "top": top})
        self.answer.add(token)

    def result(
        self, finished: Finished | None, without: FinishReason, *, model: str, session: str | None, with_tokens: bool
    ) -> AskResult:
        """Tell all of it. without: why it has ended, where Finished never came; the times are those seen here then."""
        answer = self.answer
        if finished is not None:
            prompt_ms, generate_ms = finished.prompt_ms, finished.generate_ms
        else:
            first_s = answer.first_token_s
            prompt_ms = 1000 * ((time.monotonic() if first_s is None else first_s) - answer.started_s)
            generate_ms = 0.0 if first_s is None else 1000 * max(0.0, self._last_token_s - first_s)
        return AskResult(
            text=answer.content,
            model=model,
            session=session,
            prompt_tokens=self._prompt_tokens if finished is None else finished.prompt_tokens,
            generated_tokens=len(answer.new_ids) if finished is None else finished.generated_tokens,
            finish_reason=without if finished is None else finished.reason,
            prompt_ms=round(prompt_ms, 3),
            generate_ms=round(generate_ms, 3),
            tokens=self.tokens if with_tokens else msgspec.UNSET,
        )
