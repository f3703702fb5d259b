"""What the user types: sent, carried out as a command, completed, brought back, edited; and files that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.content import Content
from textual.widgets import Static

from tui.language import _
from tui.screens.main.candidates import MainCandidates
from tui.sentences import reason
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tui import messages
    from tui.widgets.completion_menu import CompletionMenu
    from tui.widgets.sampling_pane import SamplingPane


class MainPrompt(MainCandidates):
    """The main screen with its prompt box at work."""

    # Sending

    def give_back(self, typed: str) -> None:
        """Put a command that was refused back into the box, before what was typed since."""
        self.prompt.show_draft("\n".join(text for text in (typed, self.prompt.text) if text))

    @work(group="send")
    async def send(self, sent: PromptBox.Sent, text: str) -> None:
        """Send a message, and clear the box of what was typed for it; what is not sent stays there."""
        try:
            await self._send(sent.text, text)
        finally:
            sent.taken.set()

    async def _send(self, typed: str, text: str) -> None:
        from storage.errors import StorageError

        # A question asked while the app is still opening a session belongs to that one.
        await self.workspace.opened.wait()
        attachments = self.workspace.attachments
        try:
            sent = await self.workspace.conversation.send(attachments.message(text))
        except StorageError as error:
            self.tell_trouble(_("The message was not sent, it is still in the box. {reason}", reason=reason(error)))
            return
        if not sent:
            waits = _("The answer before waits for the model: esc stops it, then enter sends.")
            writes = _("The answer before is still being written: esc stops it, then enter sends.")
            self.notify(waits if self.workspace.conversation.waiting else writes, markup=False)
            return
        attachments.remove("")
        self._show_attachments()
        self.workspace.prompts.forget_place()
        if self.prompt.text.rstrip() == typed:
            self.prompt.clear()
        self.transcript.follow()

    def on_text_area_changed(self, event: PromptBox.Changed) -> None:
        """Keep the draft, and offer completions."""
        if isinstance(event.text_area, PromptBox) and self.is_furnished:
            text = event.text_area.text
            self.keep_draft()
            self.workspace.housekeeping.touch()
            menu = self.prompt.menu
            if text.startswith("/") or (menu is not None and menu.is_open):
                self._complete(text)

    # What was asked before

    def on_mount(self) -> None:
        """Let the prompt box wait for what it asks of the services."""
        self.prompt.recall = self._recall
        self.prompt.offer = self._offer

    async def _recall(self, older: bool) -> None:
        """Bring back what was asked before what is shown, or after it."""
        from storage.errors import StorageError

        if not self.is_furnished:
            return
        try:
            found = await self.workspace.prompts.step(self.prompt.text, older)
        except StorageError as error:
            self.tell_trouble(reason(error))
            return
        if found is not None:
            self.prompt.show_draft(found)

    # Completions

    @work(exclusive=True, group="complete")
    async def _complete(self, text: str) -> None:
        await self._offer(text)

    async def _offer(self, text: str) -> None:
        from tui.services.completions import completions

        if not self.is_furnished:
            return
        found = await completions(text, self.workspace)
        menu = await self._menu()
        if self.prompt.text == text:
            menu.show(found)
            self.refresh_bindings()

    async def _menu(self) -> CompletionMenu:
        from tui.widgets.completion_menu import CompletionMenu

        if self.prompt.menu is None:
            self.prompt.menu = CompletionMenu()
            await self.query_one("#chat").mount(self.prompt.menu, before=self.prompt)
        return self.prompt.menu

    def on_completion_menu_clicked(self, event: CompletionMenu.Clicked) -> None:
        """Take the completion that was clicked."""
        self.prompt.show_draft(event.completion.text)
        self.prompt.focus()

    # The user's editor

    @work(exclusive=True, group="editor")
    async def action_editor(self) -> None:
        """Write the message in the user's editor."""
        from tui.services.editor import EditorError, edit_text

        try:
            text = await edit_text(self.app, self.prompt.text)
        except EditorError as error:
            self.tell_trouble(reason(error))
            return
        self.prompt.show_draft(text)
        self.prompt.focus()

    # Files

    async def attach(self, name: str) -> None:
        """Let a text file go with the next message. Raises AttachError."""
        await self.workspace.attachments.add(name)
        self._show_attachments()

    def detach(self, name: str) -> None:
        """Take a file back, or all."""
        if not self.workspace.attachments.remove(name):
            self.notify(_("No such file is attached."), severity="warning", markup=False)
        self._show_attachments()

    @work(exclusive=True, group="attachments")
    async def _show_attachments(self) -> None:
        words = self.workspace.attachments.words
        if not self.query("#attached"):
            if not words:
                return
            await self.query_one("#chat").mount(Static("", id="attached", markup=False), before=self.prompt)
        line = self.query_one("#attached", Static)
        line.update(Content(words))
        line.styles.padding = (0, 2)
        line.display = bool(words)

    async def on_engine_changed(self, event: messages.EngineChanged) -> None:
        """Another model makes other tokens of the files."""
        if event.phase == "ready" and self.workspace.attachments.files:
            await self.workspace.attachments.count()
            self._show_attachments()

    # Sliders

    def on_sampling_pane_changed(self, event: SamplingPane.Changed) -> None:
        """A slider moved."""
        self.workspace.conversation.set_sampling(event.sampling)
        self.show_preset()

    def on_settings_shown(self) -> None:
        """The sliders stand elsewhere."""
        self.show_preset()

    def show_preset(self) -> None:
        """Say at which preset the sliders stand."""
        from tui.widgets.engine_pane import EnginePane

        for pane in self.query(EnginePane):
            pane.show_preset(self._preset_now())
        self.workspace.looking.again()

    def _preset_now(self) -> str:
        conversation = self.workspace.conversation
        return self.workspace.presets.name_of(conversation.sampling, conversation.default_sampling)

    def action_choose_preset(self) -> None:
        """Choose a preset of the sliders."""
        from tui.screens.preset_picker import PresetPickerScreen

        self.app.push_screen(PresetPickerScreen(self.workspace.presets, self._preset_now()), self.take_preset)

    def take_preset(self, name: str | None) -> None:
        """Move all sliders to a preset; None leaves them."""
        conversation, presets = self.workspace.conversation, self.workspace.presets
        sampling = presets.sampling(name or "", conversation.sampling, conversation.default_sampling)
        if name is None or sampling is None:
            return
        conversation.set_sampling(sampling)
        self.sampling.show_sampling(sampling, conversation.default_sampling)
        self.show_preset()
        self.notify(f"{name}: {presets.words(name)}", markup=False)
