"""Everything that can go wrong in the engine, as sentences that say what, why and what to do next."""

from __future__ import annotations

MAX_MESSAGE_CHARS = 2000
"""What quotes a stranger's file (a name of 65,535 bytes, say) loses its middle beyond this."""


def words_of(error: OSError) -> str:
    """What the system has against something, and against which file if it names one: without Python's frame."""
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename and error.strerror else said


class EngineError(Exception):
    """An error for the user: `message` says what and why, `hint` what to do."""

    hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        if len(message) > MAX_MESSAGE_CHARS:
            half = MAX_MESSAGE_CHARS // 2
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ModelFileError(EngineError):
    """A model file cannot be opened as it is: damaged, cut off, or not a model.

    ends_early: what it promises does not fit into it, as where its end is missing.
    """

    ends_early = False


class UnsupportedModelError(EngineError):
    """The file is sound, but asks for something that this engine does not do."""


class NeedsBaseError(ModelFileError):
    """The file is an adapter, and the model that it was made for is not beside it."""


class DifferenceError(UnsupportedModelError):
    """The file is a difference to another model, as Vicuna and Koala were given out."""


NEEDS_BASE = (NeedsBaseError, DifferenceError)
"""What opens with a base model that the user names."""


class TemplateError(EngineError):
    """A chat template failed, wrote without end, or took too long."""


class ContextFullError(EngineError):
    """The prompt alone does not fit the context."""

    def __init__(self, n_tokens: int, max_seq_len: int) -> None:
        super().__init__(
            f"The prompt has {n_tokens} tokens, the context holds {max_seq_len}.",
            "Start a new session, shorten the text, or open the model with a larger context.",
        )
        self.n_tokens = n_tokens
        self.max_seq_len = max_seq_len


class NotFiniteError(EngineError):
    """The model computes something that is not a number."""

    def __init__(self) -> None:
        super().__init__(
            "The model computed something that is not a number.",
            "The model file may be damaged; verify it, or fetch it again.",
        )


class NoModelError(EngineError):
    """A command needs a model and none is open."""

    def __init__(self) -> None:
        super().__init__("No model is open.", "Open one first.")


class LoadStoppedError(EngineError):
    """Loading was ended by a Stop, or by a command that makes it pointless."""


class ProtocolError(EngineError):
    """What came to the engine is no command."""


class EngineStartError(EngineError):
    """The engine's process did not start, or did not speak this protocol."""


class UnreadableAnswerError(EngineError):
    """The engine has said something that is no event; said by the client. The engine may go on with the answer."""


class EngineGoneError(EngineError):
    """The engine's process has ended; a command cannot be sent."""


class ServerError(EngineError):
    """A server cannot be reached, refuses, or answers with something else than the OpenAI-compatible interface."""


class ServerEndsError(EngineError):
    """This machine's own server is being ended, and nobody is answered any more."""


class DownloadError(EngineError):
    """A model could not be fetched."""
