"""The settings screen: what is chosen and typed there is in the file, and what does not fit is said."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input, OptionList

from tests.tui.conftest import PATIENCE_S
from tests.tui.idle import worked_off
from tests.tui.test_boxes import press_at_once
from tui import settings
from tui.screens.settings import ROWS, SettingsScreen
from tui.settings import Settings, load_settings

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


@asynccontextmanager
async def opened(stage: Stage, name: str) -> AsyncIterator[Play]:
    """The screen, with the cursor on a setting."""
    async with stage.ready((80, 24)) as play:
        await play.press(*"/settings", "enter")
        await play.until(lambda: isinstance(play.app.screen, SettingsScreen))
        rows = play.app.screen.query_one(OptionList)
        rows.highlighted = [row.name for row in ROWS].index(name)
        await play.until_shown(name)
        yield play


def in_file(stage: Stage) -> dict[str, Any]:
    return tomllib.loads((stage.home / "settings.toml").read_text())


def test_every_row_is_a_setting() -> None:
    assert all(row.type is not None and row.about for row in ROWS)
    assert [row.name for row in ROWS if row.value(Settings()) is ...] == []
    assert [row.choices([]) for row in ROWS if row.name == "engine.kv_type"] == [["f16", "q8_0"]]


async def test_a_choice_goes_round_and_is_written_at_once(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text("# mine\n[app]\nlanguage = 'en'\n[chat]\nmodel_titles = false\n")
    async with opened(stage, "app.language") as play:
        for chosen in ("fr", "auto", "en"):
            await play.press("enter")
            await play.until(lambda chosen=chosen: in_file(stage)["app"]["language"] == chosen)
            await play.until_shown(f"app.language  {chosen}")
        await play.press("delete")
        await play.until(lambda: "language" not in in_file(stage)["app"])
        await play.until_shown("app.language  auto")
    assert (stage.home / "settings.toml").read_text().startswith("# mine\n")


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("sampling.temperature", "1,25", 1.25),
        ("sampling.top_k", "12", 12),
        ("engine.context", "2048", 2048),
        ("models.default", "a, b.gguf", "a, b.gguf"),
        ("chat.system_prompt", "Be brief.", "Be brief."),
    ],
)
async def test_what_is_typed_is_written(name: str, typed: str, value: Any, stage: Stage) -> None:
    section, key = name.split(".")
    async with opened(stage, name) as play:
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.focused, Input))
        play.app.screen.query_one(Input).value = typed
        await play.press("enter")
        await play.until(lambda: in_file(stage).get(section, {}).get(key) == value)
        await play.until(lambda: isinstance(play.app.focused, OptionList))
        assert str(value) in play.text()
    assert load_settings(stage.home / "settings.toml").problems == []


@pytest.mark.parametrize(
    ("typed", "reason"),
    [("much", "a number like 0.5 is needed, not a text."), ("-1", "it must be at least 0.0.")],
)
async def test_what_does_not_fit_is_said_and_not_written(typed: str, reason: str, stage: Stage) -> None:
    async with opened(stage, "sampling.temperature") as play:
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.focused, Input))
        await play.press(*typed, "enter")
        await play.until_shown(f"sampling.temperature: {reason}")
        assert "sampling" not in in_file(stage)


async def test_the_box_is_as_high_as_what_is_in_it(stage: Stage) -> None:
    async with opened(stage, "sampling.temperature") as play:
        box = play.app.screen.query_one(".dialog")
        before = box.size.height
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.focused, Input))
        await play.until(lambda: box.size.height == before + 2)


async def test_the_theme_changes_at_once(stage: Stage) -> None:
    async with opened(stage, "app.theme") as play:
        before = play.app.theme
        await play.press("enter")
        await play.until(lambda: play.app.theme != before)
        assert in_file(stage)["app"]["theme"] == play.app.theme == play.app.settings.app.theme


async def test_what_was_changed_by_hand_holds_for_copies_once_the_screen_shows_it(stage: Stage) -> None:
    async with stage.ready((80, 24)) as play:
        (stage.home / "settings.toml").write_text("[app]\nclipboard = 'tmux'\n")
        await play.press(*"/settings", "enter")
        await play.until_shown("app.clipboard  tmux")
        assert play.app.settings.app.clipboard == "tmux"


async def test_a_file_that_cannot_be_changed_is_said(stage: Stage) -> None:
    async with opened(stage, "chat.enter_sends") as play:
        (stage.home / "settings.toml").write_text("[[[")
        await play.press("enter")
        await play.until_shown("cannot be changed")


async def test_a_change_made_while_the_one_before_is_written_keeps_that(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, allowed, replace = threading.Event(), threading.Event(), settings._replace_file

    def replace_when_allowed(path: Path, text: str) -> None:
        begun.set()
        allowed.wait(PATIENCE_S)
        replace(path, text)

    monkeypatch.setattr(settings, "_replace_file", replace_when_allowed)
    async with opened(stage, "chat.enter_sends") as play:
        # The pilot's own keys would wait for what the first one does.
        press_at_once(play, "enter")
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        press_at_once(play, "down", "enter")
        await worked_off()
        allowed.set()
        await play.until_shown("chat.enter_sends  no")
        await play.until_shown("chat.model_titles  yes")
    assert in_file(stage)["chat"] == {"enter_sends": False, "model_titles": True}
