"""The sessions of the history: listed, opened, begun, and what the user does to the one under the cursor."""

from __future__ import annotations

from tui.language import N_, _
from tui.messages import HistoryChanged
from tui.screens.main.interaction import Interaction
from tui.screens.main.switching import Switching
from tui.services.history import Found, History
from tui.services.open_session import OpenSession
from tui.services.opening import Opening
from tui.widgets.history_pane import HistoryPane
from tui.widgets.transcript import Transcript

_DELETED = N_("Session deleted. u in the history brings it back, until you leave.")


class Sessions:
    """The stored sessions and the pane that lists them."""

    def __init__(
        self,
        history: History,
        open_session: OpenSession,
        opening: Opening,
        pane: HistoryPane,
        transcript: Transcript,
        switching: Switching,
        interaction: Interaction,
    ) -> None:
        self._history = history
        self._open = open_session
        self._opening = opening
        self._pane = pane
        self._transcript = transcript
        self._switching = switching
        self._interaction = interaction
        pane.history = history

    def list_changed(self, event: HistoryChanged) -> None:
        """Sessions were added, renamed, removed or moved."""
        self.show_soon()

    def show_soon(self) -> None:
        """Have the list read anew; what is done meanwhile does not wait for it."""
        self._pane.show_soon(self._open.id)

    async def _show(self) -> None:
        await self._pane.show(self._open.id)

    def begin(self) -> None:
        """Go to a new one."""
        self._switching.begin()

    def open(self, session_id: str, message_id: str | None) -> None:
        """Go to a stored one, to the message that was found."""
        self._switching.open(session_id, message_id)
        if message_id is not None:
            self._transcript.focus()

    @property
    def are_searched(self) -> bool:
        """Whether what a search finds is listed, and not all of them."""
        return self._pane.is_searching

    def end_search(self) -> None:
        """List all of them again."""
        self._pane.end_search()

    def toggle_archived(self) -> None:
        """List the archived ones, or the others again."""
        self._interaction.do(self._pane.show_archived(not self._pane.archived))

    def _chosen(self) -> Found | None:
        found = self._pane.highlighted
        if found is None:
            self._interaction.tell(_("Go to a session in the history first: f2."))
        return found

    def rename(self) -> None:
        """Give the chosen one another title."""
        from tui.screens.rename import RenameScreen

        found = self._chosen()
        if found is not None:

            def rename(title: str | None) -> None:
                if title:
                    self._interaction.do(self._rename(found.session_id, title))

            self._interaction.ask(RenameScreen(found.title), rename)

    async def _rename(self, session_id: str, title: str) -> None:
        self._open.take_changed(await self._history.rename(session_id, title))
        await self._show()

    def pin(self) -> None:
        """Keep the chosen one on top, or let it go again."""
        found = self._chosen()
        if found is not None:
            self._interaction.do(self._pin(found.session_id))

    async def _pin(self, session_id: str) -> None:
        await self._history.pin(session_id)
        await self._show()

    def archive(self) -> None:
        """Put the chosen one out of sight, or back."""
        found = self._chosen()
        if found is not None:
            self._interaction.do(self._archive(found.session_id))

    async def _archive(self, session_id: str) -> None:
        archived = await self._history.archive(session_id)
        await self._show()
        back = _("The session is back among the others.")
        self._interaction.tell(_("The session is archived; v shows the archived ones.") if archived else back)

    def delete(self) -> None:
        """Delete the chosen one."""
        found = self._chosen()
        if found is not None:
            self._interaction.do(self._delete(found.session_id))

    async def _delete(self, session_id: str) -> None:
        if self._open.id == session_id:
            await self._opening.new(for_good=True)
        await self._history.delete(session_id)
        self._interaction.tell(_(_DELETED))
        await self._show()

    def restore(self) -> None:
        """Bring the one back that was deleted last."""
        self._interaction.do(self._restore())

    async def _restore(self) -> None:
        session_id = await self._history.restore_last()
        if session_id is None:
            self._interaction.tell(_("There is no deleted session to bring back."))
            return
        self._interaction.take_back(_(_DELETED))
        await self._opening.open(session_id)
