"""What the user does to the sessions of the history, and to the messages of the open one."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual import work

from tui.language import N_, _
from tui.screens.main.events import MainEvents
from tui.sentences import reason
from tui.speaking import SpeakingApp
from tui.text import short_path

if TYPE_CHECKING:
    from storage.records import PathMessage
    from tui.services.history import Found
    from tui.widgets.history_pane import HistoryPane

NO_TITLE_YET = N_("A session gets its title with its first message.")
DELETED = N_("Session deleted. u in the history brings it back, until you leave.")
NOTHING_TO_EXPORT = N_("There is nothing to export yet: the session is empty.")


class MainSessions(MainEvents):
    """The main screen with the actions on sessions and their messages."""

    @work(group="do")
    async def _do(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let a service do something; what goes wrong is said."""
        from storage.errors import StorageError

        try:
            await deed
        except StorageError as error:
            self.tell_trouble(reason(error))

    async def _take_text(self, about: str, text: str, deed: Coroutine[Any, Any, object]) -> None:
        """Let a service take what was written in a dialog, which offers it again where it is refused."""
        self.unkept_texts[about] = text
        if await deed is False:
            self.notify(_("The answer is still being written: esc stops it."), markup=False)
        else:
            del self.unkept_texts[about]

    # Sessions

    def go_to_session(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let another session be shown: what is typed from now on belongs to that one."""
        if not self._n_switches:
            self.keep_draft()
            self._shown_draft = self.prompt.text
            self.prompt.clear()
        self._n_switches += 1
        self._do(self._go(deed))

    async def _go(self, deed: Coroutine[Any, Any, object]) -> None:
        from storage.errors import StorageError

        try:
            await deed
        except StorageError:
            self.end_switch(None)
            raise

    def on_history_pane_chosen(self, event: HistoryPane.Chosen) -> None:
        """Open a session, at the message that was found."""
        self.go_to_session(self.workspace.conversation.open(event.session_id, at=event.message_id))
        self.action_back()

    def _chosen(self) -> Found | None:
        found = self.history.highlighted
        if found is None:
            self.notify(_("Go to a session in the history first: f2."), markup=False)
        return found

    def action_rename_session(self) -> None:
        """Give the session under the history's cursor another title."""
        from tui.screens.rename import RenameScreen

        found = self._chosen()
        if found is not None:

            def rename(title: str | None) -> None:
                if title:
                    self._do(self._rename(found.session_id, title))

            self.app.push_screen(RenameScreen(found.title), rename)

    async def _rename(self, session_id: str, title: str) -> None:
        self.workspace.conversation.take_title(await self.workspace.history.rename(session_id, title))
        await self.show_history()

    def action_pin_session(self) -> None:
        """Keep the session under the history's cursor on top, or let it go again."""
        found = self._chosen()
        if found is not None:
            self._do(self._pin(found.session_id))

    def action_archive_session(self) -> None:
        """Put the session under the history's cursor out of sight, or back."""
        found = self._chosen()
        if found is not None:
            self._do(self._archive(found.session_id))

    async def _pin(self, session_id: str) -> None:
        await self.workspace.history.pin(session_id)
        await self.show_history()

    async def _archive(self, session_id: str) -> None:
        archived = await self.workspace.history.archive(session_id)
        await self.show_history()
        back = _("The session is back among the others.")
        self.notify(_("The session is archived; v shows the archived ones.") if archived else back, markup=False)

    def action_export(self, wanted: str = "md") -> None:
        """Write the open session to a file."""
        if self.workspace.conversation.session is None:
            self.notify(_(NOTHING_TO_EXPORT), markup=False)
        else:
            self._do(self.export(wanted))

    async def export(self, wanted: str) -> None:
        """Write the open session to a file. Raises StorageError."""
        from tui.services.export_file import export_session_file

        session = self.workspace.conversation.session
        assert session is not None
        path = await export_session_file(self.workspace.store, session, wanted)
        self.notify(_("Written to {path}", path=short_path(path)), markup=False)

    def action_show_archived(self) -> None:
        """Show the archived sessions, or the others again."""
        self._do(self.history.show_archived(not self.history.archived))

    def action_end_search(self) -> None:
        """Show all sessions again in place of what a search found."""
        self.history.end_search()

    def on_history_pane_listing(self, event: HistoryPane.Listing) -> None:
        """The pane is called after what it lists."""
        self.query_one("#history").border_title = _("Archived") if event.archived else _("History")

    def action_delete_session(self) -> None:
        """Delete the session under the history's cursor."""
        found = self._chosen()
        if found is not None:
            self._do(self._delete(found.session_id))

    async def _delete(self, session_id: str) -> None:
        conversation = self.workspace.conversation
        if conversation.session is not None and conversation.session.id == session_id:
            await conversation.new(for_good=True)
        await self.workspace.history.delete(session_id)
        self.notify(_(DELETED), markup=False)
        await self.show_history()

    def action_restore_session(self) -> None:
        """Bring the session back that was deleted last."""
        self._do(self._restore())

    async def _restore(self) -> None:
        session_id = await self.workspace.history.restore_last()
        if session_id is None:
            self.notify(_("There is no deleted session to bring back."), markup=False)
            return
        self.post_message(SpeakingApp.Outdated(_(DELETED)))
        await self.workspace.conversation.open(session_id)

    # Messages

    def _item(self) -> PathMessage | None:
        """The message under the cursor, else the last one."""
        path = self.workspace.conversation.path
        item = self.transcript.cursor_item or (path[-1] if path else None)
        if item is None:
            self.notify(_("Nothing was said yet."), markup=False)
        elif self.workspace.conversation.is_busy:
            self.notify(_("The answer is still being written: esc stops it."), markup=False)
            return None
        return item

    def action_edit_message(self) -> None:
        """Write another version of the message under the cursor, else of the last one of the user's."""
        from tui.screens.edit_message import EditMessageScreen

        item = self._item()
        if item is None:
            return
        if self.transcript.cursor_item is None:
            path = self.workspace.conversation.path
            item = next((one for one in reversed(path) if one.message.role == "user"), item)
        message = item.message

        def edit(text: str | None) -> None:
            if text and text != message.content:
                self._do(self._take_text(message.id, text, self.workspace.conversation.edit(message.id, text)))
                self.prompt.focus()

        self.app.push_screen(EditMessageScreen(message, self.unkept_texts), edit)

    def action_again_here(self) -> None:
        """Have the message under the cursor answered anew, or the answer under it written again."""
        item = self._item()
        if item is not None:
            self._do(self.workspace.conversation.answer_again(item.message.id))

    def action_fork(self) -> None:
        """Copy the session up to the message under the cursor into one of its own."""
        item = self._item()
        if item is not None:
            self.go_to_session(self._fork(item.message.id))

    async def _fork(self, message_id: str) -> None:
        await self.workspace.conversation.fork(message_id)
        self.notify(_("This is a copy, a session of its own; the other one stays as it is."), markup=False)
        self.prompt.focus()

    def action_delete_message(self) -> None:
        """Delete the message under the cursor, else the last one, and what follows it, after a question."""
        from tui.screens.confirm import ConfirmScreen

        item = self._item()
        if item is None:
            return
        message_id = item.message.id

        def delete(confirmed: bool | None) -> None:
            if confirmed:
                self._do(self.workspace.conversation.delete_message(message_id))

        question = _("Delete this message, and all that follows it on any branch? Enter deletes, escape keeps it.")
        self.app.push_screen(ConfirmScreen(question), delete)

    def action_sibling(self, step: int) -> None:
        """Show another version of the message under the cursor, else of the last one that has any."""
        item = self.transcript.cursor_item
        here = item.message.id if item is not None and item.sibling_count > 1 else None
        self._do(self.workspace.conversation.switch_sibling(here, step))
