"""The settings screen when the user or the file is not as it expects: nothing goes where it does not belong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input, OptionList

from tui.screens.settings import ROWS, SettingsScreen
from tui.settings import SettingsError, save_settings

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

NO_TABLES = pytest.mark.parametrize("text", ['sampling = "precise"\n', "[[sampling]]\ntop_k = 3\n", "sampling = 1\n"])


async def open_at(play: Play, name: str) -> OptionList:
    """The rows of the screen, with the cursor on a setting."""
    await play.press(*"/settings", "enter")
    await play.until(lambda: isinstance(play.app.screen, SettingsScreen))
    rows = play.app.screen.query_one(OptionList)
    rows.highlighted = [row.name for row in ROWS].index(name)
    await play.until_shown(name)
    return rows


async def test_what_is_typed_belongs_to_the_row_where_typing_began(stage: Stage) -> None:
    async with stage.ready((80, 24)) as play:
        rows = await open_at(play, "sampling.temperature")
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.focused, Input))
        rows.highlighted = [row.name for row in ROWS].index("chat.system_prompt")
        await play.press(*"0.5", "enter")
        await play.until_shown("sampling.temperature  0.5")
    written = tomllib.loads((stage.home / "settings.toml").read_text())
    assert written == {"chat": {"model_titles": False}, "sampling": {"temperature": 0.5}}


@NO_TABLES
async def test_what_is_no_table_is_said_on_the_screen(stage: Stage, text: str) -> None:
    file = stage.home / "settings.toml"
    async with stage.ready((80, 24)) as play:
        await open_at(play, "sampling.temperature")
        file.write_text(text)
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.focused, Input))
        await play.press(*"0.5", "enter")
        await play.until_shown("sampling: a table of its own is needed")
    assert file.read_text() == text


@NO_TABLES
@pytest.mark.parametrize("value", [0.5, None])
def test_what_is_no_table_is_not_written_into(tmp_path: Path, text: str, value: float | None) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"^sampling: a table of its own is needed, not a"):
        save_settings(file, {"sampling.temperature": value})
    assert file.read_text() == text
