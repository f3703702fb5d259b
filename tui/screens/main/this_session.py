"""The open session as a whole: its title, its system prompt, its chat format, and a file with all of it."""

from __future__ import annotations

from tui.language import N_, _
from tui.screens.main.interaction import Interaction, RefusedError
from tui.screens.main.unkept_texts import UnkeptTexts
from tui.services.conversation import Conversation
from tui.services.engine_session import EngineSession
from tui.services.open_session import OpenSession
from tui.services.store import Store
from tui.text import short_path

_NO_TITLE_YET = N_("A session gets its title with its first message.")
_NOTHING_TO_EXPORT = N_("There is nothing to export yet: the session is empty.")


class ThisSession:
    """What the user changes about the open session. Whatever is awaited raises StorageError."""

    def __init__(
        self,
        conversation: Conversation,
        open_session: OpenSession,
        engine: EngineSession,
        store: Store,
        unkept: UnkeptTexts,
        interaction: Interaction,
    ) -> None:
        self._conversation = conversation
        self._open = open_session
        self._engine = engine
        self._store = store
        self._unkept = unkept
        self._interaction = interaction

    def ask_system(self) -> None:
        """Let what the model is told first be written."""
        from tui.screens.system_prompt import SystemPromptScreen

        about = f"system:{self._open.id or ''}"

        def change(text: str | None) -> None:
            if text is not None:
                self._interaction.do(self._unkept.take(about, text, self._conversation.set_system(text)))

        self._interaction.ask(SystemPromptScreen(self._open.system, about, self._unkept.by_what), change)

    async def set_system(self, text: str) -> None:
        """Tell the model this first."""
        await self._conversation.set_system(text)

    def ask_title(self) -> None:
        """Let another title be written."""
        from tui.screens.rename import RenameScreen

        session = self._open.session
        if session is None:
            self._interaction.tell(_(_NO_TITLE_YET))
        else:

            def rename(title: str | None) -> None:
                if title:
                    self._interaction.do(self._conversation.rename(title))

            self._interaction.ask(RenameScreen(session.title), rename)

    async def rename(self, title: str) -> None:
        """Give it another title. Raises RefusedError where it has none yet."""
        if self._open.session is None:
            raise RefusedError(_(_NO_TITLE_YET))
        await self._conversation.rename(title)

    async def set_template(self, name: str) -> None:
        """Have it written in another chat format from now on. Raises RefusedError where that cannot be."""
        # The formats bring a template language along, which nobody needs before this.
        from engine.chat import format_names
        from tui.services.completions import OWN_TEMPLATE

        card, names = self._engine.card, [OWN_TEMPLATE, *format_names()]
        if name not in names:
            raise RefusedError(
                _("There is no chat format {rest}. There are: {names}.", rest=name, names=", ".join(names))
            )
        if card is not None and not card.abilities.template:
            raise RefusedError(
                _("The server writes conversations in its model's format; another one cannot be chosen.")
            )
        await self._conversation.set_template(None if name == OWN_TEMPLATE else name)
        self._interaction.tell(_("Chat format, from the next answer on: {rest}.", rest=name))

    def tell_template(self) -> None:
        """Say which chat format it has."""
        card = self._engine.card
        own = _("the model's own, {template}", template=card.template) if card is not None else _("the model's own")
        self._interaction.tell(
            _("Chat format: {name}. /template NAME chooses another.", name=self._open.template or own)
        )

    def begin_export(self, wanted: str) -> None:
        """Write it to a file, by the name of a format."""
        if self._open.session is None:
            self._interaction.tell(_(_NOTHING_TO_EXPORT))
        else:
            self._interaction.begin(self.export(wanted))

    async def export(self, wanted: str) -> None:
        """Write it to a file. Raises RefusedError where there is nothing to write."""
        from tui.services.export_file import export_session_file

        session = self._open.session
        if session is None:
            raise RefusedError(_(_NOTHING_TO_EXPORT))
        path = await export_session_file(self._store, session, wanted)
        self._interaction.tell(_("Written to {path}", path=short_path(path)))
