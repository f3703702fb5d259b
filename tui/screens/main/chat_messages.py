"""The messages of the open session, and what the user does to the one under the cursor."""

from __future__ import annotations

from storage.records import PathMessage
from tui.language import _
from tui.screens.main.interaction import Interaction
from tui.screens.main.switching import Switching
from tui.screens.main.unkept_texts import UnkeptTexts
from tui.services.conversation import Conversation
from tui.services.open_session import OpenSession
from tui.services.writing import Writing
from tui.widgets.prompt_box import PromptBox
from tui.widgets.transcript import Transcript


class ChatMessages:
    """The cursor in what is shown of the conversation."""

    def __init__(
        self,
        conversation: Conversation,
        open_session: OpenSession,
        writing: Writing,
        transcript: Transcript,
        prompt: PromptBox,
        switching: Switching,
        unkept: UnkeptTexts,
        interaction: Interaction,
    ) -> None:
        self._conversation = conversation
        self._open = open_session
        self._writing = writing
        self._transcript = transcript
        self._prompt = prompt
        self._switching = switching
        self._unkept = unkept
        self._interaction = interaction

    def _chosen(self) -> PathMessage | None:
        """The message under the cursor, else the last one."""
        path = self._open.path
        item = self._transcript.cursor_item or (path[-1] if path else None)
        if item is None:
            self._interaction.tell(_("Nothing was said yet."))
        elif self._writing.is_busy:
            self._interaction.tell(_("The answer is still being written: esc stops it."))
            return None
        return item

    def edit(self) -> None:
        """Write another version of the message under the cursor, else of the last one of the user's."""
        from tui.screens.edit_message import EditMessageScreen

        item = self._chosen()
        if item is None:
            return
        if self._transcript.cursor_item is None:
            path = self._open.path
            item = next((one for one in reversed(path) if one.message.role == "user"), item)
        message = item.message

        def edit(text: str | None) -> None:
            if text and text != message.content:
                deed = self._conversation.edit(message.id, text)
                self._interaction.do(self._unkept.take(message.id, text, deed))
                self._prompt.focus()

        self._interaction.ask(EditMessageScreen(message, self._unkept.by_what), edit)

    def answer_here(self) -> None:
        """Have the message under the cursor answered anew, or the answer under it written again."""
        item = self._chosen()
        if item is not None:
            self._interaction.do(self._conversation.answer_again(item.message.id))

    def fork(self) -> None:
        """Copy the session up to the message under the cursor into one of its own."""
        item = self._chosen()
        if item is not None:
            self._switching.fork(item.message.id)

    def delete(self) -> None:
        """Delete the message under the cursor, else the last one, and what follows it, after a question."""
        from tui.screens.confirm import ConfirmScreen

        item = self._chosen()
        if item is None:
            return
        message_id = item.message.id

        def delete(confirmed: bool | None) -> None:
            if confirmed:
                self._interaction.do(self._conversation.delete_message(message_id))

        question = _("Delete this message, and all that follows it on any branch? Enter deletes, escape keeps it.")
        self._interaction.ask(ConfirmScreen(question), delete)

    def show_sibling(self, step: int) -> None:
        """Show another version of the message under the cursor, else of the last one that has any."""
        item = self._transcript.cursor_item
        here = item.message.id if item is not None and item.sibling_count > 1 else None
        self._interaction.do(self._conversation.switch_sibling(here, step))
