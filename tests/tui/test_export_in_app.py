"""The open session is written to a file, also where the database cannot take it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from storage import tree
from storage.connections import open_database
from storage.importers import import_file
from tests.tui.conftest import Play, Stage
from tests.tui.sheltering import LONG, fill_disk


async def export(play: Play, wanted: str) -> None:
    await play.app.run_action(f"screen.export({wanted!r})")


async def test_markdown_in_the_home_never_over_another_file(stage: Stage) -> None:
    async with stage.ready() as play:
        answer = await play.ask("List three rivers")
        await export(play, "md")
        await play.until_shown("Written to")
        await export(play, "md")
        await play.until(lambda: (stage.home / "list-three-rivers-2.md").exists())
        text = (stage.home / "list-three-rivers.md").read_text()
        assert "List three rivers" in text
        assert answer in text
        assert (stage.home / "list-three-rivers.md").stat().st_mode & 0o077 == 0


async def test_the_slash_command_takes_a_file(stage: Stage) -> None:
    async with stage.ready() as play:
        answer = await play.ask("List three rivers")
        await play.press(*f"/export {stage.home / 'mine.md'}", "enter")
        await play.until((stage.home / "mine.md").exists)
        await play.until_shown("Written to")
        assert answer in (stage.home / "mine.md").read_text()


async def test_a_file_in_the_working_folder_is_told_with_that(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stage.home / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    async with stage.ready() as play:
        await play.ask("List three rivers")
        await export(play, "mine.md")
        await play.until((folder / "mine.md").exists)
        await play.until(lambda: play.app._notifications)
        assert [note.message for note in play.app._notifications] == ["Written to ~/here/mine.md"]


async def test_json_of_what_is_only_in_memory_can_be_imported(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.app.workspace.store.call(fill_disk)
        assert await play.conversation.send(LONG)
        await play.answered()
        session = play.open_session.session
        assert session is not None
        file = stage.home / "saved.json"
        await export(play, str(file))
        await play.until(file.exists)
        await play.until_shown("Written to")
    with closing(open_database(stage.home / "other.db")) as db:
        import_file(db, file)
        assert tree.path(db, session.id)[0].message.content == LONG


async def test_what_cannot_be_written_is_said(stage: Stage) -> None:
    async with stage.ready() as play:
        await export(play, "md")
        await play.until_shown("nothing to export")
        await play.ask("List three rivers")
        taken = Path(stage.home / "taken.md")
        taken.write_text("mine")
        await export(play, str(taken))
        await play.until_shown("there already")
        assert taken.read_text() == "mine"
        await export(play, str(stage.home / "no" / "folder.md"))
        await play.until_shown("cannot be written")


async def test_a_picture_of_the_screen_is_told_with_its_folder_too(stage: Stage) -> None:
    async with stage.ready() as play:
        play.app.action_screenshot_here()
        await play.until_told("Written to ~/")
        assert len(list(stage.home.glob("*.svg"))) == 1
