"""Paths that are nobody's home, too long or links to nothing, wherever they are typed or set: no files, and said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import ServerError
from engine.remote.config import ServerConfig
from engine.remote.keys import server_key
from engine.typed_path import typed_path
from tui.model_choice import ModelChoiceError, choose_model, remember_model
from tui.paths import user_paths
from tui.screens.model_picker import ModelPickerScreen
from tui.services.completions import _files
from tui.settings import ModelSettings, Settings
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

STRANGER = "~nobody-has-this-name"
TOO_LONG = "n" * 300

NO_FILES = pytest.mark.parametrize("path", [f"{STRANGER}/m.gguf", f"/{TOO_LONG}"], ids=["stranger", "too long"])


def test_a_home_is_put_in_and_nobodys_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_path("~/a") == Path("/home/me/a")
    assert typed_path(f"{STRANGER}/a") == Path(STRANGER, "a")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (f"/attach {STRANGER}/a.txt", "There is no file"),
        (f"/export {STRANGER}/a.md", "cannot be written"),
        (f"/model {STRANGER}/m.gguf", "There is no model"),
        (f"/model /{TOO_LONG}", "There is no model"),
    ],
    ids=lambda text: text[:20],
)
async def test_a_command_says_that_there_is_no_such_file(stage: Stage, typed: str, told: str) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        play.app.query_one(PromptBox).show_draft(typed)
        await play.press("enter")
        await play.until_shown(told)


async def test_the_home_of_nobody_may_be_typed_on_the_way_to_another(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press(*f"/attach {STRANGER}/x")
        assert play.app.query_one(PromptBox).text == f"/attach {STRANGER}/x"


@NO_FILES
async def test_the_picker_says_that_there_is_no_such_file(stage: Stage, path: str) -> None:
    async with stage.ready() as play:
        await play.press("f4")
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        await play.until_shown("None here yet")
        play.app.screen.query_one("Input").value = path
        await play.press("enter")
        await play.until_shown("There is no file")


@NO_FILES
def test_no_model_is_chosen_by_a_path_that_is_no_file(home: Path, path: str) -> None:
    with pytest.raises(ModelChoiceError):
        choose_model(path, Settings(), user_paths())
    with pytest.raises(ModelChoiceError):
        choose_model(None, Settings(models=ModelSettings(default=path)), user_paths())


def test_a_last_model_that_is_no_file_is_gone(home: Path) -> None:
    remember_model(f"/{TOO_LONG}", user_paths())
    with pytest.raises(ModelChoiceError, match="models pull"):
        choose_model(None, Settings(), user_paths())


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["models", "list"], 0, ""),
        (["models", "info", f"/{TOO_LONG}"], 1, "no such file"),
        (["doctor"], 1, f"{STRANGER}/models"),
    ],
    ids=lambda each: each[-1][:10] if isinstance(each, list) else "",
)
def test_one_folder_of_nobody_in_the_settings_disables_nothing(
    cli: Callable[..., Any], home: Path, command: list[str], code: int, told: str
) -> None:
    (home / "settings.toml").write_text(f"[models]\ndirectories = ['{STRANGER}/models', '{home}']\n")
    ran = cli(*command)
    assert (ran.code, told in ran.out + ran.err) == (code, True)


async def test_the_picker_opens_with_a_folder_of_nobody_in_the_settings(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text(f"[models]\ndirectories = ['{STRANGER}/models']\n")
    async with stage.ready() as play:
        await play.press("f4")
        await play.until_shown("None here yet")


def test_a_key_file_of_nobody_cannot_be_read() -> None:
    with pytest.raises(ServerError, match="cannot be read"):
        server_key(ServerConfig(base_url="https://localhost", api_key_file=f"{STRANGER}/key"))


def test_a_link_to_nothing_hides_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "b").symlink_to("nowhere")
    (tmp_path / "c").mkdir()
    assert [name for name, _ in _files(f"{tmp_path}/")] == [f"{tmp_path}/c/", f"{tmp_path}/a.txt"]
