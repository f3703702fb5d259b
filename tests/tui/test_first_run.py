"""No model: the app opens, explains itself, and offers two ways out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input, OptionList

import engine.starter
from engine.errors import DownloadError
from engine.protocol import Load
from engine.starter import FetchProgress
from tests.engine.tiny_models import write_tiny
from tests.tui.conftest import PATIENCE_S
from tui.screens.first_run import FirstRunScreen
from tui.screens.main.screen import MainScreen
from tui.screens.model_picker import ModelPickerScreen

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

Report = Callable[[FetchProgress], None]


async def test_without_a_model_the_app_explains_itself(stage: Stage) -> None:
    async with stage.running(model=None, size=(80, 24)) as play:
        await play.until(lambda: isinstance(play.app.screen, FirstRunScreen))
        await play.until_shown("Fetch the starter model (93 MB)")
        assert "Nothing you write leaves it." in play.text()
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.until_shown("There is no model yet: f4 opens one.")
        await play.until(lambda: "f4 model" in play.text().splitlines()[-1])
        # There is nothing yet that a restart would open.
        assert "f5" not in play.text().splitlines()[-1]


async def test_it_says_what_to_do_and_all_ways_out_are_seen_where_there_is_little_room(stage: Stage) -> None:
    async with stage.running(model=None, size=(60, 20)) as play:
        await play.until(lambda: isinstance(play.app.screen, FirstRunScreen))
        await play.until_shown("Enter fetches the starter")
        for label in ("Fetch the starter model (93 MB)", "Choose a file", "Later"):
            assert f" {label} " in play.text(), play.text()
        await play.pilot.resize_terminal(80, 24)
        await play.until_shown("Choose a file   Later")


async def test_arrows_go_from_button_to_button(stage: Stage) -> None:
    async with stage.running(model=None, size=(80, 24)) as play:
        await play.until(lambda: isinstance(play.app.screen, FirstRunScreen))
        await play.until(lambda: play.app.focused is not None and play.app.focused.id == "fetch")
        await play.press("right", "down")
        assert play.app.focused.id == "later"
        await play.press("left")
        assert play.app.focused.id == "choose"
        await play.press("right", "enter")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))


async def test_where_a_model_cannot_be_opened_the_last_line_offers_another_one(stage: Stage) -> None:
    stage.set_script(load_error="The file ends too early.")
    async with stage.running(size=(80, 24)) as play:
        await play.until_shown("The file ends too early.")
        await play.until(lambda: "f4 model" in play.text().splitlines()[-1])
        # It would not open at a second try either.
        assert "f5" not in play.text().splitlines()[-1]


async def test_the_starter_model_is_fetched_with_progress_and_opened(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def fetch(models_dir: Path, report: Report) -> Path:
        report(FetchProgress("downloading", 46_000_000, 92_000_000))
        halfway.set()
        go_on.wait(PATIENCE_S)
        return stage.model

    monkeypatch.setattr(engine.starter, "fetch", fetch)
    async with stage.running(model=None) as play:
        await play.until_shown("Fetch the starter model")
        await play.press("enter")
        await play.until(halfway.is_set)
        await play.until_shown("46 MB of 92 MB")
        go_on.set()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.ask("hello")


async def test_a_download_that_fails_says_why_and_can_be_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(models_dir: Path, report: Report) -> Path:
        raise DownloadError("There is no network.", "Connect, then try again.")

    monkeypatch.setattr(engine.starter, "fetch", fetch)
    async with stage.running(model=None) as play:
        await play.until_shown("Fetch the starter model")
        await play.press("enter")
        await play.until_shown("There is no network. Connect, then try again.")
        assert not play.app.screen.query_one("#fetch").disabled


async def test_a_model_that_is_not_there_is_named(stage: Stage) -> None:
    async with stage.running(model="/nowhere/model.gguf") as play:
        await play.until_shown("/nowhere/model.gguf")


async def test_who_has_models_and_names_another_one_is_offered_those(stage: Stage) -> None:
    (stage.home / "models").mkdir()
    write_tiny(stage.home / "models" / "Other.gguf", "llama")
    async with stage.running(model="mistyped") as play:
        await play.until_shown("Other.gguf")
        await play.until_shown("There is no model mistyped")
        assert isinstance(play.app.screen, ModelPickerScreen)


async def test_who_has_several_and_opened_none_is_offered_those(stage: Stage) -> None:
    for name in ("one", "two"):
        (stage.home / "models").mkdir(exist_ok=True)
        write_tiny(stage.home / "models" / f"{name}.gguf", "llama")
    async with stage.running(model=None) as play:
        await play.until_shown("two.gguf")
        assert isinstance(play.app.screen, ModelPickerScreen)
        await play.press("enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(stage.home / "models" / "one.gguf"))


async def test_enter_pressed_again_on_a_download_changes_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def fetch(models_dir: Path, report: Report) -> Path:
        report(FetchProgress("downloading", 46_000_000, 92_000_000))
        begun.release()
        go_on.wait(PATIENCE_S)
        return stage.model

    monkeypatch.setattr(engine.starter, "fetch", fetch)
    async with stage.running(model=None) as play:
        await play.until_shown("Fetch the starter model")
        await play.press("enter")
        await play.until_shown("46 MB of 92 MB")
        await play.press("enter")
        assert "Another download" not in play.text()
        assert "46 MB of 92 MB" in play.text()
        await play.press("f7")
        await play.until(lambda: not play.app.workspace.models.is_fetching)
        go_on.set()


@pytest.mark.parametrize("fails", [False, True])
async def test_who_closes_the_dialog_sees_how_the_download_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    closed, go_on = threading.Event(), threading.Event()

    def fetch(models_dir: Path, report: Report) -> Path:
        report(FetchProgress("downloading", 0, 92_000_000))
        closed.wait(PATIENCE_S)
        report(FetchProgress("downloading", 46_000_000, 92_000_000))
        go_on.wait(PATIENCE_S)
        if fails:
            raise DownloadError("There is no network.", "Connect, then try again.")
        return stage.model

    monkeypatch.setattr(engine.starter, "fetch", fetch)
    async with stage.running(model=None) as play:
        await play.until_shown("Fetch the starter model")
        await play.press("enter")
        await play.until_shown("0 B of 92 MB")
        await play.press("escape")
        await play.until_shown("There is no model yet")
        closed.set()
        await play.until_shown("Downloading smollm2 … 50 %")
        assert "There is no model yet" not in play.text()
        go_on.set()
        if fails:
            await play.until_shown("There is no network. Connect, then try again.")
        else:
            await play.until(lambda: play.app.workspace.engine.is_ready)


async def test_what_was_said_of_another_download_goes_with_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def fetch(models_dir: Path, report: Report) -> Path:
        go_on.wait(PATIENCE_S)
        return stage.model

    monkeypatch.setattr(engine.starter, "fetch", fetch)
    async with stage.running(model=None) as play:
        await play.until_shown("Fetch the starter model")
        await play.press("tab", "enter")
        await play.until_shown("None here yet")
        await play.press(*"smollm2", "enter", "home", "shift+end", *"hf:o/m", "enter")
        await play.until_shown("Another download is under way: f7 stops it.")
        await play.press("f7")
        await play.until(lambda: "Another download" not in play.text())
        go_on.set()


async def test_who_has_none_and_names_one_is_told_what_there_is_to_do(stage: Stage) -> None:
    async with stage.running(model="mistyped") as play:
        await play.until_shown("There is no model mistyped")
        await play.until(lambda: isinstance(play.app.screen, FirstRunScreen))


async def test_a_file_is_chosen_by_its_path(stage: Stage) -> None:
    async with stage.running(model=None) as play:
        await play.until_shown("Choose a file")
        await play.press("tab", "enter")
        await play.until_shown("Open a model")
        await play.until_shown("None here yet")
        await play.press("enter")
        assert "There is no file" not in play.text()
        await play.press(*str(stage.home / "missing.gguf"), "enter")
        await play.until_shown("There is no file")
        await play.press("home", "shift+end", "delete", *str(stage.model), "enter")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert isinstance(play.app.screen, MainScreen)


async def test_a_folder_of_models_is_looked_through(stage: Stage) -> None:
    folder = stage.home / "downloads"
    (folder / "large").mkdir(parents=True)
    first = write_tiny(folder / "First.gguf", "llama")
    second = write_tiny(folder / "large" / "Second.gguf", "qwen2")
    async with stage.running(model=None) as play:
        await play.until_shown("Choose a file")
        await play.press("tab", "enter")
        await play.until_shown("None here yet")
        await play.press(*str(folder), "enter")
        await play.until_shown("First.gguf")
        await play.until_shown("Second.gguf")
        await play.until(lambda: isinstance(play.app.focused, OptionList) and play.app.focused.highlighted == 0)
        assert not play.app.screen.query_one(Input).value
        await play.press("down", "enter")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert [load.path for load in stage.heard(Load)] == [str(second)]
        await play.press("f4")
        await play.until_shown(first.name)
