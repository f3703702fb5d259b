"""Choose a model: those on this machine with what they need, a file by its path, one to fetch, or a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.remote.config import ServerConfig
from engine.typed_path import typed_path
from tui.in_order import BEFORE_KEYS
from tui.language import N_, _
from tui.screens.fetching import FetchingDialog
from tui.services.models import Models
from tui.services.own_thread import on_own_thread
from tui.text import human_bytes, safe_line, short_path
from tui.widgets.boxes import LineBox
from tui.widgets.entry import Entry

if TYPE_CHECKING:
    from engine.catalog import Unreadable
    from engine.model_info import ModelInfo


_SERVER = "server:"
_ON_BASE = "on base:"
_OF_OTHERS = "of others:"


class ModelPickerScreen(FetchingDialog):
    """Returns the chosen file, a fetched one, or the name of the chosen server. folder: whose models to begin at."""

    DIALOG_TITLE: ClassVar[str] = N_("Open a model")
    ENTER: ClassVar[str] = "open"

    def __init__(
        self, models: Models, fetch: str = "", base_for: str = "", trouble: str = "", folder: Path | None = None
    ) -> None:
        super().__init__(models)
        self._trouble = trouble
        self._found: list[ModelInfo] = []
        self._additions: list[Unreadable] = []
        self._others: list[tuple[str, Path]] = []
        self._fetch_first = fetch
        self._base_for = base_for
        self._folder = folder

    def contents(self) -> list[Widget]:
        """The list, a line for a path or an address, and what there is to say about a download."""
        return [
            OptionList(_looking(), markup=False),
            LineBox(placeholder=_("path, or to fetch: smollm2, hf:OWNER/NAME, an address"), compact=True),
            *self.fetch_parts(self._trouble),
            Static(self._places(), classes="text", id="places"),
        ]

    def _places(self) -> Content:
        places = ", ".join(safe_line(str(place)) for place in self.models.directories)
        return Content.styled(_("Models are looked for in {places}", places=places), "dim")

    def on_mount(self) -> None:
        """Look around."""
        if self._base_for:
            self.query_one(".dialog").border_title = Content(_("The base model of {name}", name=self._base_for))
        if self._folder is None:
            self._look()
        else:
            self._look_in(self._folder)
        if self._fetch_first:
            self.fetch(self._fetch_first)

    @work(group=BEFORE_KEYS)
    async def _look(self) -> None:
        from engine.catalog import file_names

        self._found, unreadable = await self.models.survey()
        self._others = await self.models.folders_of_others()
        models = self.query_one_optional(OptionList)
        if models is None:
            # The dialog is being closed, which takes its parts away before it ends what goes on in it.
            return
        named = zip(file_names(self._found), self._found, strict=True)
        options = [Option(_line(name, model), id=f"{at}") for at, (name, model) in enumerate(named)]
        servers: dict[str, ServerConfig] = {}
        if not self._base_for:
            servers = self.models.servers
            self._additions = [file for file in unreadable if file.needs_base]
        options += [Option(_addition_line(each), id=f"{_ON_BASE}{at}") for at, each in enumerate(self._additions)]
        if not options:
            options = [Option(_("None here yet."), disabled=True)]
        others = enumerate(self._others)
        options += [Option(_others_line(name, folder), id=f"{_OF_OTHERS}{at}") for at, (name, folder) in others]
        options += [Option(_server_line(name, config), id=f"{_SERVER}{name}") for name, config in servers.items()]
        models.clear_options()
        models.add_options(options)
        if len(options) > 1 or not options[0].disabled:
            models.highlighted = 1 if options[0].disabled else 0
        else:
            self.query_one(Input).focus()

    @work
    async def _look_in(self, folder: Path) -> None:
        """Take a folder that is a model; of one that has several, list those too."""
        if await self.models.look_in(folder):
            await self._list_too(folder)
        else:
            self.take(folder)

    @work
    async def _look_in_others(self, folder: Path) -> None:
        self.models.add_folder(folder)
        await self._list_too(folder)

    async def _list_too(self, folder: Path) -> None:
        self.query_one("#places", Static).update(self._places())
        self.query_one(Input).clear()
        models = self.query_one(OptionList)
        models.clear_options().add_option(_looking())
        await self._look().wait()
        of_folder = (at for at, model in enumerate(self._found) if Path(model.path).is_relative_to(folder))
        models.highlighted = next(of_folder, models.highlighted)
        models.focus()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option_id
        if chosen is None:
            return
        if chosen.startswith(_SERVER):
            self.dismiss(chosen.removeprefix(_SERVER))
        elif chosen.startswith(_OF_OTHERS):
            self._look_in_others(self._others[int(chosen.removeprefix(_OF_OTHERS))][1])
        elif chosen.startswith(_ON_BASE):
            self._choose_base(Path(self._additions[int(chosen.removeprefix(_ON_BASE))].path))
        else:
            self.dismiss(Path(self._found[int(chosen)].path))

    def _choose_base(self, addition: Path) -> None:
        """Ask for the model that an adapter or a difference is added to, and return that."""

        def chosen(base: Path | str | None) -> None:
            if isinstance(base, Path):
                self._put_on(addition, base)

        self.app.push_screen(ModelPickerScreen(self.models, base_for=safe_line(addition.name, 60)), chosen)

    @work
    async def _put_on(self, addition: Path, base: Path) -> None:
        await self.models.remember_base(addition, base)
        self.dismiss(addition)

    def take(self, path: Path) -> None:
        """Return a file that was fetched or named, after asking for its base where it needs one."""
        self._take(path)

    @work
    async def _take(self, path: Path) -> None:
        if not self._base_for and await self.models.needs_base(path):
            self._choose_base(path)
        else:
            self.dismiss(path)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._choose_typed(event.value.strip())

    @work(group=BEFORE_KEYS)
    async def _choose_typed(self, typed: str) -> None:
        from engine.pulling import is_fetchable

        path = typed_path(typed)
        if not typed:
            return
        if is_fetchable(typed):
            self.fetch(typed)
        elif await on_own_thread(os.path.isdir, path):
            self._look_in(path)
        elif await on_own_thread(os.path.isfile, path):
            self.take(path)
        else:
            self.show_trouble(_("There is no file {path}.", path=safe_line(str(path))))


def _looking() -> Option:
    return Option(_("Looking …"), disabled=True)


def _server_line(name: str, config: ServerConfig) -> Entry:
    figures = " · ".join(part for part in (_("server"), config.host, config.model) if part)
    return _entry(name, figures)


def _addition_line(addition: Unreadable) -> Entry:
    return _entry(Path(addition.path).name, _("is added to another model; enter asks to which"))


def _others_line(program: str, folder: Path) -> Entry:
    where = short_path(folder)
    return _entry(_("Models of {program}", program=program), _("enter looks in {folder}", folder=where))


def _line(name: str, model: ModelInfo) -> Entry:
    """Its name, and below what it is and whether it fits."""
    figures = [model.quantization, human_bytes(model.size_bytes), model.format]
    figures += [_("{n} tokens", n=model.context), model.template]
    needs, has = human_bytes(model.needs_bytes), human_bytes(model.available_bytes)
    slow = "" if model.fits else _("runs from disk, slowly: needs {needs}, has {has}", needs=needs, has=has)
    warnings = [Content.styled(slow, "bold")] if slow else []
    return _entry(name, " · ".join(figure for figure in figures if figure), *warnings)


def _entry(name: str, figures: str, *warnings: Content) -> Entry:
    return Entry(Content(safe_line(name, 60)), Content.styled(safe_line(figures), "dim"), *warnings)
