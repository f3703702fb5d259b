"""Events that answer a command which was not carried out: it failed, cannot be read, or never had its turn."""

from __future__ import annotations

import contextlib
import logging

import msgspec

from engine.errors import EngineError, LoadStoppedError, ProtocolError, words_of
from engine.protocol import AnyEvent, Failed, Finished, Generate, Load, Request

log = logging.getLogger(__name__)


def failure(error: Exception, request_id: str) -> Failed:
    """An exception as an event for the user; the traceback goes to the log."""
    if isinstance(error, EngineError):
        return Failed(request_id=request_id, kind=type(error).__name__, message=error.message, hint=error.hint)
    log.error("A command failed.", exc_info=error)
    if isinstance(error, MemoryError):
        message, hint = "There is not enough memory.", "Choose a smaller model or a smaller context."
    elif isinstance(error, OSError):
        message = f"The system refused: {words_of(error)}."
        hint = "The engine's log has the details."
    else:
        message = f"The engine failed in a way nobody foresaw: {type(error).__name__}: {error}"
        hint = "Its log has the details. The model is still open; try again or open it anew."
    return Failed(request_id=request_id, kind=type(error).__name__, message=message, hint=hint)


def not_a_command(line: bytes, error: Exception) -> Failed:
    """The answer to a line that is no command, to its request if it names one."""
    request_id = ""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request_id = msgspec.json.decode(line, type=_Addressed).request_id
    return Failed(
        request_id=request_id,
        kind=ProtocolError.__name__,
        message=f"The engine cannot read this command: {error}.",
        hint="Check the settings that were sent with it.",
    )


class _Addressed(msgspec.Struct):
    """As much of a command as is needed to answer it."""

    request_id: str = ""


def never_run(command: Request) -> AnyEvent:
    """The answer to a command that was removed from the line before its turn."""
    if isinstance(command, Generate):
        return Finished(
            request_id=command.request_id,
            reason="stopped",
            text_tail="",
            prompt_tokens=0,
            reused_tokens=0,
            generated_tokens=0,
            prompt_ms=0,
            generate_ms=0,
            first_token_ms=0,
            seed=command.seed or 0,
        )
    kind = LoadStoppedError if isinstance(command, Load) else EngineError
    return Failed(
        request_id=command.request_id,
        kind=kind.__name__,
        message="The engine was told to do something else before this had its turn.",
        hint="Try again.",
    )
