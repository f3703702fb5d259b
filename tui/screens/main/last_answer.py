"""The last answer of the open session: what can be done with it, and what the user does."""

from __future__ import annotations

from tui.language import _
from tui.screens.main.interaction import Interaction
from tui.services.claim import Claim
from tui.services.conversation import Conversation
from tui.services.open_session import OpenSession
from tui.services.writing import Writing
from tui.widgets.transcript import Transcript


class LastAnswer:
    """The one that is being written, else the one at the end."""

    def __init__(
        self,
        conversation: Conversation,
        open_session: OpenSession,
        claim: Claim,
        writing: Writing,
        transcript: Transcript,
        interaction: Interaction,
    ) -> None:
        self._conversation = conversation
        self._open = open_session
        self._claim = claim
        self._writing = writing
        self._transcript = transcript
        self._interaction = interaction

    @property
    def is_under_way(self) -> bool:
        """Whether an answer is being written, or waited for."""
        return self._writing.is_busy

    @property
    def is_ours(self) -> bool:
        """Whether no other app writes in its session, which is only read here then."""
        return self._claim.held_by is None

    @property
    def can_go_on(self) -> bool:
        """Whether the last answer was cut short, and is ours to go on with."""
        return self._writing.can_go_on and self.is_ours

    @property
    def can_fork(self) -> bool:
        """Whether there is anything to copy, and nothing under way."""
        return bool(self._open.path) and not self._writing.is_busy

    @property
    def can_change(self) -> bool:
        """Whether another version of a message can be written."""
        return self.can_fork and self.is_ours

    def stop(self) -> None:
        """Stop it."""
        self._interaction.begin(self._writing.stop())

    def write_again(self) -> None:
        """Write another one."""
        self._transcript.follow()
        self._interaction.do(self._conversation.answer_again())

    def go_on(self) -> None:
        """Continue it."""
        self._transcript.follow()
        self._interaction.do(self._conversation.go_on())

    def follow(self) -> None:
        """Show how it is written."""
        self._transcript.follow()

    def tell_under_way(self) -> None:
        """Say why nothing is sent while it is under way."""
        waits = _("The answer before waits for the model: esc stops it, then enter sends.")
        writes = _("The answer before is still being written: esc stops it, then enter sends.")
        self._interaction.tell(waits if self._writing.waiting else writes)
