"""The first start, when there is no model: what that means, and two ways out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, ProgressBar, Static

from tui.language import N_, _
from tui.messages import StarterAdvanced, StarterEnded
from tui.screens.dialog import Dialog
from tui.screens.model_picker import ModelPickerScreen
from tui.services.workspace import Workspace
from tui.stages import FETCHING
from tui.text import human_bytes, safe_text

_WELCOME = N_("""\
llm-tui talks with language models that run on this machine's own processor. Nothing you write leaves it.

It needs a model file first. The starter model, SmolLM2 with 135 million parameters, is small and quick: \
good to look around. Any GGUF file that you have already opens as it is.\
""")


class FirstRunScreen(Dialog[Path | str]):
    """Returns a model that was chosen; the starter model is fetched and opened by the workspace itself."""

    DIALOG_TITLE: ClassVar[str] = "Welcome"

    def __init__(self, workspace: Workspace, reason: str = "") -> None:
        super().__init__()
        self._workspace = workspace
        self._reason = reason

    def contents(self) -> list[Widget]:
        """Text, progress and buttons."""
        from engine.starter import SMOLLM2

        size = human_bytes(SMOLLM2.model_bytes)
        return [
            Static(Content(_(_WELCOME)), classes="text"),
            Static(Content(safe_text(self._reason)), classes="trouble -shown" if self._reason else "trouble"),
            ProgressBar(show_eta=False),
            Static("", classes="text stage", markup=False),
            Horizontal(
                Button(_("Fetch the starter model ({size})", size=size), variant="primary", id="fetch"),
                Button(_("Choose a file"), id="choose"),
                Button(_("Later"), id="later"),
                classes="buttons",
            ),
        ]

    @on(Button.Pressed, "#fetch")
    def _fetch(self) -> None:
        self.query_one("#fetch", Button).disabled = True
        self.query_one(".trouble").remove_class("-shown")
        self.query_one(ProgressBar).add_class("-shown")
        self.app.run_worker(self._workspace.fetch_starter(), name="fetch the starter model", exit_on_error=True)

    @on(Button.Pressed, "#choose")
    def _choose(self) -> None:
        def chosen(choice: Path | str | None) -> None:
            if choice is not None:
                self.dismiss(choice)

        self.app.push_screen(ModelPickerScreen(self._workspace.models), chosen)

    @on(Button.Pressed, "#later")
    def _later(self) -> None:
        self.dismiss(None)

    def show_download(self, event: StarterAdvanced | StarterEnded) -> None:
        """How the download goes; when it is over the screen has done its work."""
        if isinstance(event, StarterAdvanced):
            bar = self.query_one(ProgressBar)
            bar.update(total=event.total_bytes or None, progress=event.done_bytes)
            done, total = human_bytes(event.done_bytes), human_bytes(event.total_bytes)
            part = _("{done} of {total}", done=done, total=total) if event.total_bytes else ""
            self.query_one(".stage", Static).update(Content(f"{_(FETCHING[event.stage])} {part}"))
        elif event.error:
            trouble = self.query_one(".trouble", Static)
            trouble.update(Content(safe_text(event.error)))
            trouble.add_class("-shown")
            self.query_one(ProgressBar).remove_class("-shown")
            self.query_one("#fetch", Button).disabled = False
        else:
            self.dismiss(None)
