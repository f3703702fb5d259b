"""The answer that is being written, as the user sees it: in the chat, the status line and the figures."""

from __future__ import annotations

from collections.abc import Callable

from tui.language import N_, _
from tui.messages import (
    AnswerBegan,
    AnswerEnded,
    AnswerGrew,
    AnswerStopping,
    AnswerWaits,
    PathChanged,
    PromptAdvanced,
)
from tui.screens.main.interaction import Interaction
from tui.services.writing import Writing
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.engine_pane import EnginePane
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

_CUT_SHORT = N_("Cut short: ctrl+g goes on, ctrl+r writes another.")


class AnswerShown:
    """One answer from its beginning to its end, and what can be done about one that was cut short.

    on_ended: called once all of it is shown.
    """

    def __init__(
        self,
        writing: Writing,
        transcript: Transcript,
        status: StatusLine,
        engine_pane: EnginePane,
        on_ended: Callable[[], None],
        interaction: Interaction,
    ) -> None:
        self._writing = writing
        self._transcript = transcript
        self._status = status
        self._numbers = engine_pane.query_one(LiveNumbers)
        self._candidates_pane = engine_pane.query_one(CandidatesPane)
        self._on_ended = on_ended
        self._interaction = interaction

    def begin(self, event: AnswerBegan) -> None:
        """The engine was asked."""
        self._status.show_fetch_trouble("")
        self._status.show_busy("answer", _("Reading the prompt …"))
        self._numbers.begin_answer()
        self._interaction.keys_changed()

    def show_prompt(self, event: PromptAdvanced) -> None:
        """The engine read more of the prompt."""
        progress = event.progress
        self._numbers.show_prompt(progress)
        if progress.done < progress.total:
            told = _("Reading the prompt … {done} of {total} tokens", done=progress.done, total=progress.total)
        else:
            told = _("Writing …")
        self._status.show_busy("answer", told)

    async def grow(self, event: AnswerGrew) -> None:
        """New text."""
        self._candidates_pane.take(event.candidates)
        answer = self._writing.answer
        if answer is not None and answer.first_token_ms is not None:
            self._numbers.show_first_token(answer.first_token_ms)
        await self._transcript.grow(event.message_id, event.text)

    def body_drawn(self) -> None:
        """The candidates change along with the text."""
        self._candidates_pane.show_latest()

    def show_stopping(self, event: AnswerStopping) -> None:
        """The engine was told to stop, and gets to it after what it is at."""
        self._status.show_busy("answer", _("Stopping …"))

    async def end(self, event: AnswerEnded) -> None:
        """It is over."""
        message = event.answer.message
        self._candidates_pane.show_latest()
        self._numbers.show_finished(message.tokens_per_second, message.first_token_ms)
        self._show_rest(is_resumable=event.is_resumable)
        await self._transcript.settle(event.answer, event.notes)
        self._interaction.keys_changed()
        self._on_ended()

    def show_waiting(self, event: AnswerWaits) -> None:
        """A sent message waits for the model, or no longer."""
        self._transcript.set_class(event.waiting, "-waiting")
        self._interaction.keys_changed()

    def branch_changed(self, event: PathChanged) -> None:
        """Another answer stands at the end, which may go on."""
        if not self._writing.is_busy and self._status.busy_with == "answer":
            self._show_rest(is_resumable=self._writing.can_go_on)

    def _show_rest(self, *, is_resumable: bool) -> None:
        self._status.show_busy("answer", _(_CUT_SHORT) if is_resumable else "")
