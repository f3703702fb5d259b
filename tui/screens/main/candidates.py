"""The candidates while nothing is written: any place of the last answer, and other ways to go on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.language import _
from tui.screens.main.sessions import MainSessions

if TYPE_CHECKING:
    from tui import messages
    from tui.widgets.candidates_pane import CandidatesPane
    from tui.widgets.message_view import MessageView


class MainCandidates(MainSessions):
    """The main screen with its candidates pane; what they are asked for is seen only while the pane is."""

    def watch_candidates(self) -> None:
        """Begin to follow the conversation's end, as soon as there is a pane."""
        self.workspace.looking.is_watched = lambda: bool(self.query_one("#engine").display)

    async def on_engine_changed(self, event: messages.EngineChanged) -> None:
        """Another model sees other candidates."""
        if event.phase == "ready":
            self.workspace.looking.look_at_end()
        else:
            self.workspace.looking.forget()

    async def on_path_changed(self, event: messages.PathChanged) -> None:
        """The branch ends elsewhere."""
        self._show_place(None)
        self.workspace.looking.look_at_end()

    async def on_answer_ended(self, event: messages.AnswerEnded) -> None:
        """What would come next."""
        self.workspace.looking.look_at_end()

    def on_answer_began(self) -> None:
        """The candidates of what is written come with its tokens."""
        self.workspace.looking.forget()
        self.candidates.begin_live()
        self._show_place(None)

    def on_weighed(self, event: messages.Weighed) -> None:
        """What is likely at a place."""
        if not self.workspace.conversation.is_busy:
            self.candidates.show_weighed(event)
            self._show_place(event.place)
            self.refresh_bindings()

    def _show_place(self, place: messages.Place | None) -> None:
        from tui.widgets.engine_pane import EnginePane

        told = f"{place.at}/{place.n_tokens}" if place is not None and place.n_tokens else ""
        self.query_one(EnginePane).show_place(told)

    def on_candidates_pane_stepped(self, event: CandidatesPane.Stepped) -> None:
        """Some tokens on, or back."""
        self.workspace.looking.step(event.n_tokens)

    def on_candidates_pane_went(self, event: CandidatesPane.Went) -> None:
        """The answer's first token, or its end."""
        if event.to_end:
            self.workspace.looking.look_at_end()
        else:
            self.workspace.looking.go(0)

    def on_candidates_pane_reading_wanted(self) -> None:
        """See the place even though it takes time."""
        self.workspace.looking.read()

    def on_candidates_pane_taken(self, event: CandidatesPane.Taken) -> None:
        """Write another answer from the place on, with this token."""
        if event.token_id == event.place.followed_by:
            self.notify(_("That is what followed here: up and down choose another token."), markup=False)
        else:
            self.transcript.follow()
            self._do(self._branch(event.place.at, event.token_id))

    async def _branch(self, at: int, token_id: int) -> None:
        if not await self.workspace.looking.branch(at, token_id):
            self.notify(_("Another answer can begin here once this one is over and the model is open."), markup=False)

    def action_candidates(self) -> None:
        """Show and focus the candidates; from inside them, go back to the prompt box."""
        if self.candidates.has_focus:
            self.action_back()
        else:
            self.show_side("engine", self.candidates)

    # Tints

    def action_tint(self) -> None:
        """Show how likely each token of the answers was, or no longer."""
        from tui.widgets.message_view import TINTED

        self.toggle_class(TINTED)
        self._do(self._tint(self.transcript.views))

    async def _tint(self, views: list[MessageView]) -> None:
        from storage.answer_tokens import answer_tokens
        from tui.widgets.message_view import TINTED
        from tui.widgets.tinted_text import TintLegend

        tinted = self.has_class(TINTED)
        if tinted and not self.query(TintLegend):
            await self.query_one("#chat").mount(TintLegend(), before=self.status)
        self.query(TintLegend).set(display=tinted)
        for view in views:
            message = view.item.message
            if message.role == "assistant" and message.state != "writing":
                tokens = await self.workspace.store.call(answer_tokens, message.id) if tinted else None
                await view.tint(tokens)

    def on_message_view_tint_wanted(self, event: MessageView.TintWanted) -> None:
        """An answer has come on screen."""
        self._do(self._tint([event.view]))
