"""What the services tell the main screen; widgets have their own messages beside them.

Nobody compares or prints them: methods for that would only take from the time to the first frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tui.told import Told

if TYPE_CHECKING:
    from engine.protocol import Abilities, Candidate, EngineStats, LoadProgress, ModelCard, PromptProgress
    from storage.records import PathMessage, Session

Post = Callable[[Told], object]
"""Takes a message to the main screen, also from another thread."""

EnginePhase = Literal["starting", "empty", "loading", "ready", "dead"]


@dataclass(eq=False, repr=False)
class EngineChanged(Told):
    """The engine's process or its model is in another state; reason says why where it is not good."""

    phase: EnginePhase
    card: ModelCard | None
    reason: str = ""


@dataclass(eq=False, repr=False)
class AbilitiesShown(Told):
    """A server has shown what it can do, or that it cannot."""

    abilities: Abilities


@dataclass(eq=False, repr=False)
class EngineDiedMidway(Told):
    """The engine ended without being asked to."""

    message: str
    log_tail: list[str] = field(default_factory=list)


@dataclass(eq=False, repr=False)
class EngineSilent(Told):
    """Nothing came from the engine for so long."""

    silent_s: float


@dataclass(eq=False, repr=False)
class LoadAdvanced(Told):
    """Loading came further."""

    progress: LoadProgress


@dataclass(eq=False, repr=False)
class PromptAdvanced(Told):
    """The engine read more of the prompt."""

    progress: PromptProgress


@dataclass(eq=False, repr=False)
class StatsArrived(Told):
    """The engine's pulse."""

    stats: EngineStats


@dataclass(eq=False, repr=False)
class NoModelFound(Told):
    """There is nothing to load; reason: why not, where a model was asked for by name.

    may_come: it is worth to look again, since its file may have been put back. folder: what was asked for, where that
    has several models to choose from.
    """

    reason: str = ""
    may_come: bool = False
    folder: Path | None = None


@dataclass(eq=False, repr=False)
class ModelChosen(Told):
    """This file is being opened, whoever chose it."""

    name: str


@dataclass(eq=False, repr=False)
class FetchAdvanced(Told):
    """A model's download came further; total_bytes is 0 where it is not known."""

    stage: str
    done_bytes: int
    total_bytes: int
    name: str


@dataclass(eq=False, repr=False)
class FetchEnded(Told):
    """A model is here, at this path; without one the download was stopped, or failed: then error says why."""

    path: Path | None = None
    error: str = ""


@dataclass(eq=False, repr=False)
class PathChanged(Told):
    """The session that is open, or the branch of it that is shown, is another one now.

    session is None for a new one that nothing was said in. is_other: another session than the one shown before.
    draft: what stood in its prompt box, None to leave the box alone. keeps_typed: what stands in the box now stays,
    behind the draft. at: the message to go to, None for the last one.
    """

    session: Session | None
    path: list[PathMessage]
    is_other: bool = False
    draft: str | None = None
    keeps_typed: bool = False
    at: str | None = None


@dataclass(eq=False, repr=False)
class HeldElsewhere(Told):
    """Another running app writes in the open session; host "" where none does."""

    host: str
    pid: int


@dataclass(eq=False, repr=False)
class AnswerBegan(Told):
    """The engine was asked for an answer."""


@dataclass(eq=False, repr=False)
class AnswerStopping(Told):
    """The engine was asked to end the answer; AnswerEnded follows."""


@dataclass(eq=False, repr=False)
class AnswerGrew(Told):
    """New text of the answer that is being written; candidates of its latest token."""

    message_id: str
    text: str
    candidates: list[Candidate] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """A place in the last answer: before its token of that number, or behind the last one (at == n_tokens).

    before, token, after: the text around it, the token that did follow there, and its number, None at the end.
    """

    at: int
    n_tokens: int
    before: str
    token: str
    after: str
    followed_by: int | None


@dataclass(eq=False, repr=False)
class Weighed(Told):
    """What is likely at a place, while nothing is written.

    n_unread: so many tokens would have to be read first, then there are no candidates. note: why there is no place.
    """

    place: Place | None
    candidates: list[Candidate] = field(default_factory=list)
    n_unread: int = 0
    note: str = ""


@dataclass(frozen=True)
class AnswerNotes:
    """What is known of an answer that was written here, and stored nowhere.

    left_out: how many of the oldest turns had no place in the context. failure: why it failed, "" where it did not.
    """

    left_out: int = 0
    failure: str = ""


@dataclass(eq=False, repr=False)
class AnswerEnded(Told):
    """An answer is over and stored. is_resumable: it was cut short and can go on."""

    answer: PathMessage
    is_resumable: bool
    notes: AnswerNotes


@dataclass(eq=False, repr=False)
class AnswerWaits(Told):
    """A message was sent, and its answer waits until a model is ready; waiting is False when it no longer does."""

    waiting: bool


@dataclass(eq=False, repr=False)
class SettingsShown(Told):
    """The open session's system prompt or sampling settings are to be shown anew."""


@dataclass(eq=False, repr=False)
class TitleChanged(Told):
    """The open session got another title."""

    title: str


@dataclass(eq=False, repr=False)
class HistoryChanged(Told):
    """Sessions were added, renamed, removed or moved."""


@dataclass(eq=False, repr=False)
class Trouble(Told):
    """Something failed; the sentence says what, why and what to do."""

    sentence: str
    severity: Literal["information", "warning", "error"] = "error"
