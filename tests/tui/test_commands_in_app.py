"""Slash commands in the app: completed, carried out, refused; and files that go with a message."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input

from engine.protocol import Generate
from storage import deletion
from storage.connections import open_database
from tests.engine.tiny_models import write_tiny
from tests.tui.conftest import PATIENCE_S
from tests.tui.test_boxes import press_at_once
from tui.paths import user_paths
from tui.screens.main.screen import MainScreen
from tui.screens.model_picker import ModelPickerScreen
from tui.services.completions import completions
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tui.conftest import Play, Stage


async def command(play: Play, text: str) -> None:
    """Type a whole command and press enter."""
    box = play.app.query_one(PromptBox)
    box.show_draft(text)
    await play.until(lambda: text.partition(" ")[2] or (box.menu is not None and box.menu.is_open))
    await play.press("enter")


async def test_an_unknown_command_says_so_and_sends_nothing(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press(*"/usr is", "enter")
        await play.until_shown("There is no command /usr.")
        assert play.open_session.path == []
        assert play.app.query_one(PromptBox).text == "/usr is"
        await play.press("home", "space", "enter")
        await play.answered()
        assert play.open_session.path[0].message.content == "/usr is"


async def test_tab_and_enter_complete_and_the_arrows_choose(stage: Stage) -> None:
    async with stage.ready(size=(80, 24)) as play:
        box = play.app.query_one(PromptBox)
        await play.press("slash")
        await play.until_shown("/attach FILE")
        await play.press("t", "e")
        await play.until(lambda: box.menu and len(box.menu.choices) == 1)
        await play.press("tab")
        assert box.text == "/template "
        await play.until_shown("the model's own")
        await play.press(*"al")
        await play.until(lambda: all(choice.word.startswith("al") for choice in box.menu.choices))
        await play.press("down")
        assert box.menu is not None
        chosen = box.menu.chosen
        assert chosen is not None
        assert chosen.word.startswith("al")
        await play.press("enter")
        assert box.text == chosen.text
        await play.press("enter")
        await play.until(lambda: play.open_session.template == chosen.word)
        assert box.text == ""
        await play.until(lambda: box.menu and not box.menu.is_open)
        await play.ask("hi")
        assert stage.heard(Generate)[-1].prompt.template == chosen.word


async def test_escape_closes_the_menu_and_tab_goes_on_as_ever(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.press("slash")
        await play.until(lambda: box.menu and box.menu.is_open)
        await play.press("escape")
        await play.until(lambda: box.menu and not box.menu.is_open)
        assert box.text == "/"
        await play.press("backspace", "tab")
        assert play.app.focused is not box


async def test_a_tab_right_behind_the_beginning_of_a_command_completes_it(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, *"/tem", "tab", *"zeph", "tab", "enter")
        await play.until(lambda: play.open_session.template == "zephyr")
        press_at_once(play, *"/mo", "tab", "x")
        await play.until(lambda: box.text == "/model x")


async def test_a_tab_behind_a_slash_that_begins_no_command_leaves_the_box(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        press_at_once(play, *"/usr/bin", "tab")
        await play.until(lambda: play.app.focused is not box)
        assert box.text == "/usr/bin"


async def test_the_template_is_kept_with_the_session_and_auto_takes_it_back(stage: Stage) -> None:
    async with stage.ready() as play:
        await command(play, "/template vicuna")
        await play.until(lambda: play.open_session.template == "vicuna")
        await play.ask("hi")
        session = play.open_session.session
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        assert play.open_session.template is None
        await play.opening.open(session.id)
        await play.until(lambda: "Paris" in play.text())
        assert play.open_session.template == "vicuna"
        await command(play, "/template auto")
        await play.until(lambda: play.open_session.template is None)
        assert play.open_session.session.template is None
        await command(play, "/template nonsense")
        await play.until_shown("There is no chat format nonsense")


async def test_system_title_new_and_help(stage: Stage) -> None:
    async with stage.ready() as play:
        await command(play, "/system Be brief.")
        await play.until(lambda: play.open_session.system == "Be brief.")
        await play.ask("hi")
        assert stage.last_prompt()[0] == ("system", "Be brief.")
        await command(play, "/title Mine")
        await play.until(lambda: play.open_session.session.title == "Mine")
        await command(play, "/new")
        await play.until(lambda: play.open_session.session is None)
        await command(play, "/help")
        await play.until_shown("Everything works from the keyboard")


@pytest.mark.parametrize("word", ["new", "retry", "fork", "edit", "help", "tint", "quit", "settings"])
async def test_a_text_behind_a_command_that_takes_nothing_is_not_lost(stage: Stage, word: str) -> None:
    async with stage.ready() as play:
        screen = play.app.screen
        await command(play, f"/{word} write me a poem")
        await play.until_told(f"/{word} takes nothing behind it.")
        assert play.app.query_one(PromptBox).text == f"/{word} write me a poem"
        assert play.app.screen is screen


async def test_a_model_by_its_name_and_one_that_is_not_there(stage: Stage) -> None:
    async with stage.ready() as play:
        await command(play, "/model nowhere")
        await play.until_shown("nowhere")
        assert play.app.workspace.engine.is_ready
        other = stage.model.with_name("Other.gguf")
        other.write_bytes(b"GGUF")
        await command(play, f"/model {other}")
        await play.until(lambda: play.app.workspace.engine.card and play.app.workspace.engine.card.name == "Other")


async def test_a_folder_with_several_models_shows_them_and_they_have_names_from_then_on(
    stage: Stage, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("one", "two"):
        write_tiny(shelf / f"{name}.gguf", "llama")
    async with stage.ready() as play:
        await command(play, f"/model {shelf}")
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        await play.until_shown("two.gguf")
        assert play.app.workspace.engine.is_ready
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await command(play, "/model two.gguf")
        await play.until(lambda: play.app.workspace.engine.card and play.app.workspace.engine.card.name == "two")


async def test_an_app_that_is_started_with_a_folder_of_several_models_lets_one_be_chosen(
    stage: Stage, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("one", "two"):
        write_tiny(shelf / f"{name}.gguf", "llama")
    async with stage.running(model=str(shelf)) as play:
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        await play.until_shown("two.gguf")
        await play.press("down", "enter")
        await play.until(lambda: play.app.workspace.engine.card and play.app.workspace.engine.card.name == "two")


async def test_keys_act_while_a_typed_folder_does_not_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked, answered, isdir = threading.Event(), threading.Event(), threading.Event(), os.path.isdir

    def hang(path: Any) -> bool:
        if str(path) == "/away":
            asked.set()
            gate.wait(PATIENCE_S)
            answered.set()
        return isdir(path)

    async with stage.ready() as play:
        await play.press("f4")
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        monkeypatch.setattr("tui.in_order.DEEDS_LIMIT_S", 0.0)
        monkeypatch.setattr(os.path, "isdir", hang)
        play.app.screen.query_one(Input).focus()
        await play.press(*"/away", "enter")
        await play.until(asked.is_set)
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert not answered.is_set()
        gate.set()


async def test_models_in_a_folder_that_is_typed_are_completed(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "shelf" / "more").mkdir(parents=True)
    (tmp_path / "shelf2").mkdir()
    write_tiny(tmp_path / "shelf" / "more-words.gguf", "llama")
    (tmp_path / "shelf" / "mo.txt").touch()
    async with stage.ready() as play:
        found = await completions(f"/model {tmp_path}/shelf/mo", play.app.workspace)
        assert [each.text for each in found] == [
            f"/model {tmp_path}/shelf/more/",
            f"/model {tmp_path}/shelf/more-words.gguf",
        ]
        assert [each.word for each in found] == ["more/", "more-words.gguf"]
        found = await completions(f"/model {tmp_path}/shelf", play.app.workspace)
        assert [each.word for each in found] == ["shelf", "shelf2/"]


async def test_an_attached_file_is_counted_and_goes_with_the_message(stage: Stage) -> None:
    file = stage.home / "notes.txt"
    file.write_text("one two three\n```\nfour\n")
    async with stage.ready(size=(80, 24)) as play:
        await command(play, f"/attach {file}")
        await play.until_shown("notes.txt 4 tokens")
        await play.ask("What is this?")
        content = play.open_session.path[0].message.content
        assert content == "What is this?\n\nFile notes.txt:\n\n````\none two three\n```\nfour\n````"
        assert play.open_session.session.title == "What is this?"
        await play.until(lambda: "notes.txt 4 tokens" not in play.text())
        await play.ask("And?")
        assert play.open_session.path[2].message.content == "And?"


async def test_attached_files_are_taken_back(stage: Stage) -> None:
    for name in ("a.txt", "b.txt"):
        (stage.home / name).write_text("text")
    async with stage.ready() as play:
        await command(play, f"/attach {stage.home}/a.txt")
        await play.until_shown("a.txt 2 tokens")
        await command(play, f"/attach {stage.home}/b.txt")
        await play.until_shown("b.txt 2 tokens")
        await command(play, "/detach a.txt")
        await play.until(lambda: "a.txt 2 tokens" not in play.text())
        assert [file.path.name for file in play.app.workspace.attachments.files] == ["b.txt"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "There is no file"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: path.write_bytes(b"\x7fELF\x00\xff"), "is not text in UTF-8"),
        (lambda path: path.write_bytes(b"x" * 1_000_001), "is the most that can be attached"),
        (lambda path: path.write_text(" x" * 1000), "the model reads 1,000 at most"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
async def test_what_is_no_text_of_a_sane_size_is_refused(stage: Stage, make: object, reason: str) -> None:
    path = stage.home / "it"
    make(path)
    async with stage.ready() as play:
        await command(play, f"/attach {path}/" if path.is_dir() else f"/attach {path}")
        await play.until(lambda: reason in notices(play))
        assert play.app.workspace.attachments.files == []


def notices(play: Play) -> str:
    """What was said in the corner."""
    return "\n".join(notification.message for notification in play.app._notifications)


async def test_files_are_completed(stage: Stage) -> None:
    folder = stage.home / "texts"
    folder.mkdir()
    (folder / "rivers.txt").write_text("Danube")
    (folder / ".hidden").write_text("x")
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        box.show_draft(f"/attach {stage.home}/tex")
        await play.until(lambda: box.menu and box.menu.is_open)
        await play.press("tab")
        assert box.text == f"/attach {folder}/"
        await play.until(lambda: box.menu and box.menu.chosen and box.menu.chosen.word.endswith("rivers.txt"))
        assert len(box.menu.choices) == 1
        await play.press("tab", "enter")
        await play.until_shown("rivers.txt")
        await play.until(lambda: play.app.workspace.attachments.files)


async def test_a_preset_moves_the_sliders(stage: Stage) -> None:
    settings = "[chat]\nmodel_titles = false\n[presets.cold]\ntemperature = 0\n"
    (stage.home / "settings.toml").write_text(settings)
    async with stage.ready() as play:
        assert "Sampling · balanced" in play.text()
        await command(play, "/preset creative")
        await play.until(lambda: play.open_session.sampling.temperature == 1.2)
        await play.until_told("creative: ")
        play.app.clear_notifications()
        await play.until_shown("Sampling · creative")
        await play.press("alt+p")
        await play.until_shown("Presets of the sliders")
        await play.press("end", "enter")
        await play.until(lambda: play.open_session.sampling.temperature == 0)
        await play.until_told("cold: ")
        play.app.clear_notifications()
        await play.until_shown("Sampling · cold")
        assert play.open_session.sampling.top_k == 40
        await play.press("f3", "right")
        await play.until(lambda: "Sampling · cold" not in play.text())
        await play.press("escape", *"/preset d")
        await play.until_shown("temperature 0.8 · top-k 40")
        await play.press("tab", "enter")
        await play.until(lambda: play.open_session.sampling == play.open_session.default_sampling)
        await play.until_told("default: temperature 0.8")
        play.app.clear_notifications()
        await command(play, "/preset lukewarm")
        await play.until_shown("There is no preset lukewarm")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/title Mine", "gets its title with its first message"),
        ("/export here.md", "nothing to export yet"),
        ("/attach nowhere.txt", "nowhere.txt"),
        ("/preset none", "There is no preset none."),
    ],
)
async def test_what_was_written_behind_a_refused_command_comes_back(stage: Stage, typed: str, told: str) -> None:
    async with stage.ready() as play:
        await command(play, typed)
        await play.until_told(told)
        assert play.app.query_one(PromptBox).text == typed


async def test_a_refused_command_of_a_session_that_goes_on_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The app finds out by the command, not by having looked at the database in between.
    monkeypatch.setattr("tui.services.housekeeping.LOOK_PERIOD_S", 3600.0)
    async with stage.ready() as play:
        await play.ask("hi")
        await command(play, "/export /nonexistent/here.md")
        await play.until_told("cannot be written")
        assert play.app.query_one(PromptBox).text == "/export /nonexistent/here.md"
        db = open_database(user_paths().database)
        deletion.delete_session(db, play.open_session.session.id)
        db.close()
        await command(play, "/system Be brief.")
        await play.until_told("There is no session")
        assert play.app.query_one(PromptBox).text == "/system Be brief."
