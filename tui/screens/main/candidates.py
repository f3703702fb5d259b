"""The candidates while nothing is written: any place of the last answer, and other ways to go on from it."""

from __future__ import annotations

from collections.abc import Callable

from tui.language import _
from tui.messages import AnswerBegan, AnswerEnded, EngineChanged, PathChanged, Place, Weighed
from tui.screens.main.interaction import Interaction
from tui.services.looking import Looking
from tui.services.writing import Writing
from tui.widgets.candidates_pane import N_CANDIDATES, CandidatesPane
from tui.widgets.engine_pane import EnginePane
from tui.widgets.transcript import Transcript


class Candidates:
    """What is looked at and what the pane shows of it; the tokens of an answer under way come with that.

    is_seen: whether the pane is, and its candidates are worth the work.
    """

    def __init__(
        self,
        looking: Looking,
        writing: Writing,
        engine_pane: EnginePane,
        transcript: Transcript,
        is_seen: Callable[[], bool],
        interaction: Interaction,
    ) -> None:
        self._looking = looking
        self._writing = writing
        self._engine_pane = engine_pane
        self._pane = engine_pane.query_one(CandidatesPane)
        self._transcript = transcript
        self._interaction = interaction
        writing.n_candidates = N_CANDIDATES
        looking.is_watched = is_seen

    @property
    def is_unread(self) -> bool:
        """Whether the engine has not read the place yet: it is to be read before anything can be taken there."""
        return self._pane.is_unread

    def model_changed(self, event: EngineChanged) -> None:
        """Another model sees other candidates."""
        if event.phase == "ready":
            self._looking.look_at_end()
        else:
            self._looking.forget()
            self._pane.forget_unread()
            self._show_place(self._pane.place)

    def branch_changed(self, event: PathChanged) -> None:
        """The branch ends elsewhere."""
        self._pane.clear()
        self._show_place(None)
        self._looking.look_at_end()

    def answer_began(self, event: AnswerBegan) -> None:
        """The candidates of what is written come with its tokens."""
        self._looking.forget()
        self._pane.begin_live()
        self._show_place(None)

    def answer_ended(self, event: AnswerEnded) -> None:
        """What would come next."""
        self._looking.look_at_end()

    def look_again(self) -> None:
        """The pane may have come into sight."""
        self._looking.again()

    def show(self, event: Weighed) -> None:
        """What is likely at a place."""
        if not self._writing.is_busy:
            self._pane.show_weighed(event)
            self._show_place(event.place)
            self._interaction.keys_changed()

    def _show_place(self, place: Place | None) -> None:
        self._engine_pane.show_place(f"{place.at}/{place.n_tokens}" if place is not None and place.n_tokens else "")

    def step(self, n_tokens: int) -> None:
        """Some tokens on, or back."""
        self._looking.step(n_tokens)

    def go(self, *, to_end: bool) -> None:
        """The answer's first token, or its end."""
        if to_end:
            self._looking.look_at_end()
        else:
            self._looking.go(0)

    def read(self) -> None:
        """See the place even though it takes time."""
        self._looking.read()

    def take(self, place: Place, token_id: int) -> None:
        """Write another answer from the place on, with this token."""
        if token_id == place.followed_by:
            self._interaction.tell(_("That is what followed here: up and down choose another token."))
        else:
            self._transcript.follow()
            self._interaction.do(self._branch(place.at, token_id))

    async def _branch(self, at: int, token_id: int) -> None:
        if not await self._looking.branch(at, token_id):
            self._interaction.tell(_("Another answer can begin here once this one is over and the model is open."))
