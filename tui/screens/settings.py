"""The settings that most people change, with what they do; the file has them all, and its comments stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin

import msgspec
from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.language import N_, _
from tui.screens.dialog import Dialog
from tui.setting_reasons import reason_of
from tui.settings import Settings, SettingsError, SettingsFile
from tui.text import safe_line
from tui.widgets.boxes import LineBox
from tui.widgets.entry import Entry

_NEW_SESSION = N_("For a new session; empty: as the model's makers recommend.")
_EXPLANATION = N_("Enter changes a setting. Theme and copying change at once, the rest with the next start. The file:")


@dataclass(frozen=True)
class Row:
    """A setting by its name in the file, and what it does."""

    name: str
    about: str

    @property
    def type(self) -> Any:
        """What the setting may be."""
        struct: Any = Settings
        for part in self.name.split("."):
            struct = next(field.type for field in msgspec.structs.fields(struct) if field.name == part)
        return struct

    def value(self, settings: Settings) -> Any:
        """What the setting is."""
        value: Any = settings
        for part in self.name.split("."):
            value = getattr(value, part)
        return value

    def choices(self, themes: list[str]) -> list[Any]:
        """What it can be where that is a few things; else it is typed."""
        if self.name == "app.theme":
            return themes
        if self.type is bool:
            return [True, False]
        return list(get_args(self.type)) if get_origin(self.type) is Literal else []


ROWS = (
    Row("app.language", N_("Language of the screens and commands; auto: the locale's.")),
    Row("app.theme", N_("Colours.")),
    Row("app.clipboard", N_("How a copy is sent to the terminal's clipboard.")),
    Row("chat.enter_sends", N_("Enter sends and ctrl+j begins a new line; no: the other way round.")),
    Row("chat.model_titles", N_("The model makes the titles of sessions when it is idle.")),
    Row("chat.system_prompt", N_("What the model is told first in a new session.")),
    Row("models.default", N_("The model to open where none is named; empty: the last one.")),
    Row("sampling.temperature", _NEW_SESSION),
    Row("sampling.top_k", _NEW_SESSION),
    Row("sampling.top_p", _NEW_SESSION),
    Row("sampling.min_p", _NEW_SESSION),
    Row("sampling.repeat_penalty", _NEW_SESSION),
    Row("sampling.max_tokens", N_("The longest answer in tokens; 0: up to the context's end.")),
    Row("engine.threads", N_("Threads to compute with; 0: the physical cores.")),
    Row("engine.context", N_("Tokens of context; 0: what the model can and the memory holds.")),
    Row("engine.kv_type", N_("What keys and values are kept as; q8_0 takes half the memory of f16.")),
    Row("engine.panels", N_("Whether arranged weights are kept on disk or in memory alone.")),
    Row("engine.cache_limit_gb", N_("Gigabytes on disk for all arranged weights.")),
)


class SettingsScreen(Dialog[None]):
    """Writes each change into the file at once."""

    DIALOG_TITLE: ClassVar[str] = "Settings"
    ENTER: ClassVar[str] = "change"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete", "reset", "default", id="settings.reset", tooltip="Give the setting its default back"),
    ]

    def __init__(self, file: SettingsFile) -> None:
        super().__init__()
        self._file = file
        file.read()
        # What is being typed; the mouse may have highlighted another row meanwhile.
        self._typed_row: Row | None = None

    def contents(self) -> list[Widget]:
        """The settings, a line to type in, and where the file is."""
        rows = OptionList(*(Option(self._line(row), id=row.name) for row in ROWS), markup=False)
        rows.highlighted = 0
        typed = LineBox(compact=True)
        typed.display = False
        explanation = Content.assemble((_(_EXPLANATION), "dim"), " ", safe_line(str(self._file.path)))
        return [rows, typed, Static("", classes="trouble", markup=False), Static(explanation, classes="text")]

    def _line(self, row: Row) -> Entry:
        value = row.value(self._file.settings)
        words = {True: _("yes"), False: _("no"), None: "-"}
        shown = words[value] if isinstance(value, bool | None) else safe_line(str(value), 40)
        return Entry(Content.assemble(row.name, "  ", (shown, "bold")), Content.styled(_(row.about), "dim"))

    @property
    def _row(self) -> Row:
        return ROWS[self.query_one(OptionList).highlighted or 0]

    @on(OptionList.OptionSelected)
    async def _change(self) -> None:
        row = self._row
        value, choices = row.value(self._file.settings), row.choices(sorted(self.app.available_themes))
        if choices:
            await self._save(row, choices[(choices.index(value) + 1) % len(choices) if value in choices else 0])
            return
        self._typed_row = row
        typed = self.query_one(Input)
        typed.value = "" if value is None else str(value)
        typed.display = True
        typed.focus()

    @on(Input.Submitted)
    async def _take(self, event: Input.Submitted) -> None:
        row, text = self._typed_row or self._row, event.value.strip()
        if row.type is str or not text:
            await self._save(row, text if row.type is str else None)
            return
        number = text.replace(",", ".") if row.type != (str | None) else text
        try:
            await self._save(row, msgspec.convert(number, row.type, strict=False))
        except msgspec.ValidationError as error:
            self._complain(f"{row.name}: {reason_of(error)}.")

    async def action_reset(self) -> None:
        """Take the setting out of the file."""
        await self._save(self._row, None)

    async def _save(self, row: Row, value: Any) -> None:
        """Write it into the file; the next key is for what the dialog shows then."""
        try:
            await asyncio.to_thread(self._file.change, row.name, value)
        except SettingsError as error:
            self._complain(str(error))
            return
        rows, typed = self.query_one(OptionList), self.query_one(Input)
        rows.replace_option_prompt(row.name, self._line(row))
        self.query_one(".trouble").remove_class("-shown")
        typed.display = False
        rows.focus()
        if (theme := self._file.settings.app.theme) in self.app.available_themes:
            self.app.theme = theme

    def _complain(self, sentence: str) -> None:
        trouble = self.query_one(".trouble", Static)
        trouble.update(Content(safe_line(sentence, 400)))
        trouble.add_class("-shown")
