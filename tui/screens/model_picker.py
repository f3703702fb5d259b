"""Choose a model: those on this machine with what they need, a file by its path, or a server of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.remote.config import ServerConfig
from tui.screens.dialog import Dialog
from tui.services.models import Models
from tui.text import human_bytes, safe_line

if TYPE_CHECKING:
    from engine.catalog import ModelInfo


_SERVER = "server:"


class ModelPickerScreen(Dialog[Path | str]):
    """Returns the chosen file, or the name of the chosen server."""

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
        super().on_mount()
        self._look()

    @work
    async def _look(self) -> None:
        self._found = await self._models.list()
        options = [Option(_line(model), id=f"{at}") for at, model in enumerate(self._found)]
        if not options:
            options = [Option(Content.styled("None here yet.", "dim"), disabled=True)]
        servers = self._models.servers
        options += [Option(_server_line(name, config), id=f"{_SERVER}{name}") for name, config in servers.items()]
        models = self.query_one(OptionList)
        models.clear_options()
        models.add_options(options)
        if self._found or servers:
            models.highlighted = 0 if self._found else 1
        else:
            self.query_one(Input).focus()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option_id
        if chosen is None:
            return
        if chosen.startswith(_SERVER):
            self.dismiss(chosen.removeprefix(_SERVER))
        else:
            self.dismiss(Path(self._found[int(chosen)].path))

    @on(Input.Submitted)
    def _choose_path(self, event: Input.Submitted) -> None:
        path = Path(event.value.strip()).expanduser()
        if path.is_file() or path.is_dir():
            self.dismiss(path)
            return
        trouble = self.query_one(".trouble", Static)
        trouble.update(Content(f"There is no file {safe_line(str(path))}."))
        trouble.add_class("-shown")


def _server_line(name: str, config: ServerConfig) -> Content:
    figures = " · ".join(part for part in ("server", config.host, config.model) if part)
    return Content.assemble(safe_line(name, 60), "\n  ", (safe_line(figures), "dim"))


def _line(model: ModelInfo) -> Content:
    fits = "" if model.fits else f"  needs {human_bytes(model.needs_bytes)}, has {human_bytes(model.available_bytes)}"
    figures = f"{model.quantization} · {human_bytes(model.size_bytes)} · {model.format}"
    return Content.assemble(
        safe_line(Path(model.path).name, 60), "\n  ", (safe_line(figures), "dim"), (fits, "bold $text-warning")
    )
