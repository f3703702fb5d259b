"""What was written in a dialog and refused by a service: the dialog offers it again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from tui.language import _
from tui.screens.main.interaction import Interaction


class UnkeptTexts:
    """Each by what it belongs to; dialogs that were closed without keeping their text leave it here too."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction
        self.by_what: dict[str, str] = {}

    async def take(self, about: str, text: str, deed: Coroutine[Any, Any, object]) -> None:
        """Let a service take a text. Raises StorageError where it cannot."""
        self.by_what[about] = text
        if await deed is False:
            self._interaction.tell(_("The answer is still being written: esc stops it."))
        else:
            del self.by_what[about]
