"""Choose a model: those on this machine with what they need, a file by its path, one to fetch, or a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.remote.config import ServerConfig
from tui.language import N_, _
from tui.screens.fetching import FetchingDialog
from tui.services.models import Models
from tui.text import human_bytes, safe_line

if TYPE_CHECKING:
    from engine.catalog import ModelInfo


_SERVER = "server:"


class ModelPickerScreen(FetchingDialog):
    """Returns the chosen file, a fetched one, or the name of the chosen server."""

    DIALOG_TITLE: ClassVar[str] = N_("Open a model")

    def __init__(self, models: Models, fetch: str = "") -> None:
        super().__init__(models)
        self._found: list[ModelInfo] = []
        self._fetch_first = fetch

    def contents(self) -> list[Widget]:
        """The list, a line for a path or an address, and what there is to say about a download."""
        return [
            OptionList(Option(Content.styled(_("Looking …"), "dim"), disabled=True), markup=False),
            Input(placeholder=_("a file's path; to fetch: smollm2, hf:OWNER/NAME or an address"), compact=True),
            *self.fetch_parts(),
            Static(Content.styled(self._places(), "dim"), classes="text"),
        ]

    def _places(self) -> str:
        places = ", ".join(safe_line(str(place)) for place in self.models.directories)
        return _("Models are looked for in {places}", places=places)

    def on_mount(self) -> None:
        """Look around."""
        super().on_mount()
        self._look()
        if self._fetch_first:
            self.fetch(self._fetch_first)

    @work
    async def _look(self) -> None:
        self._found = await self.models.list()
        options = [Option(_line(model), id=f"{at}") for at, model in enumerate(self._found)]
        if not options:
            options = [Option(Content.styled(_("None here yet."), "dim"), disabled=True)]
        servers = self.models.servers
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
    def _choose_typed(self, event: Input.Submitted) -> None:
        from engine.pulling import is_fetchable

        typed = event.value.strip()
        path = Path(typed).expanduser()
        if is_fetchable(typed):
            self.fetch(typed)
        elif typed and (path.is_file() or path.is_dir()):
            self.dismiss(path)
        else:
            self.show_trouble(_("There is no file {path}.", path=safe_line(str(path))))


def _server_line(name: str, config: ServerConfig) -> Content:
    figures = " · ".join(part for part in (_("server"), config.host, config.model) if part)
    return Content.assemble(safe_line(name, 60), "\n  ", (safe_line(figures), "dim"))


def _line(model: ModelInfo) -> Content:
    """Its name, and below what it is and whether it fits."""
    figures = [model.quantization, human_bytes(model.size_bytes), model.format]
    figures += [_("{n} tokens", n=model.context), model.template]
    needs, has = human_bytes(model.needs_bytes), human_bytes(model.available_bytes)
    slow = "" if model.fits else _("runs from disk, slowly: needs {needs}, has {has}", needs=needs, has=has)
    return Content.assemble(
        safe_line(Path(model.path).name, 60),
        "\n  ",
        (safe_line(" · ".join(figure for figure in figures if figure)), "dim"),
        ("\n  " if slow else "", ""),
        (slow, "bold $text-warning"),
    )
