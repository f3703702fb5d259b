"""Choose a model: those on this machine with what they need, or a file by its path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.screens.dialog import Dialog
from tui.services.models import Models
from tui.text import human_bytes, safe_line

if TYPE_CHECKING:
    from engine.catalog import ModelInfo


class ModelPickerScreen(Dialog[Path]):
    """Returns the chosen file."""

    DIALOG_TITLE: ClassVar[str] = "Open a model"

    def __init__(self, models: Models) -> None:
        super().__init__()
        self._models = models
        self._found: list[ModelInfo] = []

    def contents(self) -> list[Widget]:
        """The list, and a line for a path."""
        return [
            OptionList(Option(Content.styled("Looking …", "dim"), disabled=True), markup=False),
            Input(placeholder="or the path of a model file", compact=True),
            Static("", classes="trouble", markup=False),
            Static(Content.styled(self._places(), "dim"), classes="text"),
        ]

    def _places(self) -> str:
        return "Models are looked for in " + ", ".join(safe_line(str(place)) for place in self._models.directories)

    def on_mount(self) -> None:
        """Look around."""
        self._look()

    @work
    async def _look(self) -> None:
        self._found = await self._models.list()
        options = [Option(_line(model), id=str(at)) for at, model in enumerate(self._found)]
        if not options:
            options = [Option(Content.styled("None here yet.", "dim"), disabled=True)]
        models = self.query_one(OptionList)
        models.clear_options()
        models.add_options(options)
        if self._found:
            models.highlighted = 0
        else:
            self.query_one(Input).focus()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        if event.option_id is not None:
            self.dismiss(Path(self._found[int(event.option_id)].path))

    @on(Input.Submitted)
    def _choose_path(self, event: Input.Submitted) -> None:
        path = Path(event.value.strip()).expanduser()
        if path.is_file() or path.is_dir():
            self.dismiss(path)
            return
        trouble = self.query_one(".trouble", Static)
        trouble.update(Content(f"There is no file {safe_line(str(path))}."))
        trouble.add_class("-shown")


def _line(model: ModelInfo) -> Content:
    fits = "" if model.fits else f"  needs {human_bytes(model.needs_bytes)}, has {human_bytes(model.available_bytes)}"
    figures = f"{model.quantization} · {human_bytes(model.size_bytes)} · {model.format}"
    return Content.assemble(
        safe_line(Path(model.path).name, 60), "\n  ", (safe_line(figures), "dim"), (fits, "bold $text-warning")
    )
