"""The tints of the answers: how likely each of their tokens was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical

from storage.answer_tokens import answer_tokens
from tui.screens.main.interaction import Interaction
from tui.services.store import Store
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.screen import Screen

    # Takes a tenth of a second to import: not before the panes are there.
    from tui.widgets.message_view import MessageView


class Tints:
    """On or off for the whole screen; a class of it says so to the messages."""

    def __init__(
        self, screen: Screen[None], chat: Vertical, transcript: Transcript, store: Store, interaction: Interaction
    ) -> None:
        self._screen = screen
        self._chat = chat
        self._transcript = transcript
        self._store = store
        self._interaction = interaction

    def toggle(self) -> None:
        """Show them, or no longer."""
        from tui.widgets.message_view import TINTED

        self._screen.toggle_class(TINTED)
        self._interaction.begin(self._tint(self._transcript.views))

    def tint(self, view: MessageView) -> None:
        """An answer has come on screen."""
        self._interaction.begin(self._tint([view]))

    async def _tint(self, views: list[MessageView]) -> None:
        from tui.widgets.message_view import TINTED
        from tui.widgets.tinted_text import TintLegend

        tinted = self._screen.has_class(TINTED)
        if tinted and not self._chat.query(TintLegend):
            await self._chat.mount(TintLegend(), before=self._chat.query_one(StatusLine))
        self._chat.query(TintLegend).set(display=tinted)
        for view in views:
            message = view.item.message
            if message.role == "assistant" and message.state != "writing":
                tokens = await self._store.call(answer_tokens, message.id) if tinted else None
                await view.tint(tokens)
